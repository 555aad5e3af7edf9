"""Stable Video Diffusion: image to video by a UNet with temporal layers, 14 frames (SVD) and 25 frames (SVD-XT).

The pipeline reads no text. It decodes all frames at once unless the call says otherwise (`decode_chunk_size`, which the
documentation lowers to save memory), and it casts its fp16 VAE to fp32 for the moment in which it encodes the image.
"""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_HUB = "hub repositories stabilityai/stable-video-diffusion-img2vid and -img2vid-xt"
_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/stable_diffusion/svd.md (torch_dtype=float16, variant fp16)"
_CODE = "github.com/Stability-AI/generative-models 0ad7de9"

_IMAGE_ENCODER = ComponentSpec(
    name="image_encoder",
    library="transformers",
    class_name="CLIPVisionModelWithProjection",
    config={
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "projection_dim": 1024,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
    },
    dtype="fp16",
    source=f"laion/CLIP-ViT-H-14-laion2B-s32B-b79K, named by the docstring of StableVideoDiffusionPipeline; dtype: {_DOCS}",
)

_VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLTemporalDecoder",
    config={
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 768,
        "scaling_factor": 0.18215,
        "force_upcast": True,
    },
    dtype="fp16",
    source=f"{_CODE} scripts/sampling/configs/svd_xt.yaml first_stage_config; sample_size, force_upcast: {_HUB} vae/config.json; "
    f"dtype: {_DOCS}",
)

_SCHEDULER = SchedulerSpec(
    class_name="EulerDiscreteScheduler",
    config={
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "interpolation_type": "linear",
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "sigma_max": 700.0,
        "sigma_min": 0.002,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "timestep_type": "continuous",
        "use_karras_sigmas": True,
    },
    source=f"{_HUB} scheduler/scheduler_config.json",
)


def _row(name: str, title: str, frames: int) -> ModelSpec:
    unet = ComponentSpec(
        name="unet",
        library="diffusers",
        class_name="UNetSpatioTemporalConditionModel",
        config={
            "sample_size": 96,
            "in_channels": 8,
            "out_channels": 4,
            "block_out_channels": (320, 640, 1280, 1280),
            "layers_per_block": 2,
            "cross_attention_dim": 1024,
            "transformer_layers_per_block": 1,
            "num_attention_heads": (5, 10, 20, 20),
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 768,
            "num_frames": frames,
        },
        dtype="fp16",
        source=f"{_HUB} unet/config.json (block types: the defaults of the class); dtype: {_DOCS}",
    )
    return ModelSpec(
        name=name,
        title=title,
        family="stable_video_diffusion",
        task="i2v",
        pipeline_class="StableVideoDiffusionPipeline",
        pipeline_config={},
        components=(_IMAGE_ENCODER, unet, _VAE),
        scheduler=_SCHEDULER,
        defaults=Defaults(frames=frames, height=576, width=1024, steps=25, guidance=3.0, fps=7),
        temporal_factor=1,
        frame_remainder=0,
        size_multiple=64,  # 8 of the VAE times 8 of the UNet, whose forward pads nothing
        inputs=("image",),
        parameters={"unet": 1.521e9, "image_encoder": 0.632e9},
        sources=(
            f"frames and size: {_CODE} README.md; steps, guidance (max_guidance_scale) and fps: defaults of the call of the diffusers "
            "pipeline",
            "unet: Stable Video Diffusion (arXiv 2311.15127), appendix D, 1521 M parameters; as quoted, the paper was not re-read. "
            "The hub's unet/diffusion_pytorch_model.fp16.safetensors has 3.05 GB",
            "image_encoder: hub repository, image_encoder/model.fp16.safetensors, 1.26 GB",
        ),
    )


SVD_XT = _row("stable-video-diffusion-img2vid-xt", "Stable Video Diffusion XT", 25)
SVD = _row("stable-video-diffusion-img2vid", "Stable Video Diffusion", 14)

ROWS: tuple[ModelSpec, ...] = (SVD_XT, SVD)
