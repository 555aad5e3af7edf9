"""Real jobs correct a calibration: on this machine's CPU with the tiny pipeline, and by the rule on records that differ from a real one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from workbench import devices
from workbench._cli import main
from workbench._errors import InputError
from workbench.calibration import refine
from workbench.devices import Calibration
from workbench.measurement import generate
from workbench.records import build, merge, save

SIZE: dict[str, Any] = {"frames": 5, "height": 32, "width": 32, "steps": 2}


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return wb.calibrate("cpu", budget_s=3, save=False)


@pytest.fixture(scope="module", autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="module")
def run(
    calibration: Calibration, own_folder: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A real run, as its record is made of."""
    devices.save_calibration(calibration)
    out = tmp_path_factory.mktemp("run") / "clip.mp4"
    return generate(model="tiny", out=out, count_tensors=False, **SIZE).to_json()


@pytest.fixture(autouse=True)
def fresh(calibration: Calibration) -> None:
    devices.save_calibration(calibration)


def like(run: dict[str, Any], folder: Path, name: str, factor: float, **changes: Any) -> Path:
    """The record of a run that took `factor` times its prediction in every stage."""
    made = copy.deepcopy(run) | {"id": name} | changes
    predicted = {stage["name"]: stage["seconds"] for stage in made["predicted"]["time"]["stages"]}
    for stage in made["measured"]["stages"]:
        stage["seconds"] = factor * predicted[stage["name"]]
    return save(build(made), folder / f"{name}.nc")


def test_real_jobs_bring_predictions_nearer(run: dict[str, Any], tmp_path: Path) -> None:
    settings = wb.Workload.for_model("tiny", **SIZE)
    before = wb.estimate(settings, None, "cpu")
    measured = [
        generate(model="tiny", out=tmp_path / f"{seed}.mp4", seed=seed, count_tensors=False, **SIZE)
        for seed in range(4)
    ]
    found = refine([one.record for one in measured])
    assert found.used == tuple(one.id for one in measured)
    assert found.skipped == ()
    learned = devices.resolve("cpu").corrections
    assert set(learned) == {"text_encode", "denoise", "decode"}
    assert all(one.num_runs == 4 and 0.5 <= one.factor <= 2 for one in learned.values())
    after = wb.estimate(settings, None, "cpu")
    for old, new in zip(before.price.stages, after.price.stages, strict=True):
        assert new.seconds == pytest.approx(old.seconds * learned[new.name].factor)
        assert sum(new.by_kind_s.values()) == pytest.approx(new.seconds)
    band = after.device.band
    assert band is not None
    assert band.num_checks == 4 + len([row for row in found.calibration.checks if "run" not in row])
    # a prediction that was corrected already is not corrected twice: its rates alone are what counts
    again = generate(model="tiny", out=tmp_path / "again.mp4", count_tensors=False, **SIZE)
    rates_alone = refine([again.record]).calibration.checks[-3:]
    for row, old in zip(rates_alone, before.price.stages, strict=True):
        assert row["predicted_s"] == pytest.approx(old.seconds, rel=1e-6)


def test_the_median_counts_and_an_odd_run_does_not(run: dict[str, Any], tmp_path: Path) -> None:
    paths = [like(run, tmp_path, f"run{n}", factor) for n, factor in enumerate((1.2, 1.25, 1.3, 9.0))]
    learned = refine(paths).calibration.device.corrections["denoise"]
    assert learned.factor == pytest.approx(1.275)
    assert learned.spread == pytest.approx(1.04, abs=0.03)


def test_the_correction_is_bounded(run: dict[str, Any], tmp_path: Path) -> None:
    paths = [like(run, tmp_path, f"run{n}", 7.0) for n in range(3)]
    assert refine(paths).calibration.device.corrections["decode"].factor == 2.0


def test_two_runs_correct_nothing_yet_and_are_kept_for_the_third(run: dict[str, Any], tmp_path: Path) -> None:
    two = refine([like(run, tmp_path, f"run{n}", 1.5) for n in range(2)])
    assert two.calibration.device.corrections == {}
    assert refine([like(run, tmp_path, "run1", 1.5)]).used == ("run0", "run1")  # given again, counts once
    three = refine([like(run, tmp_path, "run2", 1.5)])
    assert three.used == ("run0", "run1", "run2")
    assert three.calibration.device.corrections["denoise"].factor == pytest.approx(1.5)


def test_more_runs_make_the_band_narrower_and_its_coverage_is_stated(
    run: dict[str, Any], tmp_path: Path
) -> None:
    bands = []
    for many in (3, 9):
        factors = [1.4 + 0.01 * (n % 3) for n in range(many)]
        found = refine([like(run, tmp_path, f"run{n}", factor) for n, factor in enumerate(factors)])
        bands.append(found.calibration.device.band)
    few, enough = bands
    assert few is not None and enough is not None
    assert enough.num_checks == 9 and enough.coverage == pytest.approx(0.9)
    assert enough.ratio < 1.03 < few.ratio
    # each run was judged by what the others teach, not by itself
    assert enough.ratio > 1.005


def test_what_says_nothing_is_left_out_with_its_reason(run: dict[str, Any], tmp_path: Path) -> None:
    old = run["device"] | {"sources": run["device"]["sources"] | {"calibration": "an older one"}}
    paths = [
        like(run, tmp_path, "good", 1.1),
        like(run, tmp_path, "failed", 1.1, status="failed", error="no"),
        like(run, tmp_path, "other", 1.1, versions=run["versions"] | {"torch": "1.0"}),
        like(run, tmp_path, "older", 1.1, device=old),
    ]
    found = refine(paths, save=False)
    assert found.used == ("good",)
    assert [name for name, _ in found.skipped] == ["failed", "other", "older"]
    reasons = " ".join(reason for _, reason in found.skipped)
    assert "ended with status failed" in reasons and "ran with torch 1.0" in reasons
    assert "predicted without this calibration" in reasons
    with pytest.raises(InputError, match="no run says anything of the calibration of cpu: failed: it ended"):
        refine(paths[1:2])


def test_merged_records_are_read_run_by_run(run: dict[str, Any], tmp_path: Path) -> None:
    single = [like(run, tmp_path, f"run{n}", 1.5) for n in range(3)]
    path = save(merge(single), tmp_path / "merged.nc")
    assert refine([path], save=False).used == ("run0", "run1", "run2")


def test_another_device_and_none_are_refused(run: dict[str, Any], tmp_path: Path) -> None:
    card = devices.get("rtx-4090").to_json()
    here, there = like(run, tmp_path, "here", 1.0), like(run, tmp_path, "there", 1.0, device=card)
    with pytest.raises(
        InputError, match="run there is of rtx-4090, others of cpu: refine one device at a time"
    ):
        refine([here, there])
    with pytest.raises(InputError, match="rtx-4090, on which run there ran, is not calibrated here"):
        refine([there])
    with pytest.raises(InputError, match="refine needs records of runs, got none"):
        refine([])


def test_the_command_line(run: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [like(run, tmp_path, f"run{n}", 1.5) for n in range(3)]
    options = [word for path in paths for word in ("--from-records", str(path))]
    assert main(["calibrate", *options, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["used"] == ["run0", "run1", "run2"]
    assert shown["calibration"]["device"]["corrections"]["denoise"]["num_runs"] == 3
    assert devices.resolve("cpu").correction("denoise_2") == pytest.approx(1.5)
    assert main(["calibrate", *options]) == 0
    assert "with 3 runs" in capsys.readouterr().out
    assert main(["calibrate", *options, "--reset"]) == 2
