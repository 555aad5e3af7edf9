"""Workloads: native values, what a model can make, and the whole message for what it cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest

from workbench._errors import UnknownNameError, WorkloadError
from workbench.models import Workload, get, names


@pytest.mark.parametrize("name", names())
def test_native_workload_is_one_that_the_model_can_make(name):
    native = get(name).defaults
    workload = Workload.for_model(name)
    assert workload.model == name
    assert (workload.frames, workload.height, workload.width) == (native.frames, native.height, native.width)
    assert (workload.steps, workload.guidance, workload.guidance_2) == (
        native.steps,
        native.guidance,
        native.guidance_2,
    )
    assert (workload.batch, workload.fps) == (1, native.fps)


def test_the_default_model_is_wan_1_3b_at_480p():
    assert Workload.for_model() == Workload(
        model="wan2.1-t2v-1.3b", frames=81, height=480, width=832, steps=50, guidance=5.0, batch=1, fps=16
    )


@pytest.mark.parametrize("name", names())
def test_json_round_trip(name):
    spec = get(name)
    frames = (*spec.only_frames, 2 * spec.temporal_factor + spec.frame_remainder)[0]
    workload = Workload.for_model(name, frames=frames, steps=3, batch=min(2, spec.max_batch or 2))
    assert Workload.from_json(json.loads(json.dumps(workload.to_json()))) == workload


BAD = [
    ({"frames": 80}, "wan2.1-t2v-1.3b makes 4*k+1 frames, got 80: nearest are 77 and 81"),
    ({"frames": 2}, "wan2.1-t2v-1.3b makes 4*k+1 frames, got 2: nearest are 1 and 5"),
    ({"frames": 0}, "frames must be a whole number of at least 1, got 0"),
    ({"frames": True}, "frames must be a whole number of at least 1, got True"),
    ({"frames": 81.0}, "frames must be a whole number of at least 1, got 81.0"),
    ({"frames": "81"}, "frames must be a whole number of at least 1, got '81'"),
    ({"frames": 4097}, "wan2.1-t2v-1.3b makes at most 4093 frames, got 4097"),
    (
        {"height": 481},
        "height must be a positive multiple of 16 for wan2.1-t2v-1.3b, got 481: nearest are 480 and 496",
    ),
    ({"width": 5}, "width must be a positive multiple of 16 for wan2.1-t2v-1.3b, got 5: nearest is 16"),
    ({"width": 0}, "width must be a positive multiple of 16 for wan2.1-t2v-1.3b, got 0: nearest is 16"),
    ({"width": -32}, "width must be a positive multiple of 16 for wan2.1-t2v-1.3b, got -32: nearest is 16"),
    ({"height": 480.5}, "height must be a positive multiple of 16 for wan2.1-t2v-1.3b, got 480.5"),
    ({"height": True}, "height must be a positive multiple of 16 for wan2.1-t2v-1.3b, got True"),
    ({"height": 16400}, "height must be at most 16384 for wan2.1-t2v-1.3b, got 16400"),
    ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
    ({"steps": 2.5}, "steps must be a whole number of at least 1, got 2.5"),
    ({"batch": 0}, "batch must be a whole number of at least 1, got 0"),
    ({"batch": False}, "batch must be a whole number of at least 1, got False"),
    ({"fps": 0}, "fps must be a whole number of at least 1, got 0"),
    ({"guidance": -1}, "guidance must be a finite number of at least 0, got -1"),
    ({"guidance": float("nan")}, "guidance must be a finite number of at least 0, got nan"),
    ({"guidance": float("inf")}, "guidance must be a finite number of at least 0, got inf"),
    ({"guidance": True}, "guidance must be a finite number of at least 0, got True"),
    ({"guidance": "5"}, "guidance must be a finite number of at least 0, got '5'"),
    ({"guidance_2": 3.0}, "guidance_2 is for models with two experts, wan2.1-t2v-1.3b has one, got 3.0"),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=[str(values) for values, _ in BAD])
def test_bad_values_are_refused_with_the_nearest_good_ones(values, message):
    with pytest.raises(WorkloadError) as caught:
        Workload.for_model("wan2.1-t2v-1.3b", **values)
    assert str(caught.value) == message


def test_the_5b_model_has_patches_of_32_pixels():
    with pytest.raises(WorkloadError) as caught:
        Workload.for_model("wan2.2-ti2v-5b", height=720)
    assert (
        str(caught.value)
        == "height must be a positive multiple of 32 for wan2.2-ti2v-5b, got 720: nearest are 704 and 736"
    )


def test_a_pipeline_that_makes_one_video_per_call_says_so():
    with pytest.raises(WorkloadError) as caught:
        Workload.for_model("wan2.1-vace-1.3b", batch=2)
    assert str(caught.value) == "wan2.1-vace-1.3b makes at most 1 video per call, got batch 2"


def test_second_guidance_of_a_two_expert_model():
    native = Workload.for_model("wan2.2-t2v-a14b")
    assert (native.guidance, native.guidance_2) == (4.0, 3.0)
    # The pipeline uses the first scale for both experts when the second is not given.
    assert Workload.for_model("wan2.2-t2v-a14b", guidance=6.0).guidance_2 == 6.0
    assert Workload.for_model("wan2.2-t2v-a14b", guidance_2=2.0).guidance == 4.0
    with pytest.raises(WorkloadError, match=r"^guidance_2 must be a finite number of at least 0, got -1\.0$"):
        Workload.for_model("wan2.2-t2v-a14b", guidance_2=-1.0)


def test_numpy_numbers_become_plain_ones_so_that_json_can_hold_them():
    workload = Workload.for_model(frames=np.int64(81), steps=np.int32(20), guidance=np.float32(5.0))
    assert json.loads(json.dumps(workload.to_json()))["frames"] == 81
    assert type(workload.guidance) is float


def test_unknown_model_offers_the_nearest_names():
    with pytest.raises(UnknownNameError) as caught:
        Workload.for_model("wan2.1-t2v-1.4b")
    assert str(caught.value) == (
        "unknown model 'wan2.1-t2v-1.4b': did you mean wan2.1-t2v-14b, wan2.1-t2v-1.3b, wan2.2-t2v-a14b? "
        f"({len(names())} are known)"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"frames": 81}, "a workload needs the field 'model'"),
        (
            {"model": "tiny", "frame": 81},
            "unknown workload field 'frame': allowed are model, frames, height, width, steps, guidance, guidance_2, batch, fps",
        ),
        ({"model": "tiny", "steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"model": "tiny", "frames": 80}, "tiny makes 4*k+1 frames, got 80: nearest are 77 and 81"),
        ({"model": "tiny", "batch": None}, "batch must be a whole number of at least 1, got None"),
    ],
)
def test_damaged_json_is_refused(data, message):
    with pytest.raises(WorkloadError) as caught:
        Workload.from_json(data)
    assert str(caught.value) == message


def test_a_workload_stands_for_itself_and_a_model_for_its_native_values():
    given = Workload.for_model("wan2.1-t2v-14b", frames=33)
    assert Workload.of(given, frames=None) is given
    assert Workload.of("wan2.1-t2v-14b", frames=33, batch=None) == given
    assert Workload.of() == Workload.for_model()


def test_values_beside_a_workload_are_an_error():
    with pytest.raises(
        WorkloadError, match=r"^frames=5, steps=2 goes with a model; the given workload has its own values$"
    ):
        Workload.of(Workload.for_model(), frames=5, steps=2)
