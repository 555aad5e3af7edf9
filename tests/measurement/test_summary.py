"""Medians, spread, peaks and ratios of runs with known numbers, as of a GPU."""

from __future__ import annotations

import json

import pytest

from workbench._units import GIB, gib
from workbench.measurement._measurements import Measurements
from workbench.measurement._session import Session, digest_of
from workbench.measurement._summary import Spread

PREDICTED = {
    "memory": {
        "peak_allocated_gib": 4.0,
        "peak_reserved_gib": 5.0,
        "required_vram_gib": 6.0,
        "host_ram_gib": 2.0,
        "stages": [
            {"name": "denoise", "weights_gib": 3.0, "activations_gib": 1.0, "peak_allocated_gib": 4.0},
        ],
    },
    "time": {
        "total_s": 8.0,
        "low_s": 6.0,
        "high_s": 9.0,
        "basis": "catalogue",
        "stages": [{"name": "denoise", "seconds": 8.0}],
    },
}
WORK = {
    "model": "tiny",
    "frames": 5,
    "height": 32,
    "width": 32,
    "steps": 2,
    "guidance": 5.0,
    "batch": 1,
    "fps": 8,
}


def run(ident, name, seconds, **changes):
    memory = {
        "allocated_peak_bytes": 3 * GIB,
        "reserved_peak_bytes": 10 * GIB,
        "rss_peak_bytes": GIB,
    }
    stage = {"name": "denoise", "seconds": seconds, "num_calls": 4, "memory": memory}
    whole = {
        "id": ident,
        "status": "ok",
        "created_at": "2026-11-21T08:00:00+00:00",
        "workload": WORK,
        "settings": {},
        "prompt": "a fox",
        "seed": 3,
        "measured": {"total_s": seconds, "load_s": 1.0, "stages": [stage], "memory": memory},
        "predicted": PREDICTED,
        "versions": {"torch": "2"},
        "device": {"name": "h200", "title": "NVIDIA H200"},
        "report": [f"said by {ident}", "said by all"],
        "harness": {
            "process": "fresh",
            "configuration": name,
            "job": name,
            "warmup_calls": 1,
            "warmup_s": 0.5,
        },
    }
    return {**whole, **changes}


def died(ident, name):
    measured = {"total_s": 2.0, "load_s": 1.0, "stages": [], "memory": {"rss_peak_bytes": 7 * GIB}}
    return run(ident, name, 2.0, status="out_of_memory", error="OutOfMemoryError: no room", measured=measured)


@pytest.fixture
def session(tmp_path):
    """Three calls of the baseline; two of a candidate, of which one ran out of memory; one of which nothing is left but a row."""
    session = Session(tmp_path / "m.nc")
    for ident, seconds in (("a", 4.0), ("b", 10.0), ("c", 5.0)):
        session.put(run(ident, "baseline", seconds))
    session.put(run("d", "fast", 2.0, settings={"vae_tiling": {}}))
    session.put(died("e", "fast"))
    session.put(died("f", "dead"))
    return session


@pytest.fixture
def found(session):
    return Measurements.of({name: session.rows_of(name) for name in ("baseline", "fast", "dead")}, session)


def test_a_spread_is_of_what_is_there():
    assert Spread.of([3.0, None, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)
    assert Spread.of([None]) is None


def test_medians_and_ratios(found):
    baseline, (fast, dead) = found.baseline, found.candidates
    assert baseline.total_s == Spread(median=5.0, low=4.0, high=10.0)
    [stage] = baseline.stages
    assert (stage.seconds, stage.predicted_s, stage.time_ratio) == (baseline.total_s, 8.0, 5.0 / 8.0)
    assert (stage.measured_bytes, stage.predicted_bytes, stage.bytes_ratio) == (3 * GIB, 4 * GIB, 0.75)
    assert (baseline.time_ratio, baseline.warmup_s, baseline.load_s) == (5.0 / 8.0, 0.5, 1.0)
    assert (found.speedup(fast), found.speedup(dead)) == (2.5, None)
    assert baseline.report == ("said by a", "said by all", "said by b", "said by c")


def test_what_ended_badly_is_said_and_spoils_no_median(found):
    fast, dead = found.candidates
    assert (fast.status, fast.num_runs, fast.total_s.median) == ("out_of_memory", 1, 2.0)
    assert fast.memory["rss_peak_bytes"] == 7 * GIB  # of the call that died too
    assert (dead.num_runs, dead.total_s, dead.error) == (0, None, "OutOfMemoryError: no room")
    assert not found.is_good


def test_a_gpus_peaks_are_beside_their_predictions(found):
    text = repr(found)
    for name, peak in (("reserved", 5.0), ("allocated", 4.0)):
        measured = found.baseline.memory[f"{name}_peak_bytes"]
        line = next(line for line in text.splitlines() if f"GPU {name}" in line)
        assert f"{gib(measured):.2f} GiB" in line
        assert f"{gib(measured) / peak:.2f}" in text
    assert "fastest candidate fast: 2.50 × as fast as the baseline" in text
    assert "within the spread" not in text and "workbench calibrate" in text
    assert "dead: out of memory: OutOfMemoryError: no room" in text
    assert "NVIDIA H200" in text and found.device["name"] == "h200"


def test_the_file_is_read_back_row_by_row(session, found):
    again = Session(session.out)
    names = ("baseline", "fast", "dead")
    back = Measurements.of({name: again.rows_of(name) for name in names}, again)
    assert back.to_json() == found.to_json() and repr(back) == repr(found)
    again.drop(again.rows_of("fast"))
    again.put(run("g", "fast", 3.0))
    assert [text for text in Session(session.out).rows_of("fast")[0]["trial"].values] == ["g"]
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["candidates"][0]["speedup"] == 2.5


def test_a_digest_is_of_values_and_not_of_their_order():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1}) != digest_of({"a": 1, "b": [3]})
