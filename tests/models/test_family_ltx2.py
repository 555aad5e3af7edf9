"""LTX-2: published counts and slopes, what one step calls, video with sound, and small ones run for real."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch

from workbench._rehearsing import Rehearsing, Workshop
from workbench.cost._calls import Call
from workbench.cost.rehearsal import Target, record, rehearse, retrace
from workbench.models import ModelSpec, Workload, get
from workbench.models._build import assemble, build_component, call_kwargs, construct
from workbench.models.ltx2 import ROWS
from workbench.techniques import Settings
from workbench.testing.contract import assert_same_walk

GIB = 2**30
NAMES = [spec.name for spec in ROWS]

_HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
_SMALL: dict[str, dict[str, Any]] = {
    "text_encoder": {
        "text_config": {
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 7,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
        },
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 56,
        },
        "mm_tokens_per_image": 4,
    },
    "connectors": {
        "caption_channels": 32,
        "text_proj_in_factor": 8,
        **{
            f"{kind}_connector_{key}": value
            for kind in ("video", "audio")
            for key, value in (*_HEADS.items(), ("num_layers", 1), ("num_learnable_registers", 8))
        },
        "video_hidden_dim": 32,
        "audio_hidden_dim": 32,
    },
    "transformer": {
        **_HEADS,
        "cross_attention_dim": 32,
        **{f"audio_{key}": value for key, value in _HEADS.items()},
        "audio_cross_attention_dim": 32,
        "caption_channels": 32,
        "num_layers": 2,
    },
    "audio_vae": {"num_res_blocks": 1},  # its width is that of the packed sound latents
    "vocoder": {"hidden_channels": 64, "bwe_hidden_channels": 64},
}


def rehearsed(name: str, **values: float) -> Rehearsing:
    return Rehearsing(Workshop(get(name), Workload.for_model(name, **values)), Settings())


def small(name: str) -> ModelSpec:
    """The row at widths of a few dozen channels, in fp32; STG is in the second of two blocks."""
    spec = get(name)
    vae = spec.component("vae").config
    sizes = {
        **_SMALL,
        "vae": {
            "block_out_channels": tuple(width // 32 for width in vae["block_out_channels"]),
            "decoder_block_out_channels": tuple(width // 32 for width in vae["decoder_block_out_channels"]),
            "layers_per_block": tuple(1 for _ in vae["layers_per_block"]),
            "decoder_layers_per_block": tuple(1 for _ in vae["decoder_layers_per_block"]),
        },
    }
    vocoder = spec.component("vocoder").class_name
    parts = []
    for part in spec.components:
        config = {**part.config, **sizes[part.name]}
        if vocoder == "LTX2Vocoder":
            config.pop("bwe_hidden_channels", None)
        parts.append(replace(part, config=config, dtype="fp32"))
    call = {**spec.call, "spatio_temporal_guidance_blocks": [1]}
    return replace(spec, components=tuple(parts), call=call)


def counts(run: Rehearsing) -> dict[str, dict[str, int]]:
    """Calls of each component, by stage."""
    found: dict[str, dict[str, int]] = {stage.name: {} for stage in run.log.stages}
    for stage in run.log.stages:
        for call in stage.calls:
            found[stage.name][call.component] = found[stage.name].get(call.component, 0) + call.count
    return found


def denoiser_calls(run: Rehearsing) -> list[Call]:
    return [call for call in run.calls.values() if call.component == "transformer"]


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name):
    spec = get(name)
    count = {
        part: sum(parameter.numel() for parameter in build_component(spec, part).parameters())
        for part in ("text_encoder", "connectors", "transformer")
    }
    for component, published in spec.parameters.items():
        assert count[component] == pytest.approx(published, rel=0.01), component
    if name.startswith("ltx-2.3"):  # "22B": the checkpoint's diffusion model, which has the connectors in it
        assert count["connectors"] + count["transformer"] == pytest.approx(22e9, rel=0.01)
    else:
        assert set(spec.parameters) == {"text_encoder", "transformer"}


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_both_prompts_without_self_attention_and_without_the_other_modality(name):
    run = rehearsed(name, frames=17, height=512, width=768, steps=2)
    assert counts(run) == {
        "text_encode": {"text_encoder": 2, "connectors": 1},
        **({"image_encode": {"vae": 1}} if name.endswith("-i2v") else {}),
        "denoise": {"transformer": 6},
        "decode": {"vae": 1, "audio_vae": 1, "vocoder": 1},
    }
    passes = {
        (
            call.kwargs["hidden_states"].shape[0],
            bool(call.kwargs["spatio_temporal_guidance_blocks"]),
            call.kwargs["isolate_modalities"],
        )
        for call in denoiser_calls(run)
    }
    assert passes == {(2, False, False), (1, True, False), (1, False, True)}


def test_sound_is_as_long_as_the_video():
    run = rehearsed("ltx-2", frames=49, height=64, width=64, steps=2)
    seconds = 49 / get("ltx-2").defaults.fps
    latents = {call.kwargs["audio_hidden_states"].shape[1] for call in denoiser_calls(run)}
    assert latents == {round(seconds * 16000 / 160 / 4)}  # mel frames of 160 samples, four to a latent
    (vocoder,) = (call for call in run.calls.values() if call.component == "vocoder")
    assert vocoder.args[0].shape[-2] == pytest.approx(seconds * 16000 / 160, abs=4)


def test_guidance_of_the_sound_keeps_the_negative_prompt():
    run = rehearsed("ltx-2", frames=9, height=64, width=64, steps=2, guidance=1.0)
    assert 2 in {call.kwargs["hidden_states"].shape[0] for call in denoiser_calls(run)}


@functools.cache
def stg_call(name: str) -> tuple[Call, Any]:
    """The denoiser's call with STG, which has one clip, and the denoiser."""
    run = rehearsed(name, frames=17, height=256, width=384, steps=2)
    return next(
        call for call in denoiser_calls(run) if call.kwargs["spatio_temporal_guidance_blocks"]
    ), run.pipe.transformer


