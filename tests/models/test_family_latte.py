"""Latte: 16 frames or one, a prompt cut to its length, and an image VAE that decodes 14 frames at a time."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench._errors import SettingsError, WorkloadError
from workbench.models import Workload, get
from workbench.models._build import build_component
from workbench.models._standins import NUM_PROMPT_TOKENS
from workbench.search.space import Space

NAME = "latte-1"
SMALL = {
    "text_encoder": {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "transformer": {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "cross_attention_dim": 32,
        "num_layers": 2,
        "caption_channels": 32,
        "sample_size": 8,
    },
    "vae": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
}


def test_parameter_counts_are_the_published_ones():
    spec = get(NAME)
    assert set(spec.parameters) == set(spec.component_names())
    for component, published in spec.parameters.items():
        module = build_component(spec, component)
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(published, rel=0.01), component


def test_weights_in_fp16_are_those_of_a_published_run():
    # diffusers pull request 10163: 12.88 GiB on the GPU, of which 1.9 because T5 keeps its wide products in fp32 when loaded in fp16
    cost = wb.estimate(NAME, device="h100-80gb")
    assert cost.price.stages[0].weights_bytes / 2**30 == pytest.approx(12.88, abs=0.01)
    denoise = next(stage for stage in cost.price.stages if stage.name == "denoise")
    assert denoise.peak_reserved_bytes / 2**30 == pytest.approx(14.344, rel=0.01)


def test_the_native_workload_joins_both_halves_of_the_guidance_and_decodes_14_and_2_frames(rehearsed, counts):
    run = rehearsed(NAME)
    assert counts(run) == {
        "text_encode": {"text_encoder": 2},
        "denoise": {"transformer": 50},
        "decode": {"vae": 2},
    }
    denoise = next(call for call in run.calls.values() if call.component == "transformer")
    assert denoise.kwargs["hidden_states"].shape == (2, 4, 16, 64, 64)
    assert denoise.kwargs["encoder_hidden_states"].shape == (2, NUM_PROMPT_TOKENS, 4096)
    decoded = [call.args[0].shape[0] for call in run.calls.values() if call.component == "vae"]
    assert decoded == [14, 2]


def test_it_makes_16_frames_or_one():
    assert Workload.for_model(NAME, frames=1).frames == 1
    with pytest.raises(WorkloadError) as caught:
        Workload.for_model(NAME, frames=8)
    assert str(caught.value) == "latte-1 makes 1 or 16 frames, got 8"


def test_windows_of_frames_are_refused():
    with pytest.raises(
        SettingsError, match="does not apply to latte-1: its denoiser, LatteTransformer3DModel"
    ):
        wb.estimate(NAME, {"temporal_chunks": {"frames": 8}}, "rtx-4090")
    space = Space.of(get(NAME), Workload.for_model(NAME), wb.devices.get("rtx-4090"))
    assert space.dimensions["window"] == (0,)


def test_a_small_one_runs_as_rehearsed_op_for_op(narrowed, runs_as_rehearsed):
    spec = narrowed(NAME, **SMALL)
    spec = spec.with_dtypes(dict.fromkeys(spec.component_names(), "fp32"))
    runs_as_rehearsed(spec, frames=16, height=64, width=80, steps=2)
