"""Latte-1: text to video by a transformer that attends in space and in time by turns, decoded by an image VAE."""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec
from workbench.models._t5 import T5_XXL_PARAMETERS, t5_xxl

_HUB = "hub repository maxin-cn/Latte-1"
_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/latte.md (dtype=float16)"
_CODE = "github.com/Vchitect/Latte b27c24a"

_FRAMES = 16
"""`video_length`: a learned sum of 16 temporal positions is added whole, so the model makes 16 frames, or one image without it."""

LATTE_1 = ModelSpec(
    name="latte-1",
    title="Latte-1",
    family="latte",
    task="t2v",
    pipeline_class="LattePipeline",
    pipeline_config={},
    components=(
        t5_xxl("fp16", f"text_encoder of the {_HUB}; dtype: {_DOCS}"),
        ComponentSpec(
            name="transformer",
            library="diffusers",
            class_name="LatteTransformer3DModel",
            config={
                "num_attention_heads": 16,
                "attention_head_dim": 72,
                "in_channels": 4,
                "out_channels": 8,
                "num_layers": 28,
                "cross_attention_dim": 1152,
                "attention_bias": True,
                "sample_size": 64,
                "patch_size": 2,
                "activation_fn": "gelu-approximate",
                "num_embeds_ada_norm": 1000,
                "norm_type": "ada_norm_single",
                "norm_elementwise_affine": False,
                "norm_eps": 1e-6,
                "caption_channels": 4096,
                "video_length": _FRAMES,
            },
            dtype="fp16",
            source=f"{_HUB} transformer/config.json (video_length: the default of the class); dtype: {_DOCS}",
        ),
        ComponentSpec(
            name="vae",
            library="diffusers",
            class_name="AutoencoderKL",
            config={
                "down_block_types": ("DownEncoderBlock2D",) * 4,
                "up_block_types": ("UpDecoderBlock2D",) * 4,
                "block_out_channels": (128, 256, 512, 512),
                "layers_per_block": 2,
                "latent_channels": 4,
                "sample_size": 256,
            },
            dtype="fp16",
            source=f"stabilityai/sd-vae-ft-ema config.json, the vae of the {_HUB}; dtype: {_DOCS}",
        ),
    ),
    scheduler=SchedulerSpec(
        class_name="DDIMScheduler",
        config={
            "num_train_timesteps": 1000,
            "beta_start": 0.0001,
            "beta_end": 0.02,
            "beta_schedule": "linear",
            "clip_sample": False,
        },
        source=f"{_CODE} configs/t2x/t2v_sample.yaml and sample/sample_t2x.py",
    ),
    defaults=Defaults(frames=_FRAMES, height=512, width=512, steps=50, guidance=7.5, fps=8),
    temporal_factor=1,
    frame_remainder=0,
    only_frames=(1, _FRAMES),
    size_multiple=16,
    remarks=("the prompt's padding is cut off, so the length of the prompt matters a little",),
    parameters={"text_encoder": T5_XXL_PARAMETERS, "transformer": 1.057e9, "vae": 0.0837e9},
    sources=(
        f"frames, size, steps and guidance: {_CODE} configs/t2x/t2v_sample.yaml, and the defaults of the diffusers call; "
        f"fps: {_CODE} docs/latte_diffusers.md",
        f"transformer and vae: {_HUB}, 4.23 GB and 335 MB in fp32",
    ),
)

ROWS: tuple[ModelSpec, ...] = (LATTE_1,)
