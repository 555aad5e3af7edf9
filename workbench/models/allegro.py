"""Allegro: text to video, 88 frames of 720p. Its VAE decodes in tiles of 24 frames and 320x320 pixels, and in no other way."""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec
from workbench.models._t5 import T5_XXL_PARAMETERS, t5_xxl

_HUB = "hub repository rhymes-ai/Allegro"
_EXAMPLE = "example of AllegroPipeline, diffusers 58eb52c (transformer and text encoder in bf16, VAE in fp32, vae.enable_tiling())"
_CODE = "github.com/rhymes-ai/Allegro f395a54"

ALLEGRO = ModelSpec(
    name="allegro",
    title="Allegro",
    family="allegro",
    task="t2v",
    pipeline_class="AllegroPipeline",
    pipeline_config={},
    components=(
        t5_xxl("bf16", f"text_encoder of the {_HUB}; dtype: {_EXAMPLE}"),
        ComponentSpec(
            name="transformer",
            library="diffusers",
            class_name="AllegroTransformer3DModel",
            config={
                "patch_size": 2,
                "patch_size_t": 1,
                "num_attention_heads": 24,
                "attention_head_dim": 96,
                "in_channels": 4,
                "out_channels": 4,
                "num_layers": 32,
                "cross_attention_dim": 2304,
                "attention_bias": True,
                "sample_height": 90,
                "sample_width": 160,
                "sample_frames": 22,
                "activation_fn": "gelu-approximate",
                "norm_elementwise_affine": False,
                "norm_eps": 1e-6,
                "caption_channels": 4096,
                "interpolation_scale_h": 2.0,
                "interpolation_scale_w": 2.0,
                "interpolation_scale_t": 2.2,
            },
            dtype="bf16",
            source=f"{_HUB} transformer/config.json; dtype: {_EXAMPLE}",
        ),
        ComponentSpec(
            name="vae",
            library="diffusers",
            class_name="AutoencoderKLAllegro",
            config={
                "block_out_channels": (128, 256, 512, 512),
                "temporal_downsample_blocks": (True, True, False, False),
                "temporal_upsample_blocks": (False, True, True, False),
                "latent_channels": 4,
                "layers_per_block": 2,
                "temporal_compression_ratio": 4,
                "sample_size": 320,
                "scaling_factor": 0.13,
                "force_upcast": True,
            },
            dtype="fp32",
            source=f"{_HUB} vae/config.json; dtype: {_EXAMPLE}",
        ),
    ),
    scheduler=SchedulerSpec(
        class_name="EulerAncestralDiscreteScheduler",
        config={
            "num_train_timesteps": 1000,
            "beta_start": 0.0001,
            "beta_end": 0.02,
            "beta_schedule": "linear",
            "prediction_type": "epsilon",
            "timestep_spacing": "linspace",
        },
        source=f"{_HUB} scheduler/scheduler_config.json",
    ),
    defaults=Defaults(frames=88, height=720, width=1280, steps=100, guidance=7.5, fps=15),
    temporal_factor=4,
    frame_remainder=0,
    size_multiple=16,
    call={"max_sequence_length": 512},
    always_tiled=True,
    parameters={"text_encoder": T5_XXL_PARAMETERS, "transformer": 2.772e9, "vae": 0.175e9},
    remarks=(
        "its VAE decodes whole tiles only: what is beyond 24 + 16k frames, 320 + 200k rows and 320 + 240k columns stays black",
    ),
    sources=(
        f"frames, size, steps, guidance and fps: {_CODE} single_inference.py",
        f"vae: {_CODE} README.md, 175 M",
    ),
)

ROWS: tuple[ModelSpec, ...] = (ALLEGRO,)
