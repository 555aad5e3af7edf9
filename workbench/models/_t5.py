"""The T5 v1.1 XXL text encoder, which several families share."""

from __future__ import annotations

from workbench.models._spec import ComponentSpec

T5_XXL_PARAMETERS = 4.76e9
"""19.05 GB in fp32: the four weight files of `text_encoder` in the hub repository maxin-cn/Latte."""


def t5_xxl(dtype: str, source: str) -> ComponentSpec:
    """The encoder half of google/t5-v1_1-xxl as a pipeline's `text_encoder`."""
    return ComponentSpec(
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
            "relative_attention_max_distance": 128,
            "feed_forward_proj": "gated-gelu",
            "layer_norm_epsilon": 1e-6,
        },
        dtype=dtype,
        source=f"google/t5-v1_1-xxl config.json; {source}",
    )
