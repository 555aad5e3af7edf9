"""What is made: the caller's values, then the profile's, then the model's own; and what differs is said."""

from __future__ import annotations

import dataclasses

import pytest

from workbench._errors import InputError, ProfileError, WorkloadError
from workbench.devices import cpu, get
from workbench.measurement._job import Take, job_of
from workbench.models import Workload
from workbench.models import get as model

NOTHING = dict.fromkeys(("frames", "height", "width", "steps", "guidance"))
TINY = model("tiny")


def test_without_a_profile_the_models_own_workload_is_made():
    job = job_of(TINY, None, NOTHING)
    assert (job.workload, job.steps, job.notes) == (Workload.for_model("tiny"), 8, ())
    assert job_of(TINY, None, {**NOTHING, "frames": 5}).workload.frames == 5


def test_a_profile_gives_workload_and_steps(profile):
    job = job_of(TINY, profile, NOTHING)
    assert (job.workload, job.steps, job.notes) == (profile.workload, 3, ())
    assert job.profile == profile


def test_the_callers_values_come_first_and_are_said_to(profile):
    job = job_of(TINY, profile, {**NOTHING, "steps": 5, "width": 64})
    assert (job.workload.width, job.workload.height, job.steps) == (64, 32, 5)
    assert job.notes == ("5 steps are asked for, in place of the profile's",)
    assert "steps" not in job.profile.settings and "vae_tiling" in job.profile.settings


def test_a_profile_of_another_model_brings_its_techniques_and_dtypes(profile):
    prediction = {
        **profile.prediction,
        "dtypes": {"transformer": "bf16", "transformer_2": "bf16", "text_encoder": "fp32", "vae": "bf16"},
    }
    other = dataclasses.replace(profile, workload=Workload.for_model("wan2.1-t2v-14b"), prediction=prediction)
    job = job_of(TINY, other, NOTHING)
    assert (job.workload, job.steps) == (Workload.for_model("tiny"), 3)
    assert job.settings.to_json() == {**profile.settings, "dtype": {"transformer": "bf16", "vae": "bf16"}}
    assert job.notes == (
        "the profile was made for wan2.1-t2v-14b on rtx-3060-12gb: its techniques and dtypes are applied to tiny, "
        "with tiny's own workload where none is given",
    )


def test_one_video_is_made_of_a_profile_for_more(profile):
    many = dataclasses.replace(profile, workload=dataclasses.replace(profile.workload, batch=2))
    job = job_of(TINY, many, NOTHING)
    assert (job.workload.batch, job.notes) == (1, ("the profile makes 2 videos at once, generate makes one",))


def test_guidance_of_two_experts():
    two = model("wan2.2-t2v-a14b")
    assert job_of(two, None, {**NOTHING, "guidance": 2.0}).workload.guidance_2 == 2.0


def test_bad_input(profile):
    with pytest.raises(ProfileError) as caught:
        job_of(TINY, dataclasses.replace(profile, pipeline_class="CogVideoXPipeline"), NOTHING)
    assert str(caught.value) == "this profile is for CogVideoXPipeline, got WanPipeline"
    with pytest.raises(WorkloadError) as caught:
        job_of(TINY, profile, {**NOTHING, "frames": 6})
    assert str(caught.value) == "tiny makes 4*k+1 frames, got 6: nearest are 5 and 9"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "prompt must be a non-empty text, got ' '"),
        ({"seed": -1}, "seed must be a whole number from 0 to 2**64 - 1, got -1"),
        ({"seed": 1.5}, "seed must be a whole number from 0 to 2**64 - 1, got 1.5"),
        ({"video": "clip.avi"}, "the video's file name must end in .mp4, got 'clip.avi'"),
    ],
)
def test_takes_that_are_refused(tmp_path, changes, message):
    good = {"video": tmp_path / "clip.mp4", "prompt": "a fox", "negative_prompt": None, "seed": 0}
    assert Take(**good).record == tmp_path / "clip.nc"
    with pytest.raises(InputError) as caught:
        Take(**{**good, **changes})
    assert str(caught.value) == message


def test_what_needs_a_gpu_is_not_predicted_for_a_cpu(profile):
    settings = {
        "quantization": {"transformer": "int4wo", "text_encoder": "int8wo"},
        "dtype": {"transformer": "bf16"},
        "vae_tiling": {},
    }
    job = job_of(TINY, dataclasses.replace(profile, settings=settings), NOTHING)
    cost, said = job.predicted(cpu())
    assert cost.settings == {**settings, "quantization": {"text_encoder": "int8wo"}}
    assert said == (
        "the prediction is without quantization int4wo of transformer, which does not act on a CPU",
    )
    only = job_of(
        TINY,
        dataclasses.replace(profile, settings={**settings, "quantization": {"transformer": "int4wo"}}),
        NOTHING,
    )
    assert "quantization" not in only.predicted(cpu())[0].settings


def test_a_prediction_or_a_sentence_why_there_is_none(profile):
    job = job_of(TINY, profile, NOTHING)
    cost, said = job.predicted(cpu())
    assert cost.device.name == "cpu" and "offload" not in cost.settings and said == ()
    assert job.predicted(None) == (None, ("no prediction: the catalogue does not know this GPU",))
    cost, said = job.predicted(get("v100-16gb"))
    assert cost is None
    assert said[0].startswith("no prediction for v100-16gb: dtype does not apply to tiny: ")
    small = get("rtx-3060-12gb").capped(memory_bytes=64 * 2**20)
    cost, [sentence] = job.predicted(small)
    assert not cost.fits
    assert sentence.startswith("the prediction is ") and sentence.endswith(
        " above the memory of rtx-3060-12gb"
    )
