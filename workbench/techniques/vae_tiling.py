"""Decodes each frame in overlapping tiles."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench._errors import SettingsError
from workbench.techniques._call_counter import CallCounter
from workbench.techniques._checks import check_whole
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

_ARGUMENTS = {
    "tile_height": "tile_sample_min_height",
    "tile_width": "tile_sample_min_width",
    "stride_height": "tile_sample_stride_height",
    "stride_width": "tile_sample_stride_width",
}
"""Our parameter -> the argument of `enable_tiling`, which is also the attribute that keeps it (diffusers' video autoencoders)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeTiling(AbstractTechnique):
    """`vae.enable_tiling(...)`: the frames are encoded and decoded in tiles that overlap by tile minus stride and are blended.

    Helps: the decode, often the peak of the whole run, needs the activations of one tile. Hurts: overlapping pixels are computed twice
    (a stride of 3/4 of the tile: 1.8x the work on large frames), and the decoder's attention and normalisation see one tile, so tones
    may differ between tiles. Frames that are no larger than a tile are decoded whole: then nothing changes.
    Not to be confused with slicing, which cuts the batch.

    Source: diffusers, `AutoencoderKLWan.enable_tiling`, `tiled_decode`.
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

    def __post_init__(self) -> None:
        for name in _ARGUMENTS:
            if getattr(self, name) is not None:
                check_whole(self.id, name, getattr(self, name), minimum=1)
        for side in ("height", "width"):
            tile, stride = getattr(self, f"tile_{side}"), getattr(self, f"stride_{side}")
            if tile is not None and stride is not None:
                _check_stride(side, stride, tile)

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Every pipeline with an autoencoder."""
        return None if "vae" in model.component_names() else "it has no VAE"

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
        given = {
            _ARGUMENTS[name]: value for name, value in dataclasses.asdict(self).items() if value is not None
        }
        known = inspect.signature(vae.enable_tiling).parameters
        missing = [ours for ours, theirs in _ARGUMENTS.items() if theirs in given and theirs not in known]
        if missing:
            raise SettingsError(f"the VAE {type(vae).__name__} cannot set {', '.join(missing)} of vae_tiling")
        before = {
            name: value
            for name, value in vars(vae).items()
            if name.startswith("tile_") or name == "use_tiling"
        }
        sizes = {ours: given.get(theirs, before.get(theirs)) for ours, theirs in _ARGUMENTS.items()}
        _check_sizes(sizes, vae)
        vae.enable_tiling(**given)
        handle = Handle()
        handle.did(_sentence(sizes), lambda: vars(vae).update(before))
        calls = CallCounter()
        for name in ("decode", "tiled_decode"):
            if callable(getattr(vae, name, None)):
                handle.undoing(calls.count(vae, name))
        handle.watch(lambda: _said(calls))
        return handle

    def effect(self) -> Effect:
        """Blended tiles are close to the whole decode, but nobody has published how close for video autoencoders."""
        return UNKNOWN


def _check_stride(side: str, stride: int, tile: int) -> None:
    if stride > tile:
        raise SettingsError(
            f"stride_{side} of vae_tiling must be at most tile_{side}, got a stride of {stride} for a tile of {tile}"
        )


def _check_sizes(sizes: dict[str, Any], vae: Any) -> None:
    """Tiles and strides in whole latents, and no gaps between tiles, defaults of the class included."""
    compression = getattr(vae, "spatial_compression_ratio", None) or 1
    for name, value in sizes.items():
        if value is not None and value % compression:
            raise SettingsError(
                f"{name} of vae_tiling must be a multiple of the VAE's spatial compression {compression}, got {value}"
            )
    for side in ("height", "width"):
        if sizes[f"tile_{side}"] is not None and sizes[f"stride_{side}"] is not None:
            _check_stride(side, sizes[f"stride_{side}"], sizes[f"tile_{side}"])


def _sentence(sizes: dict[str, Any]) -> str:
    if None in sizes.values():
        return "the VAE decodes in tiles of its own default size"
    return "the VAE decodes in tiles of {tile_height}x{tile_width} pixels every {stride_height}x{stride_width}".format(
        **sizes
    )


def _said(calls: CallCounter) -> str | None:
    """What a reader would not expect: decodes without tiles."""
    if calls.numbers["decode"] == 0 or calls.numbers["tiled_decode"]:
        return None
    return "vae_tiling changed nothing: the frames are no larger than a tile"
