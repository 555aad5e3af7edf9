"""SkyReels-V2: text to video, image to video, and diffusion forcing, whose every latent frame has a noise level of its own.

The networks are Wan2.1's (text encoder, VAE, and a denoiser of the same architecture in a class of its own), so the rows are made of
its parts. Configurations are those of the diffusers repositories `Skywork/<name>-Diffusers`, read from the script that made them.
Their authors publish parameter counts only as 1.3B and 14B, so only the text encoder's is held against a published one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec
from workbench.models.wan import (
    DIFFUSERS,
    IMAGE_ENCODER,
    IMAGE_INPUTS_14B,
    SIZES_1_3B,
    SIZES_14B,
    TEXT_ENCODER,
    VAE,
    row,
    scheduler,
    transformer,
)

_CONVERSION = f"{DIFFUSERS} scripts/convert_skyreelsv2_to_diffusers.py"
_DOCS = f"{DIFFUSERS} docs/source/en/api/pipelines/skyreels_v2.md (VAE loaded in fp32, the rest in bf16)"
_SKYREELS = "github.com/SkyworkAI/SkyReels-V2 abed76f"
_COUNTS = "parameter count of the text encoder: as for Wan2.1"

_TEXT_ENCODER = replace(
    TEXT_ENCODER, source=f"google/umt5-xxl, named by {_CONVERSION}; sizes as for Wan2.1; dtype: {_DOCS}"
)
_VAE = replace(
    VAE, source=f"{_CONVERSION} convert_vae: Wan2.1_VAE.pth, the defaults of the class; dtype: {_DOCS}"
)
_IMAGE_ENCODER = replace(
    IMAGE_ENCODER,
    class_name="CLIPVisionModelWithProjection",
    dtype="bf16",
    source=(
        f"class and laion/CLIP-ViT-H-14-laion2B-s32B-b79K: {_CONVERSION}; sizes as for Wan2.1; "
        f"dtype: example of {DIFFUSERS} pipelines/skyreels_v2/pipeline_skyreels_v2_i2v.py, which names none for it"
    ),
)


def _transformer(model_type: str, config: Mapping[str, Any]) -> ComponentSpec:
    return transformer(
        "transformer",
        model_type,
        config,
        class_name="SkyReelsV2Transformer3DModel",
        source=_CONVERSION,
        docs=_DOCS,
    )


def _shifted(flow_shift: float) -> SchedulerSpec:
    return scheduler(flow_shift, f"{_CONVERSION}; flow_shift: examples of {DIFFUSERS} pipelines/skyreels_v2")


def _row(
    *, name: str, components: tuple[ComponentSpec, ...], sources: tuple[str, ...], **more: Any
) -> ModelSpec:
    return row(
        name=name.lower(),
        title=name,
        family="skyreels",
        components=components,
        parameters={},
        counts=_COUNTS,
        sources=(
            f"size, frames and rate: {_SKYREELS} README.md (540P: 544x960, 97 frames, 24 fps)",
            *sources,
        ),
        **more,
    )


def _defaults(*, steps: int, guidance: float) -> Defaults:
    return Defaults(frames=97, height=544, width=960, steps=steps, guidance=guidance, fps=24)


_STEPS_50 = f"50 steps: {_SKYREELS} README.md and the example of the diffusers pipeline class"

T2V_14B_540P = _row(
    name="SkyReels-V2-T2V-14B-540P",
    pipeline_class="SkyReelsV2Pipeline",
    components=(_TEXT_ENCODER, _transformer("SkyReels-V2-T2V-14B-540P", SIZES_14B), _VAE),
    scheduler=_shifted(8.0),
    defaults=_defaults(steps=50, guidance=6.0),
    sources=(_STEPS_50, f"guidance 6.0 and shift 8.0 for text to video: {_SKYREELS} README.md"),
)


def _image_to_video(name: str, config: Mapping[str, Any]) -> ModelSpec:
    return _row(
        name=name,
        pipeline_class="SkyReelsV2ImageToVideoPipeline",
        components=(_TEXT_ENCODER, _IMAGE_ENCODER, _transformer(name, config), _VAE),
        scheduler=_shifted(5.0),
        defaults=_defaults(steps=50, guidance=5.0),
        inputs=("image",),
        sources=(_STEPS_50, f"guidance 5.0 and shift 5.0 for image to video: {_SKYREELS} README.md"),
    )


I2V_1_3B_540P = _image_to_video(
    "SkyReels-V2-I2V-1.3B-540P",
    {**SIZES_1_3B, "in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 1536},
)
I2V_14B_540P = _image_to_video("SkyReels-V2-I2V-14B-540P", {**SIZES_14B, **IMAGE_INPUTS_14B})

DF_1_3B_540P = _row(
    name="SkyReels-V2-DF-1.3B-540P",
    pipeline_class="SkyReelsV2DiffusionForcingPipeline",
    components=(
        _TEXT_ENCODER,
        _transformer("SkyReels-V2-DF-1.3B-540P", {**SIZES_1_3B, "inject_sample_info": True}),
        _VAE,
    ),
    scheduler=_shifted(8.0),
    defaults=_defaults(steps=30, guidance=6.0),
    # The overlap and the noise on it matter for clips longer than `base_num_frames` (97): those are made in windows of that length.
    call={"max_sequence_length": 512, "overlap_history": 17, "addnoise_condition": 20},
    max_batch=1,  # the embedded frame rate does not broadcast to more (`fps_projection`, diffusers 0.42)
    remarks=(
        "all frames are denoised together (ar_step 0); the asynchronous mode (ar_step 5 in blocks of 5 latent frames) runs more steps",
    ),
    sources=(
        f"30 steps, guidance 6.0, shift 8.0, ar_step 0: {_SKYREELS} generate_video_df.py (the README's table says 50 steps)",
        f"overlap of 17 frames and noise condition of 20 for long videos: {_SKYREELS} README.md",
    ),
)

ROWS: tuple[ModelSpec, ...] = (T2V_14B_540P, I2V_1_3B_540P, I2V_14B_540P, DF_1_3B_540P)
