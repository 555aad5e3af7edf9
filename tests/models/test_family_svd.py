"""Stable Video Diffusion: a UNet, an image without a prompt, a VAE that the pipeline casts, and frames decoded all at once."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from workbench._errors import SettingsError, WorkloadError
from workbench.cost._trace import ALLOC, ENTER
from workbench.cost.rehearsal import Target, rehearse, retrace
from workbench.models import Workload, get
from workbench.models._build import build_component, build_meta_pipeline, call_kwargs
from workbench.models.stable_video_diffusion import ROWS

NAMES = [spec.name for spec in ROWS]
SMALL = {
    "image_encoder": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
    },
    "unet": {
        "block_out_channels": (32, 32, 64, 64),
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "num_attention_heads": (2, 2, 2, 2),
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 24,
    },
    "vae": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
}
TINY = {"frames": 3, "height": 64, "width": 128, "steps": 2}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name):
    spec = get(name)
    assert set(spec.parameters) == {"unet", "image_encoder"}
    for component, published in spec.parameters.items():
        module = build_component(spec, component)
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(published, rel=0.01), component


def test_the_rows_differ_in_their_frames_only():
    xt, svd = (get(name) for name in NAMES)
    assert (xt.defaults.frames, svd.defaults.frames) == (25, 14)
    assert [part.config for part in xt.components if part.name != "unet"] == [
        part.config for part in svd.components if part.name != "unet"
    ]


def test_the_native_workload_calls_the_unet_once_per_step_and_decodes_every_frame_at_once(rehearsed, counts):
    run = rehearsed(NAMES[0])
    assert counts(run) == {
        "image_encode": {"image_encoder": 1, "vae": 1},
        "denoise": {"unet": 25},
        "decode": {"vae": 1},
    }
    call = next(call for call in run.calls.values() if call.name.endswith(".decode"))
    assert call.args[0].shape == (25, 4, 72, 128)


def test_a_batch_is_asked_for_by_videos_since_there_is_no_prompt(rehearsed, counts):
    run = rehearsed(NAMES[1], **TINY, batch=2)
    kwargs = call_kwargs(run.spec, run.workload, run.pipe)
    assert kwargs["num_videos_per_prompt"] == 2
    assert not {"prompt", "negative_prompt", "guidance_scale"} & set(kwargs)
    denoise = next(call for call in run.calls.values() if call.component == "unet")
    assert denoise.args[0].shape == (4, 3, 8, 8, 16)


def test_the_vae_encodes_in_fp32_and_decodes_in_fp16():
    spec = get(NAMES[1])
    pipe = build_meta_pipeline(spec)
    trace, calls = rehearse(pipe, call_kwargs(spec, Workload.for_model(spec, **TINY), pipe), Target())
    dtypes = {call.name.rpartition(".")[2]: call.dtype for call in calls.values() if call.component == "vae"}
    assert dtypes == {"encode": torch.float32, "decode": torch.float16}
    assert next(pipe.vae.parameters()).dtype == torch.float16
    weights = sum(p.numel() for p in pipe.vae.parameters())
    casts = [event[2] for event in trace.events if event[0] == ALLOC and abs(event[2]) == 2 * weights]
    assert casts == [2 * weights, -2 * weights]


def test_a_call_of_the_cast_component_is_made_again_in_the_dtype_that_it_was_made_in():
    spec = get(NAMES[1])
    pipe = build_meta_pipeline(spec)
    trace, calls = rehearse(pipe, call_kwargs(spec, Workload.for_model(spec, **TINY), pipe), Target())
    known = {ident: call for ident, call in calls.items() if call.component == "vae"}
    assert len(known) == 2
    for ident, call in known.items():
        first = next(event[1] for event in trace.events if event[0] == ENTER and id(event[1]) == ident)
        assert retrace(call, pipe.vae, Target()).op_counts() == first.op_counts()
    assert next(pipe.vae.parameters()).dtype == torch.float16


def test_its_vae_has_no_tiles():
    with pytest.raises(SettingsError, match="has no tiles: it decodes whole frames"):
        wb.estimate(NAMES[0], {"vae_tiling": {}}, "rtx-4090")


def test_its_vae_has_no_slices():
    with pytest.raises(SettingsError, match="it has no slicing; decode_chunks decodes fewer frames"):
        wb.estimate(Workload.for_model(NAMES[0], steps=1, batch=2), {"vae_slicing": {}}, "rtx-4090")


def test_decoding_in_chunks_needs_less():
    workload = Workload.for_model(NAMES[0], steps=1)
    whole = wb.estimate(workload, device="h100-80gb")
    chunked = wb.estimate(workload, {"decode_chunks": {"frames": 2}}, "h100-80gb")
    assert whole.binds.name == "decode"
    assert chunked.price.stages[-1].peak_allocated_bytes < whole.price.stages[-1].peak_allocated_bytes / 3


def test_sizes_are_those_that_the_unet_halves_three_times():
    with pytest.raises(WorkloadError, match="nearest are 512 and 576"):
        Workload.for_model(NAMES[0], height=520)
    assert Workload.for_model(NAMES[0], frames=7).frames == 7


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_small_one_runs_as_rehearsed_op_for_op(dtype, narrowed, runs_as_rehearsed):
    spec = narrowed(NAMES[1], **SMALL)
    spec = spec.with_dtypes(dict.fromkeys(spec.component_names(), dtype))
    # in half precision the CPU's layer norm keeps smaller statistics than a GPU's
    runs_as_rehearsed(spec, but=() if dtype == "fp32" else ("aten.native_layer_norm.default",), **TINY)
