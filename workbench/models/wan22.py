"""Wan2.2: text to video (5B), text and image to video with two experts (A14B).

Read like Wan2.1 (`wan.py`). Wan2.2-TI2V-5B is here as text to video, with the per-token timesteps that it uses for both; starting it
from an image takes another pipeline class (`WanImageToVideoPipeline`) and is not a row. Of the A14B models, `transformer` denoises the
first steps (high noise) and `transformer_2` the rest; which gets how many, the flow shift decides.
"""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec
from workbench.models.wan import CONVERSION, DOCS, SIZES_14B, TEXT_ENCODER, VAE, row, scheduler, transformer

_WAN22 = "github.com/Wan-Video/Wan2.2 42bf4cf"

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
    source=f"{CONVERSION} vae22_diffusers_config; dtype: {DOCS}",
)

TI2V_5B = row(
    name="wan2.2-ti2v-5b",
    title="Wan2.2-TI2V-5B",
    pipeline_config={"expand_timesteps": True},
    components=(
        TEXT_ENCODER,
        transformer(
            "transformer",
            "Wan2.2-TI2V-5B",
            {
                "ffn_dim": 14336,
                "num_attention_heads": 24,
                "num_layers": 30,
                "in_channels": 48,
                "out_channels": 48,
            },
        ),
        _VAE_22,
    ),
    scheduler=scheduler(5.0, f"{CONVERSION} flow_shift 5.0"),
    defaults=Defaults(frames=121, height=704, width=1280, steps=50, guidance=5.0, fps=24),
    parameters={"transformer": 5.0e9},
    sources=(f"native workload: {_WAN22} wan/configs/wan_ti2v_5B.py and SUPPORTED_SIZES",),
    spatial_compression=16,
)

T2V_A14B = row(
    name="wan2.2-t2v-a14b",
    title="Wan2.2-T2V-A14B",
    pipeline_config={"boundary_ratio": 0.875},
    components=(
        TEXT_ENCODER,
        transformer("transformer", "Wan2.2-T2V-A14B", SIZES_14B),
        transformer("transformer_2", "Wan2.2-T2V-A14B", SIZES_14B),
        VAE,
    ),
    # Shift 3.0 gives the first expert about 30 % of the steps, Wan's own 12.0 about 63 %.
    scheduler=scheduler(3.0, f"{CONVERSION} flow_shift 3.0; {_WAN22} wan/configs/wan_t2v_A14B.py uses 12.0"),
    defaults=Defaults(frames=81, height=720, width=1280, steps=40, guidance=4.0, guidance_2=3.0, fps=16),
    parameters={"transformer": 14.3e9, "transformer_2": 14.3e9},
    sources=(
        f"steps, boundary 0.875, guidance 4.0 (high noise) and 3.0 (low noise): {_WAN22} wan/configs/wan_t2v_A14B.py",
    ),
)

_I2V_A14B = {"in_channels": 36, **SIZES_14B}
"""The image comes in as channels only: no image encoder, no image tokens in the cross-attention."""

I2V_A14B = row(
    name="wan2.2-i2v-a14b",
    title="Wan2.2-I2V-A14B",
    pipeline_class="WanImageToVideoPipeline",
    pipeline_config={"boundary_ratio": 0.9},
    components=(
        TEXT_ENCODER,
        transformer("transformer", "Wan2.2-I2V-14B-720p", _I2V_A14B),
        transformer("transformer_2", "Wan2.2-I2V-14B-720p", _I2V_A14B),
        VAE,
    ),
    scheduler=scheduler(3.0, f"{CONVERSION} flow_shift 3.0; {_WAN22} wan/configs/wan_i2v_A14B.py uses 5.0"),
    defaults=Defaults(frames=81, height=720, width=1280, steps=40, guidance=3.5, guidance_2=3.5, fps=16),
    inputs=("image",),
    parameters={"transformer": 14.3e9, "transformer_2": 14.3e9},
    sources=(f"steps, boundary 0.9, guidance 3.5 of both experts: {_WAN22} wan/configs/wan_i2v_A14B.py",),
)

ROWS: tuple[ModelSpec, ...] = (TI2V_5B, T2V_A14B, I2V_A14B)
