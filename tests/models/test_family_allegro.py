"""Allegro: whole groups of four frames, and a VAE that decodes in tiles or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

import workbench as wb
from workbench._errors import RehearsalError, SettingsError, WorkloadError
from workbench._rehearsing import Rehearsing, Workshop
from workbench.models import Workload, get
from workbench.models._build import build_component, build_meta_pipeline
from workbench.search.space import Space
from workbench.techniques import Settings, VaeSlicing

NAME = "allegro"
SMALL = {
    "text_encoder": {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "transformer": {
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "cross_attention_dim": 48,
        "num_layers": 2,
        "caption_channels": 32,
    },
    "vae": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1, "sample_size": 160},
}


def test_parameter_counts_are_the_published_ones():
    spec = get(NAME)
    assert set(spec.parameters) == set(spec.component_names())
    for component, published in spec.parameters.items():
        module = build_component(spec, component)
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(published, rel=0.01), component


def test_the_native_workload_is_decoded_in_75_tiles_by_one_call(rehearsed, counts):
    run = rehearsed(NAME)
    assert counts(run) == {
        "text_encode": {"text_encoder": 2},
        "denoise": {"transformer": 100},
        "decode": {"vae": 1},
    }
    by_component = {call.component: (key, call) for key, call in run.calls.items()}
    assert by_component["transformer"][1].kwargs["hidden_states"].shape == (2, 4, 22, 90, 160)
    key, _ = by_component["vae"]
    assert run.summary(Settings(), "vae", key, "flash").passes == 5 * 3 * 5


def test_peak_is_that_of_the_authors():
    # github.com/rhymes-ai/Allegro README.md: 27.5G in bf16 without offload, by their own code; memory outside the allocator included
    cost = wb.estimate(NAME, device="h100-80gb")
    assert cost.price.peak_allocated_bytes / 1e9 == pytest.approx(27.5, rel=0.05)


def test_frames_come_in_whole_groups_of_four():
    with pytest.raises(WorkloadError, match="makes 4\\*k frames, got 81: nearest are 80 and 84"):
        Workload.for_model(NAME, frames=81)


def test_tiles_are_on_and_no_choice():
    assert build_meta_pipeline(get(NAME)).vae.use_tiling
    with pytest.raises(SettingsError, match="its VAE decodes in tiles anyway"):
        wb.estimate(NAME, {"vae_tiling": {}}, "rtx-4090")
    space = Space.of(get(NAME), Workload.for_model(NAME), wb.devices.get("rtx-4090"))
    assert space.dimensions["tiles"] == ("off",)


def test_without_tiles_the_pipeline_refuses():
    spec = replace(get(NAME), always_tiled=False)
    workload = Workload.for_model(spec, frames=24, height=320, width=320, steps=1)
    with pytest.raises(RehearsalError, match="Decoding without tiling has not been implemented"):
        _ = Rehearsing(Workshop(spec, workload), Settings()).log


def test_tiles_decode_one_video_at_a_time_so_that_a_batch_needs_slices(rehearsed):
    small = {"frames": 24, "height": 320, "width": 320, "steps": 1, "batch": 2}
    with pytest.raises(RehearsalError, match="AllegroPipeline could not be run"):
        _ = rehearsed(NAME, **small).log
    run = rehearsed(NAME, Settings.of([VaeSlicing()]), **small)
    shapes = {call.component: call for call in run.calls.values()}
    assert shapes["transformer"].kwargs["hidden_states"].shape[0] == 4


def test_a_small_one_runs_as_rehearsed_op_for_op(narrowed, runs_as_rehearsed):
    spec = narrowed(NAME, **SMALL)
    spec = spec.with_dtypes(dict.fromkeys(spec.component_names(), "fp32"))
    runs_as_rehearsed(spec, frames=24, height=160, width=240, steps=2)
