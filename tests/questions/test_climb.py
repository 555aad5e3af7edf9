"""The climb itself, on ladders whose answer is known: settings with straight lines for their needs instead of a model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workbench._plan import Limits
from workbench.devices import get
from workbench.models import Workload
from workbench.models.tiny import TINY
from workbench.questions._climb import Climb
from workbench.questions._ladder import Ladder
from workbench.search.pins import Pins
from workbench.testing.fakes import fake_candidate, fake_cost


class Lines:
    """Settings k need `weights[k] + slopes[k] * frames`, as a share of the cap."""

    def __init__(self, frames: int, lines: dict[str, tuple[float, float]]) -> None:
        self.frames, self.lines = frames, lines
        self.predictor = SimpleNamespace(log=lambda settings: None, frames=frames)

    def excess(self, settings: str) -> float:
        weights, slope = self.lines[settings]
        return weights + slope * self.frames

    def price(self, settings: str):
        """Any price will do, it is only shown; but it must keep the settings' name."""
        candidate = fake_candidate(fake_cost())
        object.__setattr__(candidate, "settings", settings)
        return candidate

    def leanest(self) -> str:
        return min(self.lines, key=self.excess)


class LineClimb(Climb):
    def __init__(self, ladder: Ladder, lines: dict[str, tuple[float, float]]) -> None:
        super().__init__(ladder, get("rtx-3060-12gb"), Limits(), Pins.NONE, lambda words: None)
        self.lines = lines

    def _press(self, at: int):
        return Lines(self.ladder.at(at).frames, self.lines)


def climbed(lines, *, start=17) -> tuple[int | None, LineClimb]:
    ladder = Ladder(spec=TINY, workload=Workload.for_model(TINY, frames=start), maximize="frames")
    climb = LineClimb(ladder, lines)
    rung = climb.run()
    return None if rung is None else ladder.at(rung).frames, climb


@pytest.mark.parametrize("longest", [5, 9, 17, 21, 85, 161, 445, 1001, 4089])
@pytest.mark.parametrize("start", [5, 17, 81, 4093])
def test_the_longest_is_found_in_few_looks(longest, start) -> None:
    limit = (longest + 2) / 1.0
    frames, climb = climbed({"a": (0.3, 0.7 / limit), "b": (0.5, 0.55 / limit)}, start=start)
    assert frames == longest
    rung = (longest - 1) // 4
    assert climb.rungs[rung].is_good and not climb.rungs[rung + 1].is_good and climb.rungs[rung + 1].is_sure
    assert len(climb.rungs) <= 14


def test_settings_that_win_only_on_large_clips_are_found() -> None:
    # a is leaner up to 100 frames, b reaches 601
    frames, climb = climbed({"a": (0.1, 0.004), "b": (0.3, 0.7 / 603)})
    assert frames == 601
    assert len(climb.rungs) <= 16


def test_the_models_own_limit_ends_it() -> None:
    frames, climb = climbed({"a": (0.1, 1e-6)})
    assert frames == TINY.max_frames
    assert all(rung.is_good for rung in climb.rungs.values())


def test_nothing_fits() -> None:
    frames, climb = climbed({"a": (2.0, 1e-6)})
    assert frames is None
    assert climb.rungs[1].is_sure and not climb.rungs[1].is_good
