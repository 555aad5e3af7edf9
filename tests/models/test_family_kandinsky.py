"""Kandinsky 5.0 Lite: published counts, what a generation calls, the template around the prompt, and a small one run for real."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from workbench._errors import WorkloadError
from workbench._rehearsing import Rehearsing, Workshop
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.models import Workload, get
from workbench.models._build import assemble, build_component, call_kwargs, construct
from workbench.models._standins import NUM_PROMPT_TOKENS
from workbench.models.kandinsky import ROWS
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
        "vision_config": {
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
        },
    },
    "text_encoder_2": {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "transformer": {
        "in_text_dim": 64,
        "in_text_dim2": 32,
        "time_dim": 16,
        "model_dim": 32,
        "ff_dim": 64,
        "num_text_blocks": 1,
        "num_visual_blocks": 2,
        "axes_dims": (4, 6, 6),
    },
    "vae": {"block_out_channels": (16, 16, 16, 16), "norm_num_groups": 4, "layers_per_block": 1},
}


def rehearsed(name: str, **values: float) -> Rehearsing:
    return Rehearsing(Workshop(get(name), Workload.for_model(name, **values)), Settings())


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name):
    spec = get(name)
    for component, published in spec.parameters.items():
        module = build_component(spec, component)
        count = sum(parameter.numel() for parameter in module.parameters())
        assert count == pytest.approx(published, rel=0.01), component


def test_modulation_stays_in_fp32_so_that_the_weights_are_as_large_as_the_published_file():
    # 4.57 GB: the hub's listing of kandinskylab/Kandinsky-5.0-T2V-Lite-nocfg-10s/model, the same network; 4.02 if all were bf16
    weights = build_component(get(NAMES[0]), "transformer").state_dict().values()
    assert sum(tensor.nbytes for tensor in weights) / 1e9 == pytest.approx(4.57, abs=0.005)


@pytest.mark.parametrize(("guidance", "halves"), [(5.0, 2), (1.0, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_each_half_of_the_guidance_is_a_call(name, guidance, halves):
    run = rehearsed(name, frames=25, height=64, width=96, steps=3, guidance=guidance)
    found = {stage.name: [(call.component, call.count) for call in stage.calls] for stage in run.log.stages}
    image = {"image_encode": [("vae", 1)]} if get(name).task == "i2v" else {}
    assert found == {
        "text_encode": [("text_encoder", halves), ("text_encoder_2", halves)],
        **image,
        "denoise": [("transformer", 3 * halves)],
        "decode": [("vae", 1)],
    }


def test_the_template_around_the_prompt_is_encoded_and_then_cut_off():
    run = rehearsed(NAMES[0], frames=25, height=64, width=96, steps=1)
    keys = {call.component: call.key for stage in run.log.stages for call in stage.calls}
    encoded = run.calls[keys["text_encoder"]].kwargs["input_ids"].shape[1]
    given = run.calls[keys["transformer"]].kwargs["encoder_hidden_states"].shape[1]
    assert encoded - given == run.pipe.prompt_template_encode_start_idx == 128
    assert (
        NUM_PROMPT_TOKENS < given < NUM_PROMPT_TOKENS + 8
    )  # its end and the user's turn belong to the prompt
    latents = run.calls[keys["transformer"]].kwargs["hidden_states"]
    assert tuple(latents.shape) == (1, 7, 8, 12, 33)  # noise, the image's latents, and a mask


def test_positions_end_at_128_on_each_axis():
    assert Workload.for_model(NAMES[0], frames=509, height=2048).frames == 509
    with pytest.raises(WorkloadError) as caught:
        Workload.for_model(NAMES[0], frames=513)
    assert str(caught.value) == "kandinsky-5.0-t2v-lite-sft-5s makes at most 509 frames, got 513"
    rope = build_component(get(NAMES[0]), "transformer").visual_rope_embeddings
    assert rope.max_pos == (128, 128, 128)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_one_runs_as_rehearsed_op_for_op(name):
    spec = get(name).with_dtypes(dict.fromkeys(get(name).component_names(), "fp32"))
    parts = (replace(part, config={**part.config, **SMALL[part.name]}) for part in spec.components)
    spec = replace(spec, components=tuple(parts))
    workload = Workload.for_model(spec, frames=25, height=64, width=96, steps=2)
    torch.manual_seed(0)
    real = assemble(spec, {part.name: construct(part).eval() for part in spec.components})
    real.set_progress_bar_config(disable=True)
    hollow = assemble(spec, {part.name: build_component(spec, part.name) for part in spec.components})
    with torch.no_grad():
        ran = record(real, call_kwargs(spec, workload, real))
    predicted, _ = rehearse(hollow, call_kwargs(spec, workload, hollow), Target("cpu"))
    assert_same_walk(predicted.walk(), ran.walk())
