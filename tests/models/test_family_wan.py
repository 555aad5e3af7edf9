"""The Wan rows and the rows made of Wan's parts: published counts, what their pipelines call, and real runs that equal rehearsals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from workbench import estimate
from workbench._errors import WorkloadError
from workbench.cost._calls import Call
from workbench.cost._trace import Trace
from workbench.cost.calllog import CallLog
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.models import ModelSpec, Workload, get, sana_video, skyreels, wan, wan22
from workbench.models._build import assemble, build_component, build_meta_pipeline, call_kwargs, construct
from workbench.testing.contract import assert_same_walk

# DPMSolverMultistepScheduler.set_timesteps calls np.array on a tensor (diffusers 0.42 with NumPy 2)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

ROWS = (*wan.ROWS, *wan22.ROWS, *skyreels.ROWS, *sana_video.ROWS)
SIZE = {"frames": 9, "height": 64, "width": 64, "steps": 3}

TEXT, IMAGE, DENOISE, DECODE = "text_encode", "image_encode", "denoise", "decode"


def rehearsed(spec: ModelSpec, **size: Any) -> tuple[CallLog, list[Call]]:
    pipe = build_meta_pipeline(spec)
    workload = Workload.for_model(spec, **{**SIZE, **size})
    trace, calls = rehearse(pipe, call_kwargs(spec, workload, pipe), Target())
    log = CallLog.of(trace, {ident: f"{call.component}:{call.name}" for ident, call in calls.items()})
    return log, list(calls.values())


def counts(log: CallLog) -> dict[str, dict[str, int]]:
    """Stage -> component -> number of calls."""
    return {stage.name: {call.component: call.count for call in stage.calls} for stage in log.stages}


@pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.name)
def test_parameter_counts_are_the_published_ones(spec: ModelSpec) -> None:
    assert spec.parameters
    for name, published in spec.parameters.items():
        module = build_component(spec, name)
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(published, rel=0.01), name


# Published only as 1.3B and 14B; the configurations come from scripts that load the checkpoints strictly.
ROUND_COUNTS = {
    "skyreels-v2-t2v-14b-540p": 14e9,
    "skyreels-v2-i2v-14b-540p": 16.4e9,  # Wan2.1-I2V-14B has the same layers
    "skyreels-v2-i2v-1.3b-540p": 1.3e9,
    "skyreels-v2-df-1.3b-540p": 1.3e9,
}


@pytest.mark.parametrize("name", ROUND_COUNTS)
def test_counts_that_are_published_as_a_round_number(name: str) -> None:
    module = build_component(get(name), "transformer")
    assert sum(p.numel() for p in module.parameters()) == pytest.approx(ROUND_COUNTS[name], rel=0.21)


CALLS = {
    "wan2.1-i2v-14b-720p": {
        TEXT: {"text_encoder": 2},
        IMAGE: {"image_encoder": 1, "vae": 1},
        DENOISE: {"transformer": 6},
        DECODE: {"vae": 1},
    },
    "wan2.1-vace-1.3b": {
        TEXT: {"text_encoder": 2},
        IMAGE: {"vae": 2},  # what the mask keeps and what it regenerates, each as a video
        DENOISE: {"transformer": 6},
        DECODE: {"vae": 1},
    },
    "wan2.2-i2v-a14b": {  # no image encoder
        TEXT: {"text_encoder": 2},
        IMAGE: {"vae": 1},
        DENOISE: {"transformer": 2},
        "denoise_2": {"transformer_2": 4},
        DECODE: {"vae": 1},
    },
    "skyreels-v2-t2v-14b-540p": {
        TEXT: {"text_encoder": 2},
        DENOISE: {"transformer": 6},
        DECODE: {"vae": 1},
    },
    "skyreels-v2-i2v-1.3b-540p": {
        TEXT: {"text_encoder": 2},
        IMAGE: {"image_encoder": 1, "vae": 1},
        DENOISE: {"transformer": 6},
        DECODE: {"vae": 1},
    },
    "skyreels-v2-df-1.3b-540p": {
        TEXT: {"text_encoder": 2},
        DENOISE: {"transformer": 6},
        DECODE: {"vae": 1},
    },
    "sana-video_2b_480p": {  # guidance as a batch of two
        TEXT: {"text_encoder": 2},
        DENOISE: {"transformer": 3},
        DECODE: {"vae": 1},
    },
    "sana-video_2b_480p-i2v": {
        TEXT: {"text_encoder": 2},
        IMAGE: {"vae": 1},
        DENOISE: {"transformer": 3},
        DECODE: {"vae": 1},
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_what_the_pipeline_calls(name: str) -> None:
    log, _ = rehearsed(get(name))
    assert counts(log) == CALLS[name]


def test_the_native_schedule_of_the_experts() -> None:
    spec = get("wan2.2-i2v-a14b")
    log, _ = rehearsed(spec, steps=spec.defaults.steps)
    assert (log.num_calls("transformer"), log.num_calls("transformer_2")) == (2 * 11, 2 * 29)


def test_control_takes_stand_ins_and_says_so() -> None:
    cost = estimate(
        Workload.for_model("wan2.1-vace-1.3b", frames=5, height=64, width=64, steps=1), device="h100-80gb"
    )
    assert cost.notes[:2] == (
        "the pipeline was rehearsed with a black video of the clip's length and a mask that regenerates every pixel"
        " in place of yours",
        "every reference image would add a latent frame to the video; none was given",
    )


def test_a_reference_image_adds_a_latent_frame() -> None:
    spec = get("wan2.1-vace-1.3b")
    _, plain = rehearsed(spec)
    _, with_reference = rehearsed(replace(spec, inputs=(*spec.inputs, "reference_images")))
    frames = [denoiser_input(calls).shape[2] for calls in (plain, with_reference)]
    assert frames == [3, 4]


def denoiser_input(calls: list[Call]) -> torch.Tensor:
    tensor = next(call.kwargs for call in calls if call.component == "transformer")["hidden_states"]
    assert isinstance(tensor, torch.Tensor)
    return tensor


def test_diffusion_forcing_has_a_timestep_per_latent_frame() -> None:
    _, calls = rehearsed(get("skyreels-v2-df-1.3b-540p"))
    _, plain = rehearsed(get("skyreels-v2-t2v-14b-540p"))
    forced, usual = (
        next(call.kwargs for call in found if call.component == "transformer") for found in (calls, plain)
    )
    assert (tuple(forced["timestep"].shape), tuple(usual["timestep"].shape)) == ((1, 3), (1,))
    assert forced["enable_diffusion_forcing"] is True


def test_diffusion_forcing_makes_long_videos_in_windows_and_blocks_in_a_wave() -> None:
    spec = get("skyreels-v2-df-1.3b-540p")
    long, calls = rehearsed(spec, frames=177, steps=2)
    assert long.num_calls("transformer") == 2 * 2 * 2  # windows, steps, guidance
    assert denoiser_input(calls).shape[2] == 25
    # The example of the documentation: 30 steps and four more blocks, each five steps behind the one before it.
    wave = replace(spec, call={**spec.call, "ar_step": 5, "causal_block_size": 5})
    asynchronous, _ = rehearsed(wave, frames=97, steps=30)
    assert asynchronous.num_calls("transformer") == 2 * 50


def test_image_to_video_of_sana_has_a_timestep_per_token() -> None:
    _, calls = rehearsed(get("sana-video_2b_480p-i2v"))
    timestep = next(call.kwargs for call in calls if call.component == "transformer")["timestep"]
    assert tuple(timestep.shape) == (2, 1, 3, 4, 4)


def real_and_rehearsed(spec: ModelSpec) -> tuple[Trace, Trace]:
    workload = Workload.for_model(spec, frames=5, height=64, width=64, steps=2)
    pipe = assemble(spec, {part.name: construct(part).eval() for part in spec.components})
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():
        real = record(pipe, call_kwargs(spec, workload, pipe))
    weightless = build_meta_pipeline(spec)
    return real, rehearse(weightless, call_kwargs(spec, workload, weightless), Target("cpu"))[0]


@pytest.mark.parametrize(
    "name",
    [
        "wan2.1-i2v-14b-720p",
        "wan2.1-vace-1.3b",
        "wan2.2-i2v-a14b",
        "skyreels-v2-t2v-14b-540p",
        "skyreels-v2-i2v-1.3b-540p",
        "skyreels-v2-df-1.3b-540p",
    ],
)
def test_the_real_run_has_the_ops_and_bytes_of_the_rehearsal(
    name: str, shrink: Callable[[ModelSpec], ModelSpec]
) -> None:
    real, rehearsed = real_and_rehearsed(shrink(in_fp32(get(name))))
    assert_same_walk(rehearsed.walk(), real.walk())


def in_fp32(spec: ModelSpec) -> ModelSpec:
    return spec.with_dtypes(dict.fromkeys(spec.component_names(), "fp32"))


@pytest.mark.parametrize("spec", sana_video.ROWS, ids=lambda spec: spec.name)
def test_the_real_run_of_sana_has_the_ops_and_bytes_of_the_rehearsal_but_for_a_list_of_positions(
    spec: ModelSpec, shrink: Callable[[ModelSpec], ModelSpec]
) -> None:
    # The pipeline picks 300 tokens by a Python list; in a real run the list is a tensor for the one op.
    positions = 300 * 8
    real, rehearsed = (list(trace.walk()) for trace in real_and_rehearsed(shrink(in_fp32(spec))))
    assert [op.name for _, op, _ in rehearsed] == [op.name for _, op, _ in real]
    differing = [
        (op.name, theirs - ours)
        for (_, op, ours), (_, _, theirs) in zip(rehearsed, real, strict=True)
        if ours != theirs
    ]
    assert differing == [("aten.index.Tensor", positions)]


@pytest.mark.parametrize("name", ["wan2.1-vace-1.3b", "skyreels-v2-df-1.3b-540p"])
def test_one_video_per_call(name: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        Workload.for_model(name, batch=2)
    assert str(caught.value) == f"{name} makes at most 1 video per call, got batch 2"
