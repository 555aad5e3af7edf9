"""What each technique of the search space can be set to: tables, and the conditions under which a dimension exists. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.devices import Device
from workbench.models import ModelSpec, Workload
from workbench.techniques._cache_kinds import KINDS as CACHES
from workbench.techniques._kinds import KINDS
from workbench.techniques._mag_ratios import MAG_RATIOS
from workbench.techniques._together import together

Choice = str | float | bool
Point = Mapping[str, Choice]
"""A choice for every dimension that exists under the other choices."""

TILES: Mapping[str, dict[str, int] | None] = {
    "off": None,
    "default": {},
    "small": {"tile_height": 128, "tile_width": 128, "stride_height": 96, "stride_width": 96},
}
"""Tilings of the autoencoder's decode: none, the size that its class ships with, and a size at which the longest clips fit. 128 and 96
pixels are whole latents for every compression up to 32."""

DECODE_CHUNKS = (0, 8, 2)
"""Frames that an image autoencoder decodes at a time; 0 leaves the pipeline's own number. 8 and 2 are diffusers' own examples."""

OFFLOADS = ("none", "model", "text", "sequential", "group")
"""Offload modes. `text` moves only what encodes the prompt, which computes once and is often the largest component; the denoiser, which
computes at every step, stays. `group` has the dimensions `unit`, `stream`, `resident` and `disk`."""

UNITS = ("1", "4", "layer")
"""What moves at a time in mode `group`: so many blocks, or a layer."""
STREAMS = ("off", "on", "late")
"""Whether the next group is fetched while one computes, from pinned copies that are kept (`on`) or made each time (`late`)."""
RESIDENT_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Of the denoiser's blocks: those that stay on the GPU while the others move (block swap)."""
DISK_FOLDER = "offloaded-weights"
"""Where groups wait in files, relative to where the run is started."""

TEXT_QUANTIZATIONS = ("none", "int8wo", "fp8_storage")
DENOISER_QUANTIZATIONS = ("none", "int8wo", "fp8_storage", "nf4")
STEP_FRACTIONS = (1.0, 0.8, 0.6, 0.5)
"""Of the workload's steps: the guide that `techniques/steps.py` cites puts the balance at 25-30 of 50."""
WINDOW_FRACTIONS = (0.5, 0.25)
"""Of the clip's frames: the window of temporal chunks."""
OVERLAP_SHARES = (0.25,)
"""Of the window."""
LONG_CLIP_TOKENS = 100_000
"""Tokens of a clip from which on the smaller window is tried: each window costs planning time, and only such clips need it."""

# --- what costs a trace of its own, and is looked at only where it is asked for or where nothing else fits ---------------------------

MORE_UNITS = ("2", "8")
MORE_QUANTIZATIONS = tuple(name for name, kind in KINDS.items() if not kind.planned_only)
"""Every kind that a real pipeline can be given."""
SPARED_SHARES = (0.0, 0.25, 0.5)
"""Of the denoiser's blocks: the most sensitive ones, which are not quantised."""
MORE_OVERLAP_SHARES = (0.125, 0.5)
ATTENTIONS = ("native", "sage")
"""PyTorch chooses the best of its own kernels; SageAttention is not among them."""
COMPILATIONS = ("off", "blocks", "whole")
"""What of the denoiser is compiled: nothing, its repeated blocks, or all of it."""
INTERVALS: Mapping[str, tuple[int, ...]] = {"taylorseer": (5, 3, 8), "pab": (2, 4)}
"""Of caches whose speed is a matter of how often they compute; diffusers' own first."""

SAVE_AROUND_THE_VAE = ("tiles", "chunks", "vae_attention")
"""Dimensions whose later choices save memory while the autoencoder runs, and do nothing else but take time."""
VAE_STAGES = ("image_encode", "decode")

CONDITIONS: Mapping[str, tuple[Mapping[str, Choice], Callable[[Point], bool]]] = {
    "unit": ({"offload": "group"}, lambda point: point["offload"] == "group"),
    "stream": ({"offload": "group", "unit": "1"}, lambda point: point.get("unit") in ("1", "layer")),
    "resident": ({"offload": "group", "unit": "1"}, lambda point: point.get("unit") == "1"),
    # late pinning is for weights in host RAM: what waits in files is pinned late anyway
    "disk": (
        {"offload": "group"},
        lambda point: point["offload"] == "group" and point.get("stream") != "late",
    ),
    "spared": ({"denoiser": "int8wo"}, lambda point: point["denoiser"] != "none"),
    "overlap": ({}, lambda point: bool(point["window"])),
    "taylorseer_interval": ({"cache": "taylorseer"}, lambda point: point["cache"] == "taylorseer"),
    "pab_interval": ({"cache": "pab"}, lambda point: point["cache"] == "pab"),
}
"""Dimensions that exist only under other choices: a choice of those under which it does, and whether it exists at a point. What decides
comes before it in a space."""


def offload_of(
    spec: ModelSpec, offload: str, unit: str, stream: str, resident: int, disk: int
) -> dict[str, Any]:
    """Parameters of `offload`. `none` is said too: a profile must put a pipeline that was loaded on the CPU onto the GPU."""
    if offload == "text":
        return {"mode": "group", "blocks_per_group": 4, "components": list(spec.text_encoders)}
    if offload != "group":
        return {"mode": offload}
    size = {"offload_type": "leaf_level"} if unit == "layer" else {"blocks_per_group": int(unit)}
    return {
        "mode": "group",
        **size,
        **({"stream": True} if stream != "off" else {}),
        **({"low_cpu_mem_usage": True} if stream == "late" else {}),
        **({"resident_blocks": resident} if resident else {}),
        **({"disk": DISK_FOLDER} if disk else {}),
    }


