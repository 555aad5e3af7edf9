"""How diffusers' autoencoders keep the sizes of their tiles: each class has attributes of its own for the same few numbers.

Tiles and strides are in pixels and video frames here, whatever the class keeps: a stride, an overlap factor, a size in latents, one size
for both sides. Nothing here imports torch; a test holds the classes against the installed diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from workbench._errors import SettingsError

WITHOUT: Final[Mapping[str, str]] = {
    "AutoencoderKLCosmos": "its enable_tiling sets a flag that its decode never reads",
    "AutoencoderKLTemporalDecoder": "it decodes whole frames; decode_chunks decodes fewer of them at a time",
}
"""Classes whose tiling does nothing or is missing (diffusers 0.42) -> why."""

WITH_FRAME_TILES: Final = ("AutoencoderKLHunyuanVideo", "AutoencoderKLLTXVideo", "AutoencoderKLLTX2Video")
"""Classes that can also cut a clip along its frames (diffusers 0.42)."""

UNREAD_FRAME_TILES: Final = ("AutoencoderKLMagvit",)
"""Classes that keep a tile of frames which their decode never reads (diffusers 0.42)."""

UNSLICED: Final[Mapping[str, str]] = {
    "AutoencoderKLMagvit": "its convolutions keep the last frames of one video for the next",
    "AutoencoderKLTemporalDecoder": "it has no slicing; decode_chunks decodes fewer frames at a time",
}
"""Classes whose slicing mixes the videos of a batch (diffusers 0.42) -> why."""

SIZES: Final = ("height", "width", "frames")
_KEPT: Final = {"height": "height", "width": "width", "frames": "num_frames"}
"""Our word -> diffusers' word inside an attribute's name."""


def kept(vae: Any) -> dict[str, Any]:
    """Everything that tiling sets on an autoencoder, to be put back."""
    return {
        name: value
        for name, value in vars(vae).items()
        if name.startswith(("tile_", "use_tiling", "use_framewise"))
    }


def compression(vae: Any) -> int:
    """Pixels per latent pixel."""
    ratio = getattr(vae, "spatial_compression_ratio", None)
    if isinstance(ratio, int):
        return ratio
    config = getattr(vae, "config", {})
    levels = config.get("block_out_channels")
    return 2 ** (len(levels) - 1) if levels else 1


def read(vae: Any) -> dict[str, int | None]:
    """`tile_height`, `stride_height` and so on as the autoencoder has them now; None for what the class does not have."""
    found: dict[str, int | None] = {}
    for size, word in _KEPT.items():
        tile = _first(vae, f"tile_sample_min_{word}", None if size == "frames" else "tile_sample_min_size")
        stride = _first(vae, f"tile_sample_stride_{word}")
        factor = _first(
            vae, f"tile_overlap_factor_{word}", None if size == "frames" else "tile_overlap_factor"
        )
        if stride is None and tile is not None and factor is not None:
            stride = math.floor(tile * (1 - factor))
        found[f"tile_{size}"], found[f"stride_{size}"] = tile, stride
    return found


def write(vae: Any, given: Mapping[str, int]) -> None:
    """Sets tiles and strides, `{"tile_height": 256, "stride_height": 192}`.

    Raises:
        SettingsError: the class has no such size, or keeps one for both sides.
    """
    before = read(vae)
    for name, value in given.items():
        if before[name] is None:
            raise SettingsError(f"the VAE {type(vae).__name__} cannot set {name} of vae_tiling")
        if name.startswith("tile_"):
            _write_tile(vae, _KEPT[name.removeprefix("tile_")], value)
    after = {**before, **given}
    for size, word in _KEPT.items():
        tile, stride = after[f"tile_{size}"], after[f"stride_{size}"]
        if tile is not None and stride is not None and {f"tile_{size}", f"stride_{size}"} & given.keys():
            _write_stride(vae, word, tile, stride)
    if {"tile_frames", "stride_frames"} & given.keys():
        for flag in ("use_framewise_decoding", "use_framewise_encoding"):
            if hasattr(vae, flag):
                setattr(vae, flag, True)
    wrong = {name: value for name, value in given.items() if read(vae)[name] != value}
    if wrong:
        raise SettingsError(
            f"the VAE {type(vae).__name__} keeps one tile and one overlap for height and width: vae_tiling must give both sides the same "
            f"sizes, got {dict(given)}"
        )


def _write_tile(vae: Any, word: str, value: int) -> None:
    if hasattr(vae, f"tile_sample_min_{word}"):
        setattr(vae, f"tile_sample_min_{word}", value)
        latent = f"tile_latent_min_{word}"
    else:
        vae.tile_sample_min_size = value
        latent = "tile_latent_min_size"
    if hasattr(vae, latent):
        setattr(vae, latent, value // compression(vae))


def _write_stride(vae: Any, word: str, tile: int, stride: int) -> None:
    if hasattr(vae, f"tile_sample_stride_{word}"):
        setattr(vae, f"tile_sample_stride_{word}", stride)
        return
    name = f"tile_overlap_factor_{word}"
    setattr(
        vae, name if hasattr(vae, name) else "tile_overlap_factor", _factor(tile, stride, compression(vae))
    )


def _factor(tile: int, stride: int, ratio: int) -> float:
    """The overlap factor from which the class's own rounding down gives back this stride, in latents and in pixels."""
    exact = 1 - stride / tile
    for factor in (exact, math.nextafter(exact, 0.0), math.nextafter(exact, 1.0)):
        if int(tile // ratio * (1 - factor)) == stride // ratio and int(tile * factor) == tile - stride:
            return factor
    return exact


def _first(vae: Any, *names: str | None) -> Any:
    return next((getattr(vae, name) for name in names if name is not None and hasattr(vae, name)), None)
