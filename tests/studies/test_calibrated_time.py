"""The study of calibrated times: its score, and that every case of it can be planned and one of them run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def study(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The study's modules, whose names are as plain as a script's."""
    import importlib

    monkeypatch.syspath_prepend(str(root / "studies" / "calibrated_time"))
    for name in ("run", "score", "small"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("run")
    for name in ("run", "score", "small"):
        sys.modules.pop(name, None)


def row(study: Any, predicted: float, *measured: float, ratio: float = 1.5) -> Any:
    return study.Row("case", predicted, predicted / ratio, predicted * ratio, measured)


def test_errors_ranks_and_bands_are_counted(study: Any) -> None:
    rows = [
        row(study, 1.0, 1.0, 1.0, 1.02),
        row(study, 2.2, 2.0, 2.0, 2.0),
        row(study, 1.8, 3.0, 3.0, 3.0),  # wrong by 40 %, outside its band, and ranked before the second
        row(study, 3.3, 3.1, 3.1, 3.1),  # too near to the third to be ranked against it
    ]
    found = study.score(rows)
    assert found.median_error == pytest.approx((0.1 + 3.3 / 3.1 - 1) / 2)
    assert found.worst_error == pytest.approx(0.4)
    assert (found.num_pairs, found.num_ranked) == (5, 4)
    assert (found.num_inside, found.num_cases) == (3, 4)
    assert not found.is_noisy
    with pytest.raises(ValueError, match="no row"):
        study.score([])


def test_a_machine_that_does_not_repeat_itself_is_called_noisy(study: Any) -> None:
    found = study.score([row(study, 1.0, 0.9, 1.0, 1.1)] * 3)
    assert found.is_noisy
    facts = {
        "coverage": 0.9, "ratio": 1.5, "calibration_s": 60.0, "calibration_noise": 0.3, "machine": "m", "versions": "v",
        "created_at": "now",
    }  # fmt: skip
    text = study.table([row(study, 1.0, 0.9, 1.0, 1.1)], found, facts)
    assert "TOO NOISY" in text
    assert "| case | 1.000 | 1.000 | +0 % | 20 % | yes |" in text


def test_cases_differ_in_what_the_issue_names(study: Any) -> None:
    cases = study.CASES
    assert len(cases) >= 8
    assert len({case.name for case in cases}) == len(cases)
    assert len({case.spec.pipeline_class for case in cases}) >= 3
    assert {"dtype", "attention", "vae_tiling", "temporal_chunks", "cfg"} <= {
        k for c in cases for k in c.settings
    }


def test_a_case_is_planned_and_runs(study: Any) -> None:
    import dataclasses

    from workbench.devices import cpu

    case = dataclasses.replace(
        next(c for c in study.CASES if "temporal_chunks" in c.settings), size=32, steps=1
    )
    [(expected, low, high)] = study.predicted([case], cpu())
    assert 0 < low <= expected <= high
    [times] = study.measured([case], repeats=2)
    assert len(times) == 2
    assert min(times) > 0
