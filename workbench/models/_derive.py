"""Asks a pipeline itself what its configurations leave open: compression of frames and sizes, inputs, native workload.

Works on a weightless and on a real pipeline, from its attributes and from the signature of its call. Where the pipeline says nothing,
the value is a stated fallback.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError
from workbench.models._call import FPS, FRAMES, GUIDANCE
from workbench.models._spec import INPUTS, is_denoiser

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_TEMPORAL = ("vae_scale_factor_temporal", "vae_temporal_compression_ratio", "vae_scale_factor_t")
_SPATIAL = ("vae_scale_factor_spatial", "vae_spatial_compression_ratio", "vae_scale_factor")
_VAE_TEMPORAL = ("temporal_compression_ratio", "scale_factor_temporal")
_VIDEOS = ("video", "control_video", "pose_video")
_FROM_IMAGE = ("imagetovideo", "image2video", "i2v", "videotoworld")
_FROM_VIDEO = ("videotovideo", "video2video", "v2v")

_NEEDED = {"overlap_history": 17}
"""Arguments without which a call fails, although it has a default for them: SkyReels-V2's own message recommends 17 or 37."""

FALLBACK = {"frames": 49, "height": 480, "width": 832, "steps": 50, "guidance": 5.0, "fps": 16}
"""Where neither the call nor the configuration of the denoiser says: a common size, no claim about the model."""


def derive(pipe: DiffusionPipeline) -> dict[str, Any]:
    """What a `ModelSpec` needs beyond configurations, as plain JSON values.

    Raises:
        InputError: the pipeline does not make videos, or needs an input that has no stand-in.
    """
    accepted = dict(list(inspect.signature(type(pipe).__call__).parameters.items())[1:])
    inputs = _inputs(type(pipe).__name__, accepted)
    temporal = temporal_factor(pipe)
    multiple = _size_multiple(pipe)
    defaults = _defaults(pipe, accepted)
    frames = defaults["frames"]
    return {
        "task": "i2v" if "image" in inputs else "v2v" if set(inputs) & set(_VIDEOS) else "t2v",
        "inputs": inputs,
        "temporal_factor": temporal,
        "frame_remainder": 1 if temporal > 1 and frames % temporal == 1 else 0,
        "size_multiple": multiple,
        "call": {name: value for name, value in _NEEDED.items() if name in accepted},
        "defaults": {
            **defaults,
            **{side: max(multiple, defaults[side] // multiple * multiple) for side in ("height", "width")},
        },
    }


def _inputs(name: str, accepted: Mapping[str, inspect.Parameter]) -> list[str]:
    if not any(name in accepted for name in (*FRAMES, *_VIDEOS)):
        raise InputError(
            f"{name} is no video pipeline that can be planned: its call takes none of {', '.join(FRAMES)}"
        )
    required = [
        key
        for key, parameter in accepted.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and key not in ("prompt", "height", "width", "num_inference_steps", *FRAMES, *GUIDANCE, *FPS)
    ]
    for words, key in (
        (_FROM_IMAGE, "image"),
        (_FROM_VIDEO, "video"),
        (("control",), "control_video"),
        (("controlnet",), "conditioning_frames"),
    ):
        if any(word in name.lower() for word in words) and key in accepted and key not in required:
            required.append(key)
    unknown = [key for key in required if key not in INPUTS]
    if unknown:
        raise InputError(
            f"{name} needs the input {unknown[0]!r}, for which there is no stand-in: there are {', '.join(INPUTS)}"
        )
    return required


def temporal_factor(pipe: Any) -> int:
    """Video frames per latent frame, as the pipeline or its VAE states it; 1 if neither does."""
    vae = getattr(pipe, "vae", None)
    config = getattr(vae, "config", {})
    stated = _first_int(pipe, _TEMPORAL) or _first_int(vae, _VAE_TEMPORAL)
    return stated or next(
        (int(config[name]) for name in _VAE_TEMPORAL if isinstance(config.get(name), int)), 1
    )


def _size_multiple(pipe: Any) -> int:
    compression = _first_int(pipe, _SPATIAL) or 8
    config = _denoiser_config(pipe)
    patch = config.get("patch_size")
    if isinstance(patch, (list, tuple)):
        patch = patch[-1]
    if isinstance(patch, int):
        return compression * patch
    levels = config.get("block_out_channels")
    if isinstance(levels, (list, tuple)):  # a UNet halves the latent between its levels
        return int(compression * 2 ** (len(levels) - 1))
    return int(compression)


def _defaults(pipe: Any, accepted: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    config = _denoiser_config(pipe)
    compression = _first_int(pipe, _SPATIAL) or 8
    size = config.get("sample_size")
    square = size if isinstance(size, int) else None
    sizes = {
        "height": config.get("sample_height") or square,
        "width": config.get("sample_width") or square,
    }
    found: dict[str, Any] = {
        name: int(value) * compression for name, value in sizes.items() if isinstance(value, int)
    }
    frames = config.get("sample_frames") or config.get("num_frames")
    if isinstance(frames, int):
        found["frames"] = frames
    for key, names in (
        ("frames", FRAMES),
        ("height", ("height",)),
        ("width", ("width",)),
        ("steps", ("num_inference_steps",)),
        ("guidance", GUIDANCE),
        ("fps", FPS),
    ):
        for name in names:
            default = accepted[name].default if name in accepted else None
            if isinstance(default, (int, float)) and not isinstance(default, bool):
                found[key] = default
                break
    values = {**FALLBACK, **found}
    return {**values, "guidance": float(values["guidance"]), "fps": int(values["fps"])}


def _denoiser_config(pipe: Any) -> Mapping[str, Any]:
    for name, part in pipe.components.items():
        if is_denoiser(name) and getattr(part, "config", None) is not None:
            config: Mapping[str, Any] = part.config
            return config
    return {}


def _first_int(owner: Any, names: tuple[str, ...]) -> int | None:
    """The first of these attributes that is set on the object itself: diffusers warns when a configuration is read as attributes."""
    own = vars(owner) if owner is not None else {}
    return next((own[name] for name in names if isinstance(own.get(name), int)), None)
