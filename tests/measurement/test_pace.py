"""What is left of a run, and whether it is slow or hung: on a clock that the test sets, and on a real pipeline that is held up."""

from __future__ import annotations

import io
import threading
import time

import pytest
from rich.console import Console

from workbench.measurement import RichProgress
from workbench.measurement._pace import HUNG, Expected, Pace
from workbench.measurement._progress import NoProgress
from workbench.measurement._run import run_once

STAGES = {
    "text_encode": Expected(seconds=10.0, high_s=20.0),
    "denoise": Expected(seconds=100.0, high_s=200.0),
    "decode": Expected(seconds=20.0, high_s=40.0),
}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def paced(clock, stages=STAGES, steps=10):
    return Pace(stages, steps, least_s=1.0, clock=clock)


def test_what_is_left_is_what_was_predicted_until_something_was_measured(clock):
    pace = paced(clock)
    assert pace.outlook().left_s == 130
    pace.stage("text_encode")
    clock.now = 4
    assert pace.outlook().left_s == 126
    assert pace.outlook().state == "on time"
    assert str(pace.outlook()) == "about 2 min 06 s left"


def test_then_it_is_what_the_steps_say(clock):
    pace = paced(clock)
    pace.stage("text_encode")
    clock.now = 10
    pace.stage("denoise")
    for _ in range(4):
        clock.now += 20  # predicted: 10
        pace.step()
    out = pace.outlook()
    # 90 s where 50 were predicted; six steps of 20 s and the decode at this pace
    assert out.behind == pytest.approx(90 / 50)
    assert out.state == "slow"
    assert out.left_s == pytest.approx(6 * 20 + 20 * 90 / 50)
    assert str(out) == "slow (1.8 times the predicted time), about 2 min 36 s left"


def test_hung_is_five_times_the_longest_step_without_an_event(clock):
    pace = paced(clock)
    pace.stage("denoise")
    for seconds in (10, 14, 10):
        clock.now += seconds
        pace.step()
    clock.now += HUNG * 14 - 1
    assert pace.outlook().state != "hung"
    clock.now += 2
    out = pace.outlook()
    assert out.state == "hung" and out.patience_s == HUNG * 14 and out.quiet_s == HUNG * 14 + 1
    assert str(out).startswith("hung? nothing for 71 s")
    pace.beat()  # a component is called: it was not
    assert pace.outlook().state != "hung"


def test_a_stage_without_steps_is_judged_by_its_high_bound_at_the_pace_so_far(clock):
    pace = paced(clock)
    pace.stage("text_encode")
    clock.now = 30  # three times as long as predicted
    pace.stage("decode")
    assert pace.outlook().patience_s == pytest.approx(HUNG * 40 * 3)


def test_without_a_prediction_nothing_is_known_before_two_steps(clock):
    pace = paced(clock, {})
    pace.stage("denoise")
    clock.now = 10_000
    assert (pace.outlook().state, pace.outlook().left_s, str(pace.outlook())) == ("unknown", None, "")
    pace.step()
    pace.step()
    clock.now += HUNG * 10_000 + 1
    assert pace.outlook().state == "hung"


def test_patience_has_a_floor_for_kernels_that_load():
    clock = Clock()
    pace = Pace({"decode": Expected(seconds=0.1, high_s=0.2)}, 0, clock=clock)
    pace.stage("decode")
    clock.now = 59
    assert pace.outlook().state == "slow"
    clock.now = 61
    assert pace.outlook().state == "hung"


class Watching(NoProgress):
    """Notes every state that a second thread sees while the pipeline runs."""

    def __init__(self, stages, steps, least_s):
        self.pace = Pace(stages, steps, least_s=least_s)
        self.states: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self):
        while not self._over.wait(0.02):
            self.states.append(self.pace.outlook().state)

    def stage(self, name):
        self.pace.stage(name)

    def step(self, done):
        self.pace.step()

    def beat(self):
        self.pace.beat()

    def finish(self):
        self._over.set()
        self._thread.join()
        return self.states


def run_held_up(pipe, kwargs, held_s):
    """The tiny pipeline with its denoiser sleeping `held_s(call)` seconds before each call."""
    calls = []

    def hold(*_):
        calls.append(None)
        time.sleep(held_s(len(calls)))

    stages = {name: Expected(seconds=0.4, high_s=0.8) for name in ("text_encode", "denoise", "decode")}
    watching = Watching(stages, 6, least_s=1.5)
    hook = pipe.transformer.register_forward_pre_hook(hold)
    try:
        run_once(pipe, {**kwargs, "num_inference_steps": 6}, progress=watching)
    finally:
        hook.remove()
    return watching.finish()


def test_a_real_pipeline_that_is_slow_is_not_taken_for_hung(pipe, kwargs):
    states = run_held_up(pipe, kwargs, lambda call: 0.3)
    assert "slow" in states and "hung" not in states


def test_a_real_pipeline_that_stands_still_is(pipe, kwargs):
    # its eighth call sleeps longer than the patience of 1.5 s or of five times the longest step, which takes two calls
    states = run_held_up(pipe, kwargs, lambda call: 6.0 if call == 8 else 0.05)
    assert "hung" in states
    assert states[-1] != "hung"


def test_the_bar_shows_what_is_left():
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    progress = RichProgress(console)
    progress.expect(STAGES)
    progress.start("tiny clip.mp4", 10, 130.0)
    progress.stage("denoise")
    progress._bar.refresh()
    assert "about 2 min 00 s left" in "".join(
        str(column.render(progress._bar.tasks[0])) for column in progress._bar.columns[-1:]
    )
    progress.close(well=True)
