"""CogVideoX: published counts, what a generation calls, padded latent frames, learned positions, and a small one run for real."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from workbench._errors import RehearsalError, WorkloadError
from workbench._rehearsing import Rehearsing, Workshop
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.models import ModelSpec, Workload, get
from workbench.models._build import assemble, build_component, call_kwargs, construct
from workbench.models.cogvideox import ROWS
from workbench.techniques import Settings
from workbench.testing.contract import assert_same_walk

NAMES = [spec.name for spec in ROWS]
SMALL = {
    "text_encoder": {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "transformer": {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 2,
        "text_embed_dim": 32,
        "time_embed_dim": 16,
    },
    "vae": {"block_out_channels": (16, 16, 16, 16), "norm_num_groups": 4, "layers_per_block": 1},
}


def rehearsed(name: str, **values: float) -> Rehearsing:
    return Rehearsing(Workshop(get(name), Workload.for_model(name, **values)), Settings())


def counts(run: Rehearsing) -> dict[str, dict[str, int]]:
    """Calls of each component, by stage."""
    return {stage.name: {call.component: call.count for call in stage.calls} for stage in run.log.stages}


def shape(run: Rehearsing, stage: str) -> tuple[int, ...]:
    """Of the tensor that the first call of a stage is given: latents of the denoiser and of the VAE."""
    found = next(found for found in run.log.stages if found.name == stage)
    call = run.calls[found.calls[0].key]
    value = call.kwargs.get("hidden_states")
    return tuple((call.args[0] if value is None else value).shape)


def small(name: str) -> ModelSpec:
    """The row at widths of a few dozen channels, in fp32."""
    spec = get(name)
    parts = []
    for part in spec.components:
        config = {**part.config, **SMALL[part.name]}
        if "ofs_embed_dim" in config:
            config["ofs_embed_dim"] = config["time_embed_dim"]
        parts.append(replace(part, config=config))
    return replace(spec, components=tuple(parts), only_size=None).with_dtypes(
        dict.fromkeys(spec.component_names(), "fp32")
    )


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name):
    spec = get(name)
    assert set(spec.parameters) == set(spec.component_names())
    for component, published in spec.parameters.items():
        module = build_component(spec, component)
        count = sum(parameter.numel() for parameter in module.parameters())
        assert count == pytest.approx(published, rel=0.01), component


def test_the_2b_model_is_documented_in_fp16_and_the_others_in_bf16():
    assert {part.dtype for part in get("cogvideox-2b").components} == {"fp16"}
    assert {part.dtype for name in NAMES[1:] for part in get(name).components} == {"bf16"}


@pytest.mark.parametrize("name", ["cogvideox-2b", "cogvideox-5b", "cogvideox1.5-5b"])
def test_both_halves_of_the_guidance_are_one_call(name):
    sizes = {"frames": 9, "height": 64, "width": 96, "steps": 3}
    guided, plain = rehearsed(name, **sizes), rehearsed(name, **sizes, guidance=1.0)
    assert counts(guided) == {
        "text_encode": {"text_encoder": 2},
        "denoise": {"transformer": 3},
        "decode": {"vae": 1},
    }
    assert counts(plain) == {
        "text_encode": {"text_encoder": 1},
        "denoise": {"transformer": 3},
        "decode": {"vae": 1},
    }
    assert (shape(guided, "denoise")[0], shape(plain, "denoise")[0]) == (2, 1)


@pytest.mark.parametrize("name", ["cogvideox-5b-i2v", "cogvideox1.5-5b-i2v"])
def test_the_image_is_encoded_once_and_joins_the_channels(name):
    run = rehearsed(name, frames=9, steps=2)
    assert counts(run) == {
        "text_encode": {"text_encoder": 2},
        "image_encode": {"vae": 1},
        "denoise": {"transformer": 2},
        "decode": {"vae": 1},
    }
    native = get(name).defaults
    assert shape(run, "image_encode") == (1, 3, 1, native.height, native.width)
    assert shape(run, "denoise")[2] == 32
    assert shape(run, "decode")[1] == 16


def test_a_patch_of_two_latent_frames_pads_the_clip_and_the_padding_is_not_decoded():
    run = rehearsed("cogvideox1.5-5b", frames=17, height=64, width=96, steps=1)
    assert shape(run, "denoise")[1] == 6
    assert shape(run, "decode")[2] == 5
    assert shape(rehearsed("cogvideox-5b", frames=17, height=64, width=96, steps=1), "denoise")[1] == 5


def test_a_batch_is_made_although_the_pipeline_ignores_num_videos_per_prompt():
    run = rehearsed("cogvideox-2b", frames=9, height=64, width=96, steps=1, batch=2)
    assert shape(run, "denoise")[0] == 4
    assert shape(run, "decode")[0] == 2


@pytest.mark.parametrize("name", ["cogvideox-5b-i2v", "cogvideox1.5-5b-i2v"])
def test_from_an_image_one_video_per_call(name):
    with pytest.raises(WorkloadError) as caught:
        Workload.for_model(name, batch=2)
    assert str(caught.value) == f"{name} makes at most 1 video per call, got batch 2"
    spec = replace(get(name), max_batch=None)
    # The library's fault that the limit is for; when this passes one day, the limit can go.
    run = Rehearsing(Workshop(spec, Workload.for_model(spec, frames=9, steps=1, batch=2)), Settings())
    with pytest.raises(RehearsalError, match="Sizes of tensors must match"):
        counts(run)


def test_learned_positions_take_one_size_and_are_stored_with_the_weights():
    spec = get("cogvideox-5b-i2v")
    with pytest.raises(WorkloadError) as caught:
        Workload.for_model(spec, height=512)
    assert str(caught.value) == (
        "height must be 480 for cogvideox-5b-i2v, which takes no other size, got 512"
    )
    with pytest.raises(WorkloadError, match=r"^width must be 720 for cogvideox-5b-i2v"):
        Workload.for_model(spec, width=480)
    stored = build_component(spec, "transformer").state_dict()["patch_embed.pos_embedding"]
    tokens = 226 + 13 * 30 * 45
    assert (tuple(stored.shape), stored.dtype) == ((1, tokens, 3072), torch.bfloat16)
    # Other models compute theirs: the 2B model holds a table that no checkpoint has.
    assert "patch_embed.pos_embedding" not in build_component(get("cogvideox-2b"), "transformer").state_dict()


@pytest.mark.parametrize("name", ["cogvideox-2b", "cogvideox-5b", "cogvideox1.5-5b", "cogvideox1.5-5b-i2v"])
def test_a_small_one_runs_as_rehearsed_op_for_op(name):
    spec = small(name)
    workload = Workload.for_model(spec, frames=17, height=64, width=96, steps=2)
    torch.manual_seed(0)
    real = assemble(spec, {part.name: construct(part).eval() for part in spec.components})
    real.set_progress_bar_config(disable=True)
    hollow = assemble(spec, {part.name: build_component(spec, part.name) for part in spec.components})
    with torch.no_grad():
        ran = record(real, call_kwargs(spec, workload, real))
    predicted, _ = rehearse(hollow, call_kwargs(spec, workload, hollow), Target("cpu"))
    assert_same_walk(predicted.walk(), ran.walk())
