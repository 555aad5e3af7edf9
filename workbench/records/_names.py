"""Every variable of `schema.md` with what it means: the one table that building, merging and the schema's test read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TYPE: Final = "workbench-record"
SCHEMA_VERSION: Final = 1

STAGES: Final = ("text_encode", "image_encode", "denoise", "denoise_2", "decode")
"""The order of stages in a record; others follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """One variable of a record."""

    dims: tuple[str, ...]
    units: str
    """`s`, `B` (bytes), `dB`, `1` (a count or a share) or "" for text and for numbers whose name says it."""
    text: bool = False
    """Whether it holds text; otherwise float64."""
    long_name: str
    """What it is, for people and for axes of plots."""


def _table(
    dims: tuple[str, ...], units: str, names: Mapping[str, str], *, text: bool = False
) -> dict[str, Variable]:
    return {
        name: Variable(dims=dims, units=units, text=text, long_name=meaning)
        for name, meaning in names.items()
    }


_TRIAL: Final = ("trial",)
_STAGE: Final = ("trial", "stage")

_MEMORY: Final = {
    "rss_peak_bytes": "peak resident memory of the process",
    "allocated_peak_bytes": "peak of live tensors on the GPU",
    "reserved_peak_bytes": "peak held by PyTorch's allocator on the GPU",
    "device_used_peak_bytes": "peak used on the whole GPU",
    "tensors_peak_bytes": "peak of live tensors beside the weights",
}

_HARNESS_TEXT: Final = {
    "job": "what the run is a repetition of",
    "configuration": "name of the configuration",
    "process": "whether the run had a process of its own",
    "clip": "file of the clip",
}
_HARNESS_COUNTS: Final = {"repeat": "repetition, from 0", "warmup_calls": "calls before the measured ones"}
_HARNESS_SECONDS: Final = {
    "warmup_s": "time of the calls before the measured ones",
    "limit_s": "time that loading and each call may take",
}
HARNESS: Final = (*_HARNESS_TEXT, *_HARNESS_COUNTS, *_HARNESS_SECONDS)
"""How a run was made: variables that only a harness knows."""

_DISTANCES: Final = {
    "ssim": "structural similarity",
    "ms_ssim": "structural similarity over several scales",
    "ms_ssim_scales": "scales of MS-SSIM, of five",
    "vmaf": "VMAF",
    "lpips": "learned perceptual distance",
    "variation": "change from frame to frame",
    "variation_difference": "change from frame to frame less the reference's",
    "temporal_error": "difference of the changes from frame to frame",
    "seam": "largest change that the reference does not have",
    "seam_frame": "frame at which the largest such change arrives",
}
QUALITY: Final = ("psnr_db", *_DISTANCES)
"""Distances of a run's clip from its reference's."""

_LAYER: Final = ("layer",)
_TRIAL_LAYER: Final = ("trial", "layer")

VARIABLES: Final[Mapping[str, Variable]] = {
    **_table(_LAYER, "B", {"layer_bytes": "quantisable weights of the layer as loaded"}),
    **_table(_TRIAL_LAYER, "B", {"layer_packed_bytes": "the same as quantised"}),
    **_table(
        _TRIAL_LAYER,
        "1",
        {"layer_distance": "squared error of the prediction with this layer alone quantised"},
    ),
    **_table(_TRIAL, "1", {"prediction_distance": "squared error of the denoiser's prediction, as a share"}),
    **_table(
        _TRIAL,
        "",
        {
            "model": "model",
            "prompt": "prompt",
            "settings": "settings JSON",
            "profile": "name of the profile",
            "status": "how the run ended",
            "error": "what was raised",
            "created_at": "start of the run, UTC",
            "prediction": "prediction JSON",
            **_HARNESS_TEXT,
            "reference": "run that the quality is measured against",
            "quality_absent": "why figures of quality are missing, JSON",
        },
        text=True,
    ),
    **_table(
        _TRIAL,
        "1",
        {
            "frames": "video frames",
            "height": "height in pixels",
            "width": "width in pixels",
            "steps": "denoising steps",
            "batch": "videos made by one call",
            "fps": "frames per second of the video",
            "guidance": "guidance scale",
            "guidance_2": "guidance scale of the second expert",
            "seed": "seed",
            **_HARNESS_COUNTS,
            **_DISTANCES,
        },
    ),
    **_table(
        _TRIAL,
        "s",
        {
            "total_s": "time of the pipeline call",
            "load_s": "time of loading and applying the profile",
            "predicted_total_s": "predicted time",
            "predicted_low_s": "predicted time, low",
            "predicted_high_s": "predicted time, high",
            **_HARNESS_SECONDS,
        },
    ),
    **_table(_TRIAL, "dB", {"psnr_db": "peak signal-to-noise ratio"}),
    **_table(
        _TRIAL,
        "B",
        {
            "weights_bytes": "stored weights of all components",
            "rss_before_bytes": "resident memory of the process at the start",
            **_MEMORY,
            "predicted_allocated_bytes": "predicted peak of live tensors",
            "predicted_reserved_bytes": "predicted peak held by the allocator",
            "predicted_required_vram_bytes": "predicted VRAM that must be there",
            "predicted_host_ram_bytes": "predicted peak of host RAM",
        },
    ),
    **_table(
        _STAGE, "s", {"stage_s": "time of the stage", "predicted_stage_s": "predicted time of the stage"}
    ),
    **_table(_STAGE, "1", {"stage_num_calls": "calls of components in the stage"}),
    **_table(
        _STAGE,
        "B",
        {
            **{f"stage_{name}": f"{meaning}, in the stage" for name, meaning in _MEMORY.items()},
            "predicted_stage_weights_bytes": "predicted weights at the stage's peak",
            "predicted_stage_activations_bytes": "predicted bytes beside the weights at the stage's peak",
            "predicted_stage_allocated_bytes": "predicted peak of live tensors in the stage",
        },
    ),
}


def stage_order(names: frozenset[str]) -> tuple[str, ...]:
    """These stages in the order of a record."""
    return tuple(name for name in STAGES if name in names) + tuple(sorted(names - set(STAGES)))


def attributes(name: str) -> dict[str, str]:
    """What a variable of this name carries in a record."""
    variable = VARIABLES[name]
    return {"long_name": variable.long_name, **({"units": variable.units} if variable.units else {})}
