"""The Wan family: Wan2.1 text to video (1.3B, 14B) and image to video (14B, 480p), Wan2.2 text to video (5B, A14B).

Configurations are those of the diffusers repositories `Wan-AI/<name>-Diffusers`, read from the script that made them and
from Wan's own code. The hub itself was not read. Wan2.2-TI2V-5B is here as text to video, with the per-token timesteps that
it uses for both; starting it from an image takes another pipeline class (`WanImageToVideoPipeline`) and is not a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_CONVERSION = "diffusers 58eb52c scripts/convert_wan_to_diffusers.py"
_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/wan.md (VAE loaded in fp32, the rest in bf16)"
_WAN21 = "github.com/Wan-Video/Wan2.1 9737cba"
_WAN22 = "github.com/Wan-Video/Wan2.2 42bf4cf"
_COUNTS = "parameter counts: model pages of the Wan-AI hub repositories, as quoted in this project's issue 2; not re-read"

_SPATIAL_COMPRESSION = 8
"""Pixels per latent pixel of the Wan2.1 VAE, on each axis (`AutoencoderKLWan`, `scale_factor_spatial`)."""

_PATCH = 2
"""Latent pixels per transformer token, on each axis (`patch_size` of every Wan transformer is [1, 2, 2])."""

_ROPE_POSITIONS = 1024
"""`rope_max_seq_len` of `WanTransformer3DModel`: no Wan configuration sets another."""

# Wan2.2-VAE statistics of its 48 latent channels, from `vae22_diffusers_config` of the conversion script.
# fmt: off
_VAE_22_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)
_VAE_22_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)
# fmt: on

_TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="UMT5EncoderModel",
    config={
        "vocab_size": 256384,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
    },
    dtype="bf16",
    source=f"google/umt5-xxl, named by {_CONVERSION}; sizes from {_WAN21} wan/modules/t5.py umt5_xxl; dtype: {_DOCS}",
)

_VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLWan",
    config={},
    dtype="fp32",
    source=f"{_CONVERSION} convert_vae: the defaults of the class; dtype: {_DOCS}",
)

_VAE_22 = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLWan",
    config={
        "base_dim": 160,
        "decoder_base_dim": 256,
        "z_dim": 48,
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_temporal": 4,
        "scale_factor_spatial": 16,
        "latents_mean": _VAE_22_MEAN,
        "latents_std": _VAE_22_STD,
    },
    dtype="fp32",
    source=f"{_CONVERSION} vae22_diffusers_config; dtype: {_DOCS}",
)

_IMAGE_ENCODER = ComponentSpec(
    name="image_encoder",
    library="transformers",
    class_name="CLIPVisionModel",
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
    dtype="fp32",
    source=(
        f"{_WAN21} wan/modules/clip.py clip_xlm_roberta_vit_h_14; class and dtype: example of diffusers 58eb52c "
        "pipelines/wan/pipeline_wan_i2v.py (the conversion script names CLIPVisionModelWithProjection, the same tower)"
    ),
)


def _transformer(name: str, model_type: str, **sizes: int) -> ComponentSpec:
    config = {
        "patch_size": (1, _PATCH, _PATCH),
        "attention_head_dim": 128,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 4096,
        "freq_dim": 256,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": _ROPE_POSITIONS,
        **sizes,
    }
    return ComponentSpec(
        name=name,
        library="diffusers",
        class_name="WanTransformer3DModel",
        config=config,
        dtype="bf16",
        source=f"{_CONVERSION} get_transformer_config({model_type!r}); dtype: {_DOCS}",
    )


def _scheduler(flow_shift: float, source: str) -> SchedulerSpec:
    return SchedulerSpec(
        class_name="UniPCMultistepScheduler",
        config={
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "num_train_timesteps": 1000,
            "flow_shift": flow_shift,
        },
        source=source,
    )


def _row(
    *,
    name: str,
    title: str,
    components: tuple[ComponentSpec, ...],
    scheduler: SchedulerSpec,
    defaults: Defaults,
    parameters: Mapping[str, float],
    sources: tuple[str, ...],
    task: Literal["t2v", "i2v"] = "t2v",
    pipeline_config: Mapping[str, Any] | None = None,
    spatial_compression: int = _SPATIAL_COMPRESSION,
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="wan",
        task=task,
        pipeline_class="WanPipeline" if task == "t2v" else "WanImageToVideoPipeline",
        pipeline_config=pipeline_config or {},
        components=components,
        scheduler=scheduler,
        defaults=defaults,
        temporal_factor=4,  # `scale_factor_temporal` of both VAEs
        size_multiple=spatial_compression * _PATCH,
        max_frames=4 * (_ROPE_POSITIONS - 1) + 1,
        max_size=spatial_compression * _PATCH * _ROPE_POSITIONS,
        # default of the pipeline call, and `text_len` of both wan/configs/shared_config.py
        call={"max_sequence_length": 512},
        inputs=() if task == "t2v" else ("image",),
        parameters={"text_encoder": 5.68e9, **parameters},
        sources=(*sources, _COUNTS),
    )


_SHIFT_480P = f"{_CONVERSION} flow_shift 3.0"
_SHIFT_720P = "diffusers 58eb52c pipelines/wan/pipeline_wan.py example: flow_shift 5.0 for 720P, 3.0 for 480P"
_DIFFUSERS_CALL = "guidance 5.0 and 81 frames at 16 fps: example of the diffusers pipeline class"

T2V_1_3B = _row(
    name="wan2.1-t2v-1.3b",
    title="Wan2.1-T2V-1.3B",
    components=(
        _TEXT_ENCODER,
        _transformer("transformer", "Wan-T2V-1.3B", ffn_dim=8960, num_attention_heads=12, num_layers=30),
        _VAE,
    ),
    scheduler=_scheduler(3.0, _SHIFT_480P),
    defaults=Defaults(frames=81, height=480, width=832, steps=50, guidance=5.0, fps=16),
    parameters={"transformer": 1.42e9},
    sources=(
        f"size and steps: {_WAN21} README.md (480P recommended), generate.py",
        f"{_DIFFUSERS_CALL}; {_WAN21} README.md prefers guidance 6 with shift 8 to 12 for this model",
    ),
)

T2V_14B = _row(
    name="wan2.1-t2v-14b",
    title="Wan2.1-T2V-14B",
    components=(
        _TEXT_ENCODER,
        _transformer("transformer", "Wan-T2V-14B", ffn_dim=13824, num_attention_heads=40, num_layers=40),
        _VAE,
    ),
    scheduler=_scheduler(5.0, _SHIFT_720P),
    defaults=Defaults(frames=81, height=720, width=1280, steps=50, guidance=5.0, fps=16),
    parameters={"transformer": 14.3e9},
    sources=(f"size and steps: {_WAN21} README.md, generate.py", _DIFFUSERS_CALL),
)

I2V_14B_480P = _row(
    name="wan2.1-i2v-14b-480p",
    title="Wan2.1-I2V-14B-480P",
    task="i2v",
    components=(
        _TEXT_ENCODER,
        _IMAGE_ENCODER,
        _transformer(
            "transformer",
            "Wan-I2V-14B-480p",
            ffn_dim=13824,
            num_attention_heads=40,
            num_layers=40,
            in_channels=36,
            image_dim=1280,
            added_kv_proj_dim=5120,
        ),
        _VAE,
    ),
    scheduler=_scheduler(3.0, _SHIFT_480P),
    defaults=Defaults(frames=81, height=480, width=832, steps=40, guidance=5.0, fps=16),
    parameters={"transformer": 16.4e9},
    sources=(
        f"size and steps: {_WAN21} README.md, generate.py (40 steps for image to video)",
        _DIFFUSERS_CALL,
    ),
)

TI2V_5B = _row(
    name="wan2.2-ti2v-5b",
    title="Wan2.2-TI2V-5B",
    pipeline_config={"expand_timesteps": True},
    components=(
        _TEXT_ENCODER,
        _transformer(
            "transformer",
            "Wan2.2-TI2V-5B",
            ffn_dim=14336,
            num_attention_heads=24,
            num_layers=30,
            in_channels=48,
            out_channels=48,
        ),
        _VAE_22,
    ),
    scheduler=_scheduler(5.0, f"{_CONVERSION} flow_shift 5.0"),
    defaults=Defaults(frames=121, height=704, width=1280, steps=50, guidance=5.0, fps=24),
    parameters={"transformer": 5.0e9},
    sources=(f"native workload: {_WAN22} wan/configs/wan_ti2v_5B.py and SUPPORTED_SIZES",),
    spatial_compression=16,
)

_A14B_SIZES = {"ffn_dim": 13824, "num_attention_heads": 40, "num_layers": 40}

T2V_A14B = _row(
    name="wan2.2-t2v-a14b",
    title="Wan2.2-T2V-A14B",
    pipeline_config={"boundary_ratio": 0.875},
    components=(
        _TEXT_ENCODER,
        _transformer("transformer", "Wan2.2-T2V-A14B", **_A14B_SIZES),
        _transformer("transformer_2", "Wan2.2-T2V-A14B", **_A14B_SIZES),
        _VAE,
    ),
    # The shift decides how many steps fall to each expert: 3.0 gives the first about 30 % of them, Wan's own 12.0 about 63 %.
    scheduler=_scheduler(
        3.0, f"{_CONVERSION} flow_shift 3.0; {_WAN22} wan/configs/wan_t2v_A14B.py uses 12.0"
    ),
    defaults=Defaults(frames=81, height=720, width=1280, steps=40, guidance=4.0, guidance_2=3.0, fps=16),
    parameters={"transformer": 14.3e9, "transformer_2": 14.3e9},
    sources=(
        f"steps, boundary 0.875, guidance 4.0 (high noise) and 3.0 (low noise): {_WAN22} wan/configs/wan_t2v_A14B.py",
    ),
)

ROWS: tuple[ModelSpec, ...] = (T2V_1_3B, T2V_14B, I2V_14B_480P, TI2V_5B, T2V_A14B)
