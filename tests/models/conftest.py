"""Catalogue rows with small widths: the same classes, structure and dtypes, so that real weights fit into a test."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from workbench._rehearsing import Rehearsing, Workshop
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.models import ComponentSpec, ModelSpec, Workload, get
from workbench.models._build import assemble, build_component, call_kwargs, construct
from workbench.techniques import Settings
from workbench.testing.contract import assert_same_walk

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
_LLAMA = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_HUNYUAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "num_layers": 2,
    "num_single_layers": 2,
    "text_embed_dim": 32,
    "pooled_projection_dim": 32,
    "rope_axes_dim": (8, 8, 8),
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
    "LlamaModel": _LLAMA,
    "LlavaForConditionalGeneration": {
        "text_config": {"model_type": "llama", **_LLAMA},
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 336,
            "patch_size": 14,
        },
        "image_token_index": 510,
        "pad_token_id": 511,
    },
    "CLIPTextModel": {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "SiglipVisionModel": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "Qwen2_5_VLTextModel": {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "T5EncoderModel": {
        "vocab_size": 512,
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
    },
    "HunyuanVideoTransformer3DModel": _HUNYUAN,
    "HunyuanVideoFramepackTransformer3DModel": {**_HUNYUAN, "image_proj_dim": 32},
    "HunyuanVideo15Transformer3DModel": {
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "num_layers": 2,
        "text_embed_dim": 32,
        "text_embed_2_dim": 32,
        "image_embed_dim": 32,
        "rope_axes_dim": (8, 8, 8),
        "target_size": 32,
    },
    "AutoencoderKLHunyuanVideo": {
        "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    "AutoencoderKLHunyuanVideo15": {"block_out_channels": (16, 32, 64, 128, 128), "layers_per_block": 1},
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


_OF_ONE_NUMBER = ("aten.lift_fresh.default", "aten.scalar_tensor.default")
"""Ways in which devices make a tensor of a Python number; which one is taken says nothing of a GPU."""
_ONE_NUMBER = 8
"""Bytes of such a tensor."""


@pytest.fixture
def rehearsed() -> Callable[..., Rehearsing]:
    """A function that rehearses a row of the catalogue at a workload."""

    def rehearse_row(name: str, settings: Settings | None = None, **workload: float) -> Rehearsing:
        workshop = Workshop(get(name), Workload.for_model(name, **workload))
        return Rehearsing(workshop, settings if settings is not None else Settings())

    return rehearse_row


@pytest.fixture
def counts() -> Callable[[Rehearsing], dict[str, dict[str, int]]]:
    """A function that says how often each component is called, by stage."""

    def count(run: Rehearsing) -> dict[str, dict[str, int]]:
        found: dict[str, Counter[str]] = {stage.name: Counter() for stage in run.log.stages}
        for stage in run.log.stages:
            for call in stage.calls:
                found[stage.name][call.component] += call.count
        return {stage: dict(calls) for stage, calls in found.items()}

    return count


@pytest.fixture
def runs_as_rehearsed() -> Callable[..., None]:
    """A function that runs a small row for real and holds the rehearsal against it, op for op and byte for byte.

    After the ops in `but` the bytes are not compared. `to_numpy` leaves out what comes after the last call of a component: an array on
    a CPU keeps the memory of the frames that it was made of, and one that was copied from a GPU does not.
    """

    def compare(
        spec: ModelSpec, but: tuple[str, ...] = (), *, to_numpy: bool = False, **values: float
    ) -> None:
        workload = Workload.for_model(spec, **values)
        torch.manual_seed(0)
        real = assemble(spec, {part.name: construct(part).eval() for part in spec.components})
        real.set_progress_bar_config(disable=True)
        hollow = assemble(spec, {part.name: build_component(spec, part.name) for part in spec.components})
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pipeline's own code
            ran = record(real, call_kwargs(spec, workload, real))
        predicted, _ = rehearse(hollow, call_kwargs(spec, workload, hollow), Target("cpu"))
        ours, theirs = (
            [
                (path, op, 0 if op.name in but else live)
                for path, op, live in trace.walk()
                if op.name not in _OF_ONE_NUMBER
            ]
            for trace in (predicted, ran)
        )
        if to_numpy:
            ours, theirs = (
                walk[: 1 + max(number for number, (path, *_) in enumerate(walk) if path)]
                for walk in (ours, theirs)
            )
        assert_same_walk(
            ours,
            [
                (path, op, mine if abs(live - mine) <= _ONE_NUMBER else live)
                for (path, op, live), (_, _, mine) in zip(theirs, ours, strict=True)
            ],
        )

    return compare


@pytest.fixture
def narrowed() -> Callable[..., ModelSpec]:
    """A function that gives a row with other values in its configurations, component by component."""

    def narrow(name: str, **configs: dict[str, Any]) -> ModelSpec:
        spec = get(name)
        parts = (replace(part, config={**part.config, **configs[part.name]}) for part in spec.components)
        return replace(spec, components=tuple(parts))

    return narrow
