"""AnimateDiff: a UNet with motion modules, the adapter kept beside it, frames as images for the VAE, and 32 positions in time."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench._errors import WorkloadError
from workbench.models import Workload, get
from workbench.models._build import build_component, build_meta_pipeline
from workbench.models.animatediff import ROWS

NAMES = [spec.name for spec in ROWS]
MOTION = {"block_out_channels": (32, 32, 64, 64), "motion_num_attention_heads": 2}
SMALL = {
    "text_encoder": {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "unet": {**MOTION, "layers_per_block": 1, "cross_attention_dim": 32, "num_attention_heads": 2},
    "motion_adapter": {**MOTION, "motion_layers_per_block": 1},
    "vae": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
}
TINY = {"frames": 3, "height": 64, "width": 72, "steps": 2}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name):
    spec = get(name)
    assert set(spec.parameters) == set(spec.component_names())
    for component, published in spec.parameters.items():
        module = build_component(spec, component)
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(published, rel=0.01), component


def test_the_unet_is_what_the_pipeline_makes_of_the_image_models_unet_and_the_adapter():
    import torch
    from diffusers import UNet2DConditionModel, UNetMotionModel

    for name in NAMES:
        spec = get(name)
        with torch.device("meta"):
            image_unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
            made = UNetMotionModel.from_unet2d(
                image_unet, build_component(spec, "motion_adapter"), load_weights=False
            )
        ours = build_component(spec, "unet")
        assert {key: tensor.shape for key, tensor in made.state_dict().items()} == {
            key: tensor.shape for key, tensor in ours.state_dict().items()
        }


def test_the_native_workload_joins_both_halves_of_the_guidance_and_decodes_frames_as_images(
    rehearsed, counts
):
    run = rehearsed(NAMES[0])
    assert counts(run) == {
        "text_encode": {"text_encoder": 2},
        "denoise": {"unet": 25},
        "decode": {"vae": 1},
    }
    by_component = {call.component: call for call in run.calls.values()}
    assert by_component["unet"].args[0].shape == (2, 4, 16, 64, 64)
    assert by_component["vae"].args[0].shape == (16, 4, 64, 64)


def test_a_clip_of_20_frames_is_decoded_in_the_chunks_that_the_pipeline_makes(rehearsed, counts):
    assert counts(rehearsed(NAMES[0], frames=20, steps=1))["decode"] == {"vae": 2}


def test_a_batch_is_made_although_the_pipeline_ignores_num_videos_per_prompt(rehearsed):
    run = rehearsed(NAMES[0], **TINY, batch=2)
    shapes = [call.args[0].shape for call in run.calls.values() if call.component == "unet"]
    assert shapes == [(4, 4, 3, 8, 9)]


def test_the_adapter_is_never_called_and_its_weights_count(rehearsed, counts):
    run = rehearsed(NAMES[0], **TINY)
    assert all("motion_adapter" not in calls for calls in counts(run).values())
    cost = wb.estimate(run.workload, device="rtx-4090")
    alone = sum(run.weights(run.settings, name).total_bytes for name in ("text_encoder", "unet", "vae"))
    assert (
        cost.price.stages[0].weights_bytes - alone == run.weights(run.settings, "motion_adapter").total_bytes
    )
    assert build_meta_pipeline(get(NAMES[0])).image_encoder is None


def test_the_adapter_has_positions_for_32_frames():
    assert Workload.for_model(NAMES[0], frames=32).frames == 32
    with pytest.raises(WorkloadError, match="makes at most 32 frames, got 33"):
        Workload.for_model(NAMES[0], frames=33)


def test_allocated_memory_is_that_of_a_published_run():
    # diffusers pull request 9177: 16 frames of 512x512, fp16, weights 3.59 GiB, peak 11.60 GiB, of an adapter with a mid block of its own
    cost = wb.estimate(NAMES[0], device="h100-80gb")
    peak = max(stage.activations_bytes for stage in cost.price.stages) / 2**30
    assert peak == pytest.approx(11.60 - 3.59, rel=0.01)


def test_a_small_one_runs_as_rehearsed_op_for_op(narrowed, runs_as_rehearsed):
    spec = narrowed(NAMES[1], **SMALL)
    runs_as_rehearsed(spec.with_dtypes(dict.fromkeys(spec.component_names(), "fp32")), **TINY)
