"""Catalogue rows with small widths: the same classes, structure and dtypes, so that real weights fit into a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from workbench.models import ComponentSpec, ModelSpec

_WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 64,
    "num_layers": 2,
}
_CLIP_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
}
_SMALL = {
    "UMT5EncoderModel": {
        "vocab_size": 512,
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
    },
    "CLIPVisionModel": _CLIP_VISION,
    "CLIPVisionModelWithProjection": _CLIP_VISION,
    "Gemma2Model": {
        "vocab_size": 512,
        "hidden_size": 24,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
    },
    "WanTransformer3DModel": _WAN,
    "WanVACETransformer3DModel": {**_WAN, "vace_layers": (0, 1)},
    "SkyReelsV2Transformer3DModel": _WAN,
    "SanaVideoTransformer3DModel": {
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 24,
        "cross_attention_dim": 48,
        "caption_channels": 24,
        "num_layers": 2,
    },
    "AutoencoderKLWan": {"base_dim": 8, "num_res_blocks": 1},
}


@pytest.fixture
def shrink() -> Callable[[ModelSpec], ModelSpec]:
    """A function that gives a row at widths of a few dozen channels."""
    return _shrink


def _shrink(spec: ModelSpec) -> ModelSpec:
    return replace(spec, components=tuple(_shrink_component(part) for part in spec.components))


def _shrink_component(part: ComponentSpec) -> ComponentSpec:
    config = {**part.config, **_SMALL[part.class_name]}
    if "added_kv_proj_dim" in config:
        config |= {"added_kv_proj_dim": 48, "image_dim": 32}
    if "decoder_base_dim" in config:
        config["decoder_base_dim"] = 12
    return replace(part, config=config)
