"""Cosmos: guidance in two calls, timesteps per frame, a safety checker that sees frames in NumPy, a mask that torchvision resizes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import workbench as wb
from workbench._errors import SettingsError, WorkloadError
from workbench.cost._hollow import HollowArray, hollow_arrays
from workbench.cost._recorder import Recorder
from workbench.models import Workload, get
from workbench.models._build import build_component, build_meta_pipeline
from workbench.models._standins import StandInTransforms
from workbench.models.cosmos import ROWS
from workbench.techniques import Settings

NAMES = [spec.name for spec in ROWS]
PREDICT1, PREDICT2, PREDICT25 = NAMES
T5 = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 4}
TRANSFORMER = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "text_embed_dim": 16,
    "adaln_lora_dim": 8,
    "max_size": (16, 32, 32),
}
WAN_VAE = {"base_dim": 8, "num_res_blocks": 1}
QWEN = {
    "text_config": {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
    },
    "vision_config": {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 32,
    },
}
SMALL = {
    PREDICT1: {
        "text_encoder": T5,
        "transformer": TRANSFORMER,
        "vae": {
            "encoder_block_out_channels": (8, 16, 16, 16),
            "decode_block_out_channels": (8, 16, 16, 16),
            "num_layers": 1,
        },
    },
    PREDICT2: {"text_encoder": T5, "transformer": TRANSFORMER, "vae": WAN_VAE},
    PREDICT25: {
        "text_encoder": QWEN,
        "transformer": {
            **TRANSFORMER,
            "crossattn_proj_in_channels": 64,
            "encoder_hidden_states_channels": 16,
        },
        "vae": WAN_VAE,
    },
}
TINY = {"frames": 9, "height": 64, "width": 96, "steps": 2}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name):
    spec = get(name)
    assert spec.parameters
    for component, published in spec.parameters.items():
        module = build_component(spec, component)
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(published, rel=0.01), component


@pytest.mark.parametrize(("name", "steps"), [(PREDICT1, 36), (PREDICT2, 35), (PREDICT25, 36)])
def test_the_native_workload_runs_the_transformer_twice_per_step(name, steps, rehearsed, counts):
    image = {"image_encode": {"vae": 1}} if name == PREDICT2 else {}
    assert counts(rehearsed(name)) == {
        "text_encode": {"text_encoder": 2},
        **image,
        "denoise": {"transformer": 2 * steps},
        "decode": {"vae": 1},
    }


@pytest.mark.parametrize("name", NAMES)
def test_without_guidance_it_runs_once(name, rehearsed, counts):
    run = rehearsed(name, **TINY, guidance=1.0)
    assert counts(run)["denoise"] == {"transformer": 2}
    assert counts(run)["text_encode"] == {"text_encoder": 1}


def test_timesteps_belong_to_frames_where_an_image_is_given(rehearsed):
    timesteps = {}
    for name in NAMES:
        run = rehearsed(name, **TINY)
        call = next(call for call in run.calls.values() if call.component == "transformer")
        timesteps[name] = tuple(call.kwargs["timestep"].shape)
    assert timesteps == {PREDICT1: (1,), PREDICT2: (1, 1, 3, 1, 1), PREDICT25: (1, 1, 3, 1, 1)}


def test_predict_2_5_reads_every_layer_of_its_language_model(rehearsed):
    run = rehearsed(PREDICT25, **TINY)
    call = next(call for call in run.calls.values() if call.component == "transformer")
    assert call.kwargs["encoder_hidden_states"].shape == (1, 512, 28 * 3584)


@pytest.mark.parametrize("name", NAMES)
def test_every_prediction_says_that_the_safety_checker_is_not_counted(name):
    notes = wb.estimate(Workload.for_model(name, **TINY), device="rtx-4090").notes
    assert any("cosmos_guardrail" in note and "not counted" in note for note in notes)
    assert "safety_checker" not in get(name).component_names()
    assert build_meta_pipeline(get(name)).safety_checker.check_text_safety("a fox")


@pytest.mark.parametrize(
    ("name", "frames", "size"), [(PREDICT1, 1017, 1920), (PREDICT2, 509, 2048), (PREDICT25, 509, 2048)]
)
def test_limits_are_those_of_the_positions(name, frames, size):
    assert Workload.for_model(name, frames=frames, height=size).frames == frames
    with pytest.raises(WorkloadError, match=f"makes at most {frames} frames"):
        Workload.for_model(name, frames=frames + 8)
    with pytest.raises(WorkloadError, match=f"height must be at most {size}"):
        Workload.for_model(name, height=size + 16)


def test_the_tiles_of_its_own_vae_do_nothing_and_are_refused():
    with pytest.raises(SettingsError, match="never reads"):
        wb.estimate(PREDICT1, {"vae_tiling": {}}, "rtx-4090")


def test_scores_of_the_vae_of_predict1_lie_in_memory(rehearsed):
    run = rehearsed(PREDICT1, frames=33, height=704, width=1280, steps=1)
    key = next(key for key, call in run.calls.items() if call.component == "vae")
    summary = run.summary(Settings(), "vae", key, "flash")
    scores = ((33 - 1) // 8 + 1) * (704 // 8 * 1280 // 8) ** 2 * 4  # in fp32, before and after the softmax
    assert summary.peak_bytes == pytest.approx(2 * scores, rel=0.3)


def test_a_weightless_vae_leaves_the_wavelets_of_its_module_to_real_ones():
    code = (
        "from workbench.models import get;"
        "from workbench.models._build import build_component;"
        f"build_component(get({PREDICT1!r}), 'vae');"
        "from diffusers.models.autoencoders.autoencoder_kl_cosmos import _WAVELETS;"
        "assert not _WAVELETS['haar'].is_meta"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_one_runs_as_rehearsed_op_for_op(name, narrowed, runs_as_rehearsed):
    spec = narrowed(name, **SMALL[name])
    spec = spec.with_dtypes(dict.fromkeys(spec.component_names(), "fp32"))
    runs_as_rehearsed(spec, to_numpy=True, **TINY)


def test_the_stand_in_resizes_as_nearest_neighbours_and_keeps_the_dtype():
    mask = torch.arange(16.0, dtype=torch.bfloat16).view(1, 1, 4, 4)
    small = StandInTransforms.functional.resize(mask, [2, 2], StandInTransforms.InterpolationMode.NEAREST)
    assert small.dtype == torch.bfloat16
    assert small.flatten().tolist() == [0, 2, 8, 10]


def test_frames_without_data_pass_through_numpy_as_fast_as_their_shapes():
    recorder = Recorder()
    with recorder, hollow_arrays(recorder):
        frames = torch.empty(2, 121, 704, 1280, 3, device="meta")
        array = (frames.cpu().float().numpy() * 255).astype(np.uint8)
        assert isinstance(array, HollowArray)
        assert (array.shape, array.dtype, array.strides) == (
            (2, 121, 704, 1280, 3),
            np.uint8,
            (0, 0, 0, 0, 0),
        )
        again = np.stack(list(array)).astype(np.float32) / 255.0 * 2 - 1
        assert (again.shape, again.dtype) == (array.shape, np.float32)
        tensor = torch.from_numpy(again)
        assert (tensor.is_meta, tensor.shape, tensor.dtype) == (True, frames.shape, torch.float32)
        assert torch.ones(2).numpy().tolist() == [1.0, 1.0]
        assert torch.from_numpy(np.ones(2)).tolist() == [1.0, 1.0]
        with pytest.raises(TypeError):
            np.add.reduce(array)
