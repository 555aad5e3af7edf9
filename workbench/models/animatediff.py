"""AnimateDiff on Stable Diffusion 1.5: the image model's UNet with motion modules between its layers.

A row is named after the hub repository of its motion adapter; the image model is stable-diffusion-v1-5, for which the adapters were
made. Its finetunes have the same configuration. The pipeline builds the UNet with motion modules itself and keeps the adapter that they
were copied from as a component of its own, which it never calls: its weights stay where the pipeline is put.
"""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/animatediff.md"
_SD15 = "hub repository stable-diffusion-v1-5/stable-diffusion-v1-5"
_CODE = "github.com/guoyww/AnimateDiff e92bd56"

_MAX_FRAMES = 32
"""`motion_max_seq_length` of both adapters: the temporal attention has sinusoidal positions for this many frames."""

_TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="CLIPTextModel",
    config={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "projection_dim": 768,
    },
    dtype="fp16",
    source=f"openai/clip-vit-large-patch14, text_encoder/config.json of the {_SD15}; dtype: {_DOCS}",
)

_VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKL",
    config={
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 512,
    },
    dtype="fp16",
    source=f"vae/config.json of the {_SD15}; dtype: {_DOCS}",
)


def _row(version: str, title: str, *, has_mid_block: bool, adapter: float, source: str) -> ModelSpec:
    motion = {
        "block_out_channels": (320, 640, 1280, 1280),
        "motion_num_attention_heads": 8,
        "motion_max_seq_length": _MAX_FRAMES,
        "use_motion_mid_block": has_mid_block,
    }
    unet = ComponentSpec(
        name="unet",
        library="diffusers",
        class_name="UNetMotionModel",
        config={
            "sample_size": 64,
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 2,
            "cross_attention_dim": 768,
            "num_attention_heads": 8,
            **motion,
        },
        dtype="fp16",
        source=f"UNetMotionModel.from_unet2d of the {_SD15} unet/config.json and the adapter; {source}; dtype: {_DOCS}",
    )
    motion_adapter = ComponentSpec(
        name="motion_adapter",
        library="diffusers",
        class_name="MotionAdapter",
        config={"motion_layers_per_block": 2, "motion_norm_num_groups": 32, **motion},
        dtype="fp16",
        source=f"{source}; dtype: {_DOCS}",
    )
    return ModelSpec(
        name=f"animatediff-motion-adapter-{version}",
        title=title,
        family="animatediff",
        task="t2v",
        pipeline_class="AnimateDiffPipeline",
        pipeline_config={},
        components=(_TEXT_ENCODER, unet, motion_adapter, _VAE),
        scheduler=SchedulerSpec(
            class_name="DDIMScheduler",
            config={
                "num_train_timesteps": 1000,
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "beta_schedule": "linear",
                "clip_sample": False,
                "set_alpha_to_one": False,
                "steps_offset": 1,
                "timestep_spacing": "linspace",
            },
            source=f"first example of {_DOCS}, on scheduler/scheduler_config.json of the {_SD15}",
        ),
        defaults=Defaults(frames=16, height=512, width=512, steps=25, guidance=7.5, fps=8),
        temporal_factor=1,
        frame_remainder=0,
        size_multiple=8,
        max_frames=_MAX_FRAMES,
        remarks=(
            "the pipeline keeps the motion adapter beside the UNet that it was copied into, and it counts",
        ),
        # the UNet has the adapter's motion modules beside the 859.5 M parameters of Stable Diffusion 1.5
        parameters={
            "text_encoder": 0.123e9,
            "unet": 0.8595e9 + adapter,
            "motion_adapter": adapter,
            "vae": 0.0837e9,
        },
        sources=(
            f"frames, steps and guidance: first example of {_DOCS}; size: the UNet's sample_size; fps: gif of that example",
            f"motion_adapter: {_CODE} README.md; unet: the same beside Stable Diffusion 1.5's 859.5 M (3.44 GB in fp32 on the hub)",
            f"text_encoder, vae: 492 MB and 335 MB in fp32, {_SD15}",
        ),
    )


V3 = _row(
    "v1-5-3",
    "AnimateDiff v3 on Stable Diffusion 1.5",
    has_mid_block=False,
    adapter=0.417e9,
    source="hub repository guoyww/animatediff-motion-adapter-v1-5-3 config.json, in copies of it (songkey/hm3_animatediff)",
)
V2 = _row(
    "v1-5-2",
    "AnimateDiff v2 on Stable Diffusion 1.5",
    has_mid_block=True,
    adapter=0.453e9,
    source="hub repository guoyww/animatediff-motion-adapter-v1-5-2 config.json",
)

ROWS: tuple[ModelSpec, ...] = (V3, V2)
