"""Mochi 1: text to video with an asymmetric transformer, whose text stream is half as wide as its video stream.

The configuration is that of the defaults of diffusers' classes, which its conversion script uses. The hub itself was not read.
"""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_CONVERSION = "diffusers 58eb52c scripts/convert_mochi_to_diffusers.py"
_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/mochi.md (variant bf16)"
_AUTHORS = "github.com/genmoai/mochi 0c86aeb"

PREVIEW = ModelSpec(
    name="mochi-1-preview",
    title="Mochi 1 preview",
    family="mochi",
    task="t2v",
    pipeline_class="MochiPipeline",
    pipeline_config={},
    components=(
        ComponentSpec(
            name="text_encoder",
            library="transformers",
            class_name="T5EncoderModel",
            config={
                "vocab_size": 32128,
                "d_model": 4096,
                "d_kv": 64,
                "d_ff": 10240,
                "num_layers": 24,
                "num_heads": 64,
                "relative_attention_num_buckets": 32,
                "feed_forward_proj": "gated-gelu",
                "layer_norm_epsilon": 1e-6,
            },
            dtype="bf16",
            source=(
                f"google/t5-v1_1-xxl, named by {_CONVERSION}; sizes: "
                "google-research/text-to-text-transfer-transformer 796ac28 t5/models/gin/models/t5.1.1.xxl.gin; "
                f"dtype: {_DOCS}"
            ),
        ),
        ComponentSpec(
            name="transformer",
            library="diffusers",
            class_name="MochiTransformer3DModel",
            config={
                "patch_size": 2,
                "num_attention_heads": 24,
                "attention_head_dim": 128,
                "num_layers": 48,
                "pooled_projection_dim": 1536,
                "in_channels": 12,
                "qk_norm": "rms_norm",
                "text_embed_dim": 4096,
                "time_embed_dim": 256,
                "activation_fn": "swiglu",
                "max_sequence_length": 256,
            },
            dtype="bf16",
            source=f"{_CONVERSION}: the defaults of the class; widths, heads and layers: {_AUTHORS} README.md; dtype: {_DOCS}",
        ),
        ComponentSpec(
            name="vae",
            library="diffusers",
            class_name="AutoencoderKLMochi",
            config={"latent_channels": 12, "out_channels": 3},
            dtype="bf16",
            source=f"{_CONVERSION}; the rest are the defaults of the class; dtype: {_DOCS}",
        ),
    ),
    scheduler=SchedulerSpec(
        class_name="FlowMatchEulerDiscreteScheduler", config={"invert_sigmas": True}, source=_CONVERSION
    ),
    defaults=Defaults(frames=163, height=480, width=848, steps=64, guidance=6.0, fps=30),
    temporal_factor=6,
    size_multiple=16,  # 8 by the VAE, 2 by the transformer's patch
    call={"max_sequence_length": 256},
    parameters={"text_encoder": 19_049_242_624 / 4, "transformer": 10e9},
    sources=(
        f"frames, size, 64 steps, guidance 6: {_AUTHORS} demos/cli.py; 30 frames per second: {_DOCS}",
        f"transformer: {_AUTHORS} README.md (10B; its 362M are the VAE's decoder alone)",
        "text encoder: fp32 bytes of the text_encoder index of the hub repository, as quoted by a public report; not re-read",
    ),
)

ROWS: tuple[ModelSpec, ...] = (PREVIEW,)
