"""Mochi 1: published counts, what a generation calls, and a small one run for real."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from workbench._errors import WorkloadError
from workbench._rehearsing import Rehearsing, Workshop
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.models import ModelSpec, Workload, get
from workbench.models._build import assemble, build_component, call_kwargs, construct
from workbench.techniques import Settings
from workbench.testing.contract import assert_same_walk

SMALL = {
    "text_encoder": {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "transformer": {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 2,
        "pooled_projection_dim": 16,
        "text_embed_dim": 32,
        "time_embed_dim": 16,
    },
    "vae": {
        "encoder_block_out_channels": (32, 32, 32, 32),
        "decoder_block_out_channels": (32, 32, 32, 32),
        "layers_per_block": (1, 1, 1, 1, 1),
    },
}


def small(name: str) -> ModelSpec:
    """The row at widths of a few dozen channels, in fp32."""
    spec = get(name)
    parts = tuple(
        replace(part, config={**part.config, **SMALL[part.name]}, dtype="fp32") for part in spec.components
    )
    return replace(spec, components=parts)


def rehearsed(**values: float) -> Rehearsing:
    spec = get("mochi-1-preview")
    return Rehearsing(Workshop(spec, Workload.for_model(spec, **values)), Settings())


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_published_ones():
    spec = get("mochi-1-preview")
    assert set(spec.parameters) == {"text_encoder", "transformer"}
    for component, published in spec.parameters.items():
        assert count(build_component(spec, component)) == pytest.approx(published, rel=0.01), component
    vae: torch.nn.Module = build_component(spec, "vae")
    assert count(vae.get_submodule("decoder")) == pytest.approx(362e6, rel=0.01)  # the README's AsymmVAE


@pytest.mark.parametrize(("guidance", "branches"), [(6.0, 2), (1.0, 1)])
def test_both_prompts_are_one_call(guidance, branches):
    run = rehearsed(frames=13, height=64, width=96, steps=3, guidance=guidance)
    assert {stage.name: {call.component: call.count for call in stage.calls} for stage in run.log.stages} == {
        "text_encode": {"text_encoder": branches},
        "denoise": {"transformer": 3},
        "decode": {"vae": 1},
    }
    (call,) = (call for call in run.calls.values() if call.component == "transformer")
    assert call.kwargs["hidden_states"].shape == (branches, 12, 3, 8, 12)
    assert call.kwargs["encoder_attention_mask"].shape == (branches, 256)


def test_frames_come_in_sixes():
    assert Workload.for_model("mochi-1-preview").frames == 163
    with pytest.raises(WorkloadError, match=r"makes 6\*k\+1 frames, got 81: nearest are 79 and 85"):
        Workload.for_model("mochi-1-preview", frames=81)


def test_a_small_one_runs_as_rehearsed():
    spec = small("mochi-1-preview")
    workload = Workload.for_model(spec, frames=7, height=64, width=96, steps=2)
    torch.manual_seed(0)
    real = assemble(spec, {part.name: construct(part).eval() for part in spec.components})
    real.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="In CPU autocast")  # the CPU cannot cast to fp32
        ran = record(real, call_kwargs(spec, workload, real))
    hollow = assemble(spec, {part.name: build_component(spec, part.name) for part in spec.components})
    predicted, _ = rehearse(hollow, call_kwargs(spec, workload, hollow), Target("cpu"))
    assert_same_walk(predicted.walk(), ran.walk())
