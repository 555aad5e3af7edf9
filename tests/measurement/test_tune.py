"""`tune` on the tiny model, for real: each configuration in a process of its own, what is killed goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

import workbench as wb
from workbench._cli import main
from workbench._errors import InputError
from workbench._estimate import Predictor
from workbench._plan import Limits, searched
from workbench.devices import resolve
from workbench.measurement import Tried
from workbench.measurement._tuned import measured_front, worth_a_run
from workbench.measurement._tuning import pool_of
from workbench.models import Workload
from workbench.profiles import Profile
from workbench.records import load
from workbench.search import Candidate
from workbench.search.pins import Pins
from workbench.techniques import Settings

SMALL = {"model": "tiny", "frames": 5, "height": 32, "width": 32, "steps": 2, "trials": 2}
# Few choices, so that few are run: what is tested does not depend on which.
FEW = {"forbid": ("temporal_chunks", "decode_chunks", "vae_attention_slicing", "quantization")}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return wb.tune(**SMALL, **FEW, runs=2, out=tmp_path_factory.mktemp("tuned"))


def test_what_was_run_has_records_with_the_prediction_beside(tuned):
    assert tuned.ran == len(tuned.tried) >= 1
    records = tuned.to_dataset()
    assert records.sizes["trial"] == len(tuned.tried)
    for one, status in zip(tuned.tried, records["status"].values, strict=True):
        row = load(one.record)
        assert one.status == status == "ok"
        assert one.seconds == float(row["total_s"].item()) > 0
        assert one.needed_bytes == row["weights_bytes"].item() + row["tensors_peak_bytes"].item()
        assert row["predicted_total_s"].item() == pytest.approx(one.candidate.cost.total_s)
        assert json.loads(row["settings"].item()) == one.candidate.settings.to_json()


def test_the_predicted_front_comes_first_and_is_told_to_the_study(tuned):
    trials = [trial for trial in tuned.study.trials if trial.state == TrialState.COMPLETE]
    assert len(trials) == len(tuned.tried)
    front = {candidate.settings.canonical() for candidate in tuned.predicted_front}
    assert tuned.tried[0].candidate.settings.canonical() in front
    for trial, one in zip(trials, tuned.tried, strict=True):
        assert trial.values == [one.seconds, one.candidate.caution]
        assert set(trial.constraints) == {"memory_gib", "ended_badly"}
        assert all(value <= 0 for value in trial.constraints.values())
        assert trial.user_attrs["settings"] == one.candidate.settings.canonical()


def test_the_best_is_of_the_measured_front_and_a_profile(tuned):
    assert tuned.best in tuned.front
    assert all(one in tuned.tried for one in tuned.front)
    assert tuned.profile.settings == tuned.best.candidate.settings.to_json()
    assert tuned.profile.workload == tuned.workload
    assert "measured" in repr(tuned) and "predicted" in repr(tuned)
    assert json.loads(json.dumps(tuned.to_json()))["best"]["status"] == "ok"


def test_the_same_call_goes_on_and_runs_nothing_twice(tuned):
    before = {one.record: one.record.stat().st_mtime_ns for one in tuned.tried}
    again = wb.tune(**SMALL, **FEW, runs=1, out=tuned.folder)
    assert again.ran <= 1
    assert again.tried[: len(tuned.tried)] == tuned.tried
    assert len(again.tried) == len(tuned.tried) + again.ran
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_too_little_memory_is_a_finished_trial_that_breaks_a_constraint(tmp_path):
    found = wb.tune(**SMALL, **FEW, vram_gb=0.001, runs=1, out=tmp_path)
    assert found.best is None and found.profile is None
    (one,) = found.tried
    assert one.status == "ok" and not one.fits and one.over_gib > 0
    (trial,) = (trial for trial in found.study.trials if trial.state == TrialState.COMPLETE)
    assert trial.constraints["memory_gib"] == one.over_gib


def test_a_run_that_takes_too_long_is_one_too(tmp_path):
    found = wb.tune(**SMALL, **FEW, runs=1, limit_s=0.01, out=tmp_path)
    (one,) = found.tried
    assert (one.status, one.seconds, one.fits) == ("timed_out", None, False)
    (trial,) = (trial for trial in found.study.trials if trial.state == TrialState.COMPLETE)
    assert trial.constraints["ended_badly"] == 1.0 and trial.constraints["memory_gib"] > 0
    assert trial.values[0] == one.candidate.cost.total_s  # no time was measured: the prediction stands for it
    assert load(one.record)["status"].item() == "timed_out"


def test_a_session_that_is_killed_in_a_run_is_gone_on_with(tmp_path):
    code = f"import workbench as wb; wb.tune(**{SMALL | FEW!r}, runs=1, out={str(tmp_path)!r})"
    session = subprocess.Popen([sys.executable, "-c", code], env={**os.environ})
    while not list(tmp_path.glob("runs/*/events.jsonl")):
        assert session.poll() is None, "it ended before its first run"
        time.sleep(0.02)
    session.send_signal(signal.SIGKILL)
    session.wait()
    assert not list(tmp_path.glob("records/*.nc"))
    found = wb.tune(**SMALL, **FEW, runs=1, out=tmp_path)
    assert (found.ran, [one.status for one in found.tried]) == (1, ["ok"])
    states = [trial.state for trial in found.study.trials]
    assert states.count(TrialState.FAIL) == 1 and TrialState.RUNNING not in states


def test_the_command_line_goes_on_too_and_writes_the_best(tuned, tmp_path, capsys):
    out = tmp_path / "best.json"
    asked = [f"--{name}={value}" for name, value in SMALL.items()]
    few = [f"--forbid={name}" for name in FEW["forbid"]]
    code = main(["tune", *asked, *few, "--runs=1", f"--folder={tuned.folder}", f"--out={out}", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0 and found["ran"] <= 1
    assert [one["record"] for one in found["tried"]][: len(tuned.tried)] == [
        str(one.record) for one in tuned.tried
    ]
    assert Profile.load(out).settings == found["best"]["settings"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 0}, "budget must be a positive number of seconds, got 0"),
        ({"budget": math.inf}, "budget must be a positive number of seconds, got inf"),
        ({"runs": 0}, "runs must be a whole number of at least 1, got 0"),
        ({"repeats": 0}, "repeats must be a whole number of at least 1, got 0"),
        ({"frames": 6}, "frames"),
        ({"model": "ltx-video"}, "the weights of 'ltx-video' are not in this package"),
    ],
)
def test_bad_input_is_said_before_anything_is_run(tmp_path, wrong, said):
    with pytest.raises(InputError, match=said):
        wb.tune(**{**SMALL, "out": tmp_path / "none", **wrong})
    assert not (tmp_path / "none").exists()


def test_the_whole_front_can_be_run():
    workload = Workload.for_model("tiny", frames=5, height=32, width=32, steps=10)
    predictor, device, pins = Predictor(workload), resolve("cpu"), Pins.of(None, (*FEW["forbid"], "offload"))
    plan = searched(predictor, device, limits=Limits(), pins=pins, trials=4, seed=0)
    pool = pool_of(plan, predictor, device, Limits(), pins)
    there = [one.candidate.settings.canonical() for one in pool]
    assert len(there) == len(set(there))
    expected = plan.front or (plan.nearest_miss,)
    assert {candidate.settings.canonical() for candidate in expected} <= set(there)


# --- what is tried next ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def priced(tuned):
    """Makes a candidate of so many predicted seconds and such caution."""
    cost = tuned.tried[0].candidate.cost

    def make(seconds, caution, need=10):
        scale = seconds / cost.total_s
        stages = tuple(
            dataclasses.replace(
                stage,
                seconds=stage.seconds * scale,
                low_s=stage.low_s * scale,
                high_s=stage.high_s * scale,
            )
            for stage in cost.price.stages
        )
        price = dataclasses.replace(cost.price, stages=stages, required_vram_bytes=need)
        settings = Settings.parse({"steps": {"count": 1 + round(1000 * seconds) + caution}})
        return Candidate(settings=settings, cost=dataclasses.replace(cost, price=price), caution=caution)

    return make


def ran(candidate, seconds, status="ok", needed=10):
    return Tried(
        candidate=candidate,
        status=status,
        error="",
        seconds=seconds,
        needed_bytes=needed,
        cap_bytes=100,
        record=Path("none.nc"),
    )


def test_the_front_is_of_what_fits_and_is_not_beaten(priced):
    fast, slow, worse = ran(priced(1, 3), 1.0), ran(priced(2, 0), 2.0), ran(priced(3, 1), 3.0)
    large, failed = ran(priced(0.5, 0), 0.5, needed=101), ran(priced(0.5, 0), None, status="failed")
    assert measured_front([worse, large, slow, failed, fast]) == (fast, slow)


def test_what_is_worth_a_run_follows_what_was_measured(priced):
    quick, same, slow, gentle = priced(1, 3), priced(1.01, 3), priced(5, 3), priced(5, 0)
    pool = [quick, same, slow, gentle]
    assert worth_a_run([], pool) is quick
    # predictions are twice too low: what was predicted as fast as the measured one may beat it, five times slower cannot
    after = [ran(quick, 2.0)]
    assert worth_a_run(after, [quick, slow]) is None
    assert worth_a_run(after, [quick, same, slow]) is same
    assert worth_a_run(after, [quick, gentle]) is gentle  # nothing was measured at its caution yet
    failed = [ran(quick, None, status="failed"), ran(gentle, 10.0)]
    assert worth_a_run(failed, pool) is same
    assert worth_a_run([*failed, ran(same, 2.0)], pool) is None


@pytest.mark.parametrize(("status", "needed"), [("out_of_memory", None), ("ok", 101)])
def test_what_needs_as_much_as_what_did_not_fit_is_not_tried(priced, status, needed):
    large, larger, small = priced(1, 0, need=50), priced(1.5, 0, need=60), priced(2, 0, need=40)
    after = [ran(large, None if status != "ok" else 1.0, status=status, needed=needed)]
    assert worth_a_run(after, [large, larger, small]) is small
    assert worth_a_run(after, [large, larger]) is None
