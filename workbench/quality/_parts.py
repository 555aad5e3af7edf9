"""Takes settings apart into what records can know: the name of a curve, and how far along it.

Every curve begins at "as if the technique were not there" (`away` 0, no loss). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from workbench.models import ModelSpec, Workload
from workbench.techniques import (
    AbstractTechnique,
    Cache,
    Dtype,
    Quantization,
    Settings,
    Steps,
    TemporalChunks,
    VaeTiling,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One change of the pipeline whose loss a curve can tell."""

    key: str
    """The curve: equal keys are one kind of change, whatever the model."""
    away: float = 1.0
    """How far from doing nothing, above 0: what is interpolated over. 1 where there is nothing to interpolate."""
    variant: float = 0.0
    """A second number that tells curves of one key apart; the nearest recorded one is taken."""
    otherwise: str = ""
    """The key of a change that is at least as large, for records that do not have this one; `""` if there is none."""


def parts_of(technique: AbstractTechnique, spec: ModelSpec, workload: Workload) -> tuple[Part, ...] | None:
    """The changes that a technique makes of this model and workload; none if it changes nothing here, None if records cannot know it."""
    split = _SPLIT.get(technique.id)
    if split is None:
        return None
    found = split(technique, spec, workload)
    # two experts, or two text encoders, under one scheme are one change
    return None if found is None else tuple(dict.fromkeys(found))


def single_part(settings: Settings, spec: ModelSpec, workload: Workload) -> Part | None:
    """The one change that settings make; None if they make none, several, or one that records cannot know."""
    inexact = [technique for technique in settings.techniques if technique.effect().provenance != "exact"]
    if len(inexact) != 1:
        return None
    parts = parts_of(inexact[0], spec, workload)
    return parts[0] if parts is not None and len(parts) == 1 else None


def _steps(technique: Any, spec: ModelSpec, workload: Workload) -> tuple[Part, ...] | None:
    """By the share of the workload's steps; curves by the workload's own count, because a solver of few steps has less to lose."""
    assert isinstance(technique, Steps)
    if technique.count == workload.steps:
        return ()
    if technique.count > workload.steps:
        return None  # nearer to the solver's limit than the un-optimised run: the distance is no loss
    return (Part(key="steps", away=workload.steps / technique.count - 1.0, variant=float(workload.steps)),)


_ALONG: Final[Mapping[str, tuple[str, float]]] = {
    "first_block": ("threshold", 0.0),
    "magcache": ("threshold", 0.0),
    "taylorseer": ("interval", 1.0),
    "pab": ("interval", 1.0),
    "fastercache": ("interval", 1.0),
}
"""Kind of cache -> the parameter along which it loses more, and its value at which it does nothing."""


def _cache(technique: Any, spec: ModelSpec, workload: Workload) -> tuple[Part, ...] | None:
    assert isinstance(technique, Cache)
    name, nothing = _ALONG[technique.kind]
    parameters = technique.parameters
    away = float(parameters[name]) - nothing
    if away <= 0:
        return None
    # a prediction's hit rate and a model's own ratios say nothing of how the cache is set
    others = {
        key: value
        for key, value in sorted(parameters.items())
        if key not in (name, "hit_rate", "mag_ratios") and value is not None
    }
    return (Part(key=f"cache {technique.kind} {json.dumps(others)}", away=away),)


def _temporal_chunks(technique: Any, spec: ModelSpec, workload: Workload) -> tuple[Part, ...] | None:
    """By how many windows the clip is long; curves by the share of a window that the next one sees too: none, a quarter or so, a half."""
    assert isinstance(technique, TemporalChunks)
    window, overlap = technique.latent(spec.temporal_factor)
    total = (workload.frames - 1) // spec.temporal_factor + 1
    if window >= total:
        return ()
    return (Part(key="temporal_chunks", away=total / window - 1.0, variant=_quarters(overlap / window, 0.5)),)


def _vae_tiling(technique: Any, spec: ModelSpec, workload: Workload) -> tuple[Part, ...] | None:
    """By how small tiles are in latents, the reach of a seam; not by their share of the frame: a large frame has more tiles, not worse."""
    assert isinstance(technique, VaeTiling)
    sizes = technique.to_json()
    if any(name.endswith("_frames") for name in sizes) or len(sizes) < 4:
        return None  # what the VAE's class ships with is not known without it
    tile = min(sizes["tile_height"], sizes["tile_width"])
    if sizes["tile_height"] >= workload.height and sizes["tile_width"] >= workload.width:
        return ()
    stride = min(sizes["stride_height"] / sizes["tile_height"], sizes["stride_width"] / sizes["tile_width"])
    return (Part(key="vae_tiling", away=spec.size_multiple / tile, variant=_quarters(stride, 1.0)),)


def _quarters(share: float, most: float) -> float:
    """A share to the nearest quarter, so that records at like shares are one curve; what is above 0 stays above it."""
    return 0.0 if share == 0 else min(max(round(4 * share) / 4, 0.25), most)


def _quantization(technique: Any, spec: ModelSpec, workload: Workload) -> tuple[Part, ...] | None:
    assert isinstance(technique, Quantization)
    parts = []
    for component, choice in technique.chosen.items():
        role = _role(component)
        whole = f"quantization {role} {choice.kind} {choice.layers}"
        if choice.skip:
            parts.append(Part(key=f"{whole} but {json.dumps(choice.skip)}", otherwise=whole))
        else:
            parts.append(Part(key=whole))
    return tuple(parts)


def _dtype(technique: Any, spec: ModelSpec, workload: Workload) -> tuple[Part, ...] | None:
    assert isinstance(technique, Dtype)
    changed = {
        name: (spec.component(name).dtype, dtype)
        for name, dtype in technique.components.items()
        if spec.component(name).dtype != dtype
    }
    return tuple(Part(key=f"dtype {_role(name)} {old} {new}") for name, (old, new) in changed.items())


def _role(component: str) -> str:
    """What a component is for, whatever a pipeline calls it: experts and U-Nets are denoisers."""
    name = component.rpartition("_")[0] if component.rpartition("_")[2].isdigit() else component
    return "denoiser" if name in ("transformer", "unet") else name


_SPLIT: Final[Mapping[str, Callable[[AbstractTechnique, ModelSpec, Workload], tuple[Part, ...] | None]]] = {
    "steps": _steps,
    "cache": _cache,
    "temporal_chunks": _temporal_chunks,
    "vae_tiling": _vae_tiling,
    "quantization": _quantization,
    "dtype": _dtype,
}