def slope(name: str, **changes: Any) -> float:
    """GiB that 1000 more video tokens add to that call."""
    call, transformer = stg_call(name)
    now = call.kwargs["hidden_states"].shape[1]

    def with_tokens(value: Any, count: int) -> Any:
        if not isinstance(value, torch.Tensor) or now not in value.shape:
            return value
        shape = [count if size == now else size for size in value.shape]
        return torch.empty(shape, dtype=value.dtype, device="meta")

    peaks = {
        count: retrace(
            replace(call, kwargs={**{k: with_tokens(v, count) for k, v in call.kwargs.items()}, **changes}),
            transformer,
            Target(),
        ).peak()
        for count in (6144, 24576)
    }
    return (peaks[24576] - peaks[6144]) / GIB / (24576 - 6144) * 1000


def test_activations_grow_with_the_tokens_as_measured():
    # LTX-2.3 on an RTX 5090: `act_slope_gb_per_ktoken` of diffusers-mm 0.4.0, model_profiles.py
    assert slope("ltx-2.3") == pytest.approx(0.1364, rel=0.04)
    assert slope("ltx-2") == pytest.approx(0.1364, rel=0.04)


def test_timesteps_for_each_token_cost_two_to_three_times_the_activations():
    # traced before, by other code, with the transformer's own default for use_cross_timestep; the pipeline's default is True, with
    # which attention between video and sound is modulated by one timestep for all tokens
    assert slope("ltx-2.3-i2v", use_cross_timestep=False) == pytest.approx(0.359, rel=0.04)
    assert slope("ltx-2.3-i2v") == pytest.approx(0.282, rel=0.01)


@pytest.mark.parametrize(("name", "changes"), [("ltx-2", False), ("ltx-2.3", True)])
def test_guidance_without_self_attention_does_something_where_it_is_configured(name, changes):
    torch.manual_seed(0)
    transformer = construct(small(name).component("transformer")).eval()
    call = denoiser_calls(Rehearsing(Workshop(spec := small(name), _tiny(spec)), Settings()))[0]
    kwargs = {
        key: torch.rand(value.shape).to(value.dtype) if isinstance(value, torch.Tensor) else value
        for key, value in call.kwargs.items()
    }
    with torch.no_grad():
        plain = transformer(**{**kwargs, "spatio_temporal_guidance_blocks": None})[0]
        skipped = transformer(**{**kwargs, "spatio_temporal_guidance_blocks": [1]})[0]
    assert torch.equal(plain, skipped) is not changes


def _tiny(spec: ModelSpec) -> Workload:
    return Workload.for_model(spec, frames=9, height=64, width=96, steps=2)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_one_runs_as_rehearsed(name):
    spec = small(name)
    torch.manual_seed(0)
    real = assemble(spec, {part.name: construct(part).eval() for part in spec.components})
    real.set_progress_bar_config(disable=True)
    ran = record(real, call_kwargs(spec, _tiny(spec), real))
    hollow = assemble(spec, {part.name: build_component(spec, part.name) for part in spec.components})
    predicted, _ = rehearse(hollow, call_kwargs(spec, _tiny(spec), hollow), Target("cpu"))
    assert_same_walk(predicted.walk(), ran.walk())