def quantization_of(
    spec: ModelSpec, denoiser: str, spared: float, text: str, blocks: int, order: Sequence[int]
) -> dict[str, Any]:
    """Parameters of `quantization`, empty if nothing is quantised."""
    patterns = spared_patterns(spared, blocks, order)
    kind: str | dict[str, Any] = {"kind": denoiser, "skip": patterns} if patterns else denoiser
    chosen = dict.fromkeys(spec.denoisers, kind) if denoiser != "none" else {}
    return {**chosen, **(dict.fromkeys(spec.text_encoders, text) if text != "none" else {})}


def dtype_of(spec: ModelSpec, half: str, vae: str) -> dict[str, str]:
    """Parameters of `dtype`: components whose dtype is not the documented one."""
    dtypes = {"vae": vae, **dict.fromkeys((*spec.denoisers, *together(spec)), half)}
    return {
        name: kind for name, kind in dtypes.items() if kind not in ("documented", spec.component(name).dtype)
    }


def cache_of(spec: ModelSpec, kind: str, taylorseer: int, pab: int) -> dict[str, Any]:
    """Parameters of `cache`; ratios of magcache are those published for the model."""
    more: dict[str, Any] = {"mag_ratios": spec.name} if kind == "magcache" else {}
    interval = {"taylorseer": taylorseer, "pab": pab}.get(kind)
    return {"kind": kind, **more, **({"interval": interval} if interval else {})}


def resident_counts(blocks: int) -> tuple[int, ...]:
    """How many of so many blocks may stay; at least one moves."""
    counts = (min(blocks - 1, round(blocks * share)) for share in RESIDENT_SHARES)
    return tuple(dict.fromkeys(count for count in counts if count >= 0)) or (0,)


def spared_patterns(share: float, blocks: int, order: Sequence[int] = ()) -> list[str]:
    """Regular expressions for the layers of the most sensitive blocks, which quantisation leaves alone.

    Args:
        order: numbers of blocks, most sensitive first; empty means that nothing is known, and takes them from both ends, where published
            schemes leave most alone: a guess by position, not a measurement.
    """
    ends = [side for k in range(blocks) for side in (k, blocks - 1 - k)]
    chosen = tuple(dict.fromkeys(order or ends))[: round(share * blocks)]
    numbers = "|".join(str(number) for number in sorted(chosen))
    return [rf"(?:^|\.)\w*blocks\.(?:{numbers})\."] if chosen else []


def spared_blocks(pattern: str) -> int | None:
    """How many blocks a pattern of `spared_patterns` is for; None if it is another pattern."""
    found = _SPARED.fullmatch(pattern)
    return None if found is None else found[1].count("|") + 1


_SPARED = re.compile(r"\(\?:\^\|\\\.\)\\w\*blocks\\\.\(\?:([\d|]+)\)\\\.")


def offloads(spec: ModelSpec) -> tuple[str, ...]:
    """The offload modes; one that moves the text encoders only needs some."""
    return tuple(name for name in OFFLOADS if name != "text" or spec.text_encoders)


def tiles(spec: ModelSpec) -> tuple[str, ...]:
    """All tilings but for Wan's autoencoder: it decodes frame by frame, so that its own tiles take little at any length."""
    own = ("off", "default")
    return own if spec.component("vae").class_name == "AutoencoderKLWan" else tuple(TILES)


def vae_dtypes(spec: ModelSpec) -> tuple[str, ...]:
    """The documented dtype, and bf16 beside a documented fp32."""
    documented = spec.component("vae").dtype
    return (documented, "bf16") if documented == "fp32" else (documented,)


def caches(spec: ModelSpec) -> tuple[str, ...]:
    """No cache, and every kind; one that goes by published ratios only where there are some of the model."""
    return ("none", *(kind for kind in CACHES if kind != "magcache" or spec.name in MAG_RATIOS))


def halves(spec: ModelSpec, device: Device) -> tuple[str, ...]:
    """The documented dtype of the denoiser, and fp16 beside bf16 on a card without bf16 units and fused bf16 attention."""
    documented = {spec.component(name).dtype for name in spec.denoisers}
    return (
        ("documented", "fp16")
        if documented == {"bf16"} and "bf16" not in device.dense_flops
        else ("documented",)
    )


def step_counts(workload: Workload) -> tuple[int, ...]:
    """The workload's own number and fewer."""
    counts = [max(1, round(workload.steps * fraction)) for fraction in STEP_FRACTIONS]
    return tuple(dict.fromkeys(counts))


def windows(spec: ModelSpec, workload: Workload) -> tuple[int, ...]:
    """Windows in video frames of the form that the model makes, shorter than the clip."""
    latent = _latent_frames(spec, workload.frames)
    multiple = spec.size_multiple
    tokens = latent * (workload.height // multiple) * (workload.width // multiple)
    fractions = WINDOW_FRACTIONS if tokens > LONG_CLIP_TOKENS else WINDOW_FRACTIONS[:1]
    found = (_frames(spec, max(2, round(latent * fraction))) for fraction in fractions)
    return tuple(window for window in found if window < workload.frames)


def overlap_of(spec: ModelSpec, window: int, share: float) -> int:
    """A share of the window, in whole latent frames, at least one."""
    return spec.temporal_factor * max(1, int(_latent_frames(spec, window) * share))


def _latent_frames(spec: ModelSpec, frames: int) -> int:
    return (frames - spec.frame_remainder) // spec.temporal_factor + spec.frame_remainder


def _frames(spec: ModelSpec, latent: int) -> int:
    return (latent - spec.frame_remainder) * spec.temporal_factor + spec.frame_remainder
