"""The sizes that a model can make."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.models import Workload
from workbench.models._catalogue import ALL
from workbench.models.tiny import TINY
from workbench.questions._ladder import MAXIMIZE, Ladder


def ladder(spec=TINY, maximize="frames", **size) -> Ladder:
    return Ladder(spec=spec, workload=Workload.for_model(spec, **size), maximize=maximize)


def test_lengths_are_those_of_the_model() -> None:
    made = ladder()
    assert [made.at(rung).frames for rung in (1, 2, 3)] == [5, 9, 13]
    assert made.at(made.start) == made.workload
    assert made.at(made.last).frames == TINY.max_frames


def test_only_the_lengths_that_a_model_makes() -> None:
    spec = replace(TINY, only_frames=(17, 33))
    made = ladder(spec)
    assert [made.at(rung).frames for rung in range(made.first, made.last + 1)] == [17, 33]


def test_sizes_keep_the_shape_to_half_a_step() -> None:
    made = ladder(maximize="resolution", height=480, width=832)
    assert (made.at(made.start).height, made.at(made.start).width) == (480, 832)
    for rung in range(1, 60):
        height, width = made.at(rung).height, made.at(rung).width
        assert height == 16 * rung and abs(width - height * 832 / 480) <= 8
    upright = ladder(maximize="resolution", height=832, width=480)
    assert (upright.at(2).height, upright.at(2).width) == (48, 32)


def test_one_size_only_is_a_ladder_of_one_rung() -> None:
    made = ladder(replace(TINY, only_size=(64, 64)), maximize="resolution")
    assert made.first == made.start == made.last and made.at(made.start) == made.workload


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
@pytest.mark.parametrize("maximize", MAXIMIZE)
def test_every_rung_near_the_ends_is_a_workload_of_its_model(spec, maximize) -> None:
    made = Ladder(spec=spec, workload=Workload.for_model(spec), maximize=maximize)
    last = made.start + 7 if made.last is None else made.last
    rungs = sorted({made.first, made.start, last})
    for rung in rungs:
        workload = made.at(rung)
        size = {"frames": workload.frames, "height": workload.height, "width": workload.width}
        assert Workload.for_model(spec, **size) == workload
    volumes = [made.volume(rung) for rung in rungs]
    assert volumes == sorted(set(volumes))
    assert made.at(made.start) == made.workload
