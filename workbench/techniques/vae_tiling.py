"""Decodes each frame in overlapping tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench._errors import SettingsError
from workbench.techniques._call_counter import CallCounter
from workbench.techniques._checks import check_whole
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Effect, Handle
from workbench.techniques._vae_tiles import SIZES, WITH_FRAME_TILES, WITHOUT, compression, kept, read, write

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

_TILED = ("tiled_decode", "_tiled_decode", "_temporal_tiled_decode")
"""Methods that decode tile by tile; an autoencoder has some of them, or decodes its tiles inside `decode`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeTiling(AbstractTechnique):
    """`vae.enable_tiling(...)`: the frames are encoded and decoded in tiles that overlap by tile minus stride and are blended.

    Helps: the decode, often the peak of the whole run, needs the activations of one tile. Hurts: overlapping pixels are computed twice
    (a stride of 3/4 of the tile: 1.8x the work on large frames), and the decoder's attention and normalisation see one tile, so tones
    may differ between tiles. Frames that are no larger than a tile are decoded whole: then nothing changes.
    Not to be confused with slicing, which cuts the batch.

    Source: diffusers, `enable_tiling` and `tiled_decode` of its autoencoders.
    """

    id: ClassVar[str] = "vae_tiling"

    tile_height: int | None = None
    """Pixels; None keeps what the VAE's class ships with (256 for Wan), here and below."""
    tile_width: int | None = None
    """Pixels."""
    stride_height: int | None = None
    """Pixels from one tile to the next, at most the tile (192 for Wan)."""
    stride_width: int | None = None
    """Pixels."""
    tile_frames: int | None = None
    """Video frames, for autoencoders that also cut time (LTX, HunyuanVideo, EasyAnimate)."""
    stride_frames: int | None = None
    """Video frames from one tile to the next."""

    def __post_init__(self) -> None:
        given = self._given()
        for name, value in given.items():
            check_whole(self.id, name, value, minimum=1)
        _check_strides(given)

    def _given(self) -> dict[str, int]:
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Every pipeline with an autoencoder that decodes in tiles."""
        if "vae" not in model.component_names():
            return "it has no VAE"
        if model.always_tiled:
            return "its VAE decodes in tiles anyway, of its own fixed size"
        kind = model.component("vae").class_name
        if kind in WITHOUT:
            return f"its VAE, {kind}, has no tiles: {WITHOUT[kind]}"
        frames = [name for name in self._given() if name.endswith("_frames")]
        if frames and kind not in WITH_FRAME_TILES:
            return f"its VAE, {kind}, has no tiles along the frames: leave out {' and '.join(frames)}"
        return None

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The autoencoder."""
        return frozenset({"vae"})

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Turns tiling on with these sizes; the handle puts the VAE's own back."""
        vae: Any = pipe.components.get("vae")
        if vae is None or not callable(getattr(vae, "enable_tiling", None)):
            raise SettingsError(
                f"vae_tiling needs a VAE with enable_tiling, and {type(pipe).__name__} has none"
            )
        before = kept(vae)
        _check_sizes(self._given(), vae)
        handle = Handle()
        handle.undoing(lambda: vars(vae).update(before))
        with handle.whole_or_not_at_all():
            vae.enable_tiling()
            write(vae, self._given())
        handle.did(_sentence(read(vae)))
        calls = CallCounter()
        tiled = [name for name in _TILED if callable(getattr(vae, name, None))]
        for name in ("decode", *tiled):
            handle.undoing(calls.count(vae, name))
        handle.watch(lambda: _said(calls, tiled))
        return handle

    def effect(self) -> Effect:
        """Blended tiles are close to the whole decode, but nobody has published how close for video autoencoders."""
        return UNKNOWN


def _check_strides(sizes: Mapping[str, int | None]) -> None:
    for size in SIZES:
        tile, stride = sizes.get(f"tile_{size}"), sizes.get(f"stride_{size}")
        if tile is not None and stride is not None and stride > tile:
            raise SettingsError(
                f"stride_{size} of vae_tiling must be at most tile_{size}, got a stride of {stride} for a tile of {tile}"
            )


def _check_sizes(given: Mapping[str, int], vae: Any) -> None:
    """Tiles and strides in whole latents, and no gaps between tiles, defaults of the class included."""
    ratio = compression(vae)
    for name, value in given.items():
        if not name.endswith("frames") and value % ratio:
            raise SettingsError(
                f"{name} of vae_tiling must be a multiple of the VAE's spatial compression {ratio}, got {value}"
            )
    touched = {name.rpartition("_")[2] for name in given}
    _check_strides(
        {name: value for name, value in {**read(vae), **given}.items() if name.rpartition("_")[2] in touched}
    )


def _sentence(sizes: Mapping[str, int | None]) -> str:
    pixels = [sizes[f"{part}_{side}"] for part in ("tile", "stride") for side in ("height", "width")]
    if None in pixels:
        return "the VAE decodes in tiles of its own fixed size"
    return "the VAE decodes in tiles of {}x{} pixels every {}x{}".format(*pixels)


def _said(calls: CallCounter, tiled: list[str]) -> str | None:
    """What a reader would not expect: decodes without tiles."""
    if calls.numbers["decode"] == 0 or not tiled or any(calls.numbers[name] for name in tiled):
        return None
    return "vae_tiling changed nothing: the frames are no larger than a tile"
