"""EasyAnimate V5.1: published counts, what a generation calls, and a small one run for real."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from workbench._rehearsing import Rehearsing, Workshop
from workbench.cost._memo import Memo
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.models import ModelSpec, Workload, get
from workbench.models._build import assemble, build_component, call_kwargs, construct
from workbench.models.easyanimate import ROWS
from workbench.techniques import Settings
from workbench.testing.contract import assert_same_walk

NAMES = [spec.name for spec in ROWS]
SMALL = {
    "text_encoder": {
        "text_config": {
            "vocab_size": 64,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_window_layers": 2,
            "bos_token_id": 1,
            "eos_token_id": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
        },
        "vision_config": {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2},
    },
    "transformer": {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 2,
        "mmdit_layers": 1,
        "text_embed_dim": 64,
        "time_embed_dim": 16,
    },
    "vae": {"block_out_channels": (16, 16, 16, 16), "norm_num_groups": 4, "layers_per_block": 1},
}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name):
    spec = get(name)
    assert set(spec.parameters) == set(spec.component_names())
    for component, published in spec.parameters.items():
        module = build_component(spec, component)
        count = sum(parameter.numel() for parameter in module.parameters())
        assert count == pytest.approx(published, rel=0.01), component


def test_only_the_12b_model_has_weights_for_the_text_in_every_block():
    blocks = {name: build_component(get(name), "transformer").transformer_blocks for name in NAMES}
    with_text = {name: sum(block.txt_ff is not None for block in found) for name, found in blocks.items()}
    assert {name: len(found) for name, found in blocks.items()} == dict(zip(NAMES, (48, 36), strict=True))
    assert with_text == dict(zip(NAMES, (48, 18), strict=True))


@pytest.mark.parametrize(("guidance", "calls", "rows"), [(6.0, 2, 2), (1.0, 1, 1)])
def test_both_halves_of_the_guidance_are_one_call(guidance, calls, rows):
    workload = Workload.for_model(NAMES[0], frames=9, height=64, width=96, steps=3, guidance=guidance)
    run = Rehearsing(Workshop(get(NAMES[0]), workload), Settings())
    found = {stage.name: stage.calls for stage in run.log.stages}
    assert {name: [(c.component, c.count) for c in made] for name, made in found.items()} == {
        "text_encode": [("text_encoder", calls)],
        "denoise": [("transformer", 3)],
        "decode": [("vae", 1)],
    }
    denoise, decode = run.calls[found["denoise"][0].key], run.calls[found["decode"][0].key]
    assert tuple(denoise.args[0].shape) == (rows, 16, 3, 8, 12)
    assert tuple(denoise.kwargs["encoder_hidden_states"].shape) == (rows, 256, 3584)
    assert tuple(decode.args[0].shape) == (1, 16, 3, 8, 12)


def small() -> ModelSpec:
    """The 12B row at widths of a few dozen channels, in fp32."""
    spec = get(NAMES[0]).with_dtypes(dict.fromkeys(get(NAMES[0]).component_names(), "fp32"))
    parts = (replace(part, config={**part.config, **SMALL[part.name]}) for part in spec.components)
    return replace(spec, components=tuple(parts))


def test_a_small_one_runs_as_rehearsed_op_for_op():
    spec = small()
    workload = Workload.for_model(spec, frames=9, height=64, width=96, steps=2)
    torch.manual_seed(0)
    real = assemble(spec, {part.name: construct(part).eval() for part in spec.components})
    real.set_progress_bar_config(disable=True)
    hollow = assemble(spec, {part.name: build_component(spec, part.name) for part in spec.components})
    with torch.no_grad():
        ran = record(real, call_kwargs(spec, workload, real))
    predicted, _ = rehearse(hollow, call_kwargs(spec, workload, hollow), Target("cpu"))
    assert_same_walk(predicted.walk(), ran.walk())


def test_a_decode_that_drops_what_its_convolutions_kept_is_traced_once():
    spec = small()
    workload = Workload.for_model(spec, frames=9, height=64, width=96, steps=1)
    pipe = assemble(spec, {part.name: build_component(spec, part.name) for part in spec.components})
    memo = Memo()
    first, _ = rehearse(pipe, call_kwargs(spec, workload, pipe), Target("cpu"), memo)
    # the first run finds out that convolutions keep features; from the second on that is known
    second, calls = rehearse(pipe, call_kwargs(spec, workload, pipe), Target("cpu"), memo)
    third, again = rehearse(pipe, call_kwargs(spec, workload, pipe), Target("cpu"), memo)
    (decode,) = (ident for ident, call in calls.items() if call.component == "vae")
    assert decode in again
    assert_same_walk(second.walk(), first.walk())
    assert_same_walk(third.walk(), first.walk())
