"""The whole loop on this machine's CPU, at a budget at which the figures mean little: measured, kept, used, shown, forgotten."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import workbench as wb
from workbench import devices
from workbench._cli import main
from workbench._errors import InputError
from workbench.devices import Calibration


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return wb.calibrate("cpu", budget_s=3, save=False)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_CONFIG_DIR", str(tmp_path))


def test_it_measures_every_kind_of_op(calibration: Calibration) -> None:
    device = calibration.device
    assert device.basis == "calibrated"
    kinds = {"matmul", "attention.cpu", "conv2d", "conv3d", "conv3d_small", "conv_depthwise"}
    moved = {
        "gelu",
        "group_norm",
        "elementwise",
        "activation",
        "norm",
        "softmax",
        "reduction",
        "copy",
        "permute",
        "cast",
        "upsample",
    }
    assert {f"{kind}.fp32" for kind in kinds | {f"memory.{m}" for m in moved}} <= set(device.tables)
    assert "matmul.bf16" in device.tables
    assert 0 < device.efficiencies["launch_s"] < 0.1
    assert len(calibration.checks) >= 9
    assert device.band is not None
    assert device.band.coverage == pytest.approx(0.9, abs=0.01)
    assert set(calibration.versions) >= {"torch", "diffusers"}


def test_its_own_checks_are_not_far_off(calibration: Calibration) -> None:
    """A machine that runs other tests meanwhile allows no more than this; the study in `studies/calibrated_time` says how near it is."""
    ratios = sorted(row["predicted_s"] / row["measured_s"] for row in calibration.checks)
    assert 0.2 < ratios[len(ratios) // 2] < 5


def test_what_was_saved_is_used_from_then_on(calibration: Calibration) -> None:
    settings = wb.Workload.for_model("tiny", frames=5, height=64, width=64, steps=1)
    before = wb.estimate(settings, None, "cpu")
    assert (before.device.basis, before.to_json()["time"]["coverage"]) == ("catalogue", None)
    devices.save_calibration(calibration)
    after = wb.estimate(settings, None, "cpu")
    assert after.device.basis == "calibrated"
    assert after.device.memory_bytes == before.device.memory_bytes
    expected, low, high = after.price.seconds
    assert expected != before.price.seconds[0]
    assert after.device.band is not None
    assert high / expected == pytest.approx(expected / low) == pytest.approx(after.device.band.ratio)
    assert after.to_json()["time"]["coverage"] == after.device.band.coverage
    assert devices.remove_calibrations() == (devices.calibration_file("cpu"),)
    assert wb.estimate(settings, None, "cpu").price == before.price


def test_another_machines_cpu_is_not_this_one(calibration: Calibration) -> None:
    devices.save_calibration(dataclasses.replace(calibration, machine="another processor, 96 threads"))
    assert devices.resolve("cpu").basis == "catalogue"


def test_a_card_keeps_its_cap_and_host_ram(calibration: Calibration) -> None:
    card = dataclasses.replace(devices.get("rtx-4090"), basis="calibrated", rent_usd_per_hour=0.5)
    devices.save_calibration(dataclasses.replace(calibration, device=card))
    found = devices.resolve("rtx-4090", vram_gb=12, ram_gb=32)
    assert (found.basis, found.memory_bytes, found.ram_bytes) == ("calibrated", 12 * 2**30, 32 * 2**30)
    assert devices.resolve(devices.get("rtx-4090")).basis == "catalogue", (
        "a device that is passed is taken as it is"
    )


def test_a_damaged_file_says_what_to_do(calibration: Calibration) -> None:
    path = devices.save_calibration(calibration)
    assert devices.load_calibration("cpu") == calibration
    path.write_text(json.dumps({**calibration.to_json(), "format": 99}))
    with pytest.raises(InputError, match=r"cpu\.json is no calibration .*workbench calibrate --reset"):
        devices.resolve("cpu")
    path.write_text("{")
    with pytest.raises(InputError, match="is no calibration"):
        devices.resolve("cpu")


def test_what_is_not_here_cannot_be_calibrated() -> None:
    for budget in (0, -1, float("nan"), True):
        with pytest.raises(InputError, match="budget_s must be seconds above 0"):
            wb.calibrate("cpu", budget_s=budget)
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU that the catalogue knows; got 'rtx-4090'"):
            wb.calibrate("rtx-4090")


def test_the_command_line_shows_and_forgets(
    calibration: Calibration, capsys: pytest.CaptureFixture[str]
) -> None:
    devices.save_calibration(calibration)
    assert main(["devices", "--json"]) == 0
    shown = {row["name"]: row["basis"] for row in json.loads(capsys.readouterr().out)["devices"]}
    assert (shown["cpu"], shown["rtx-4090"]) == ("calibrated", "catalogue")
    assert main(["calibrate", "--reset", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": [str(devices.calibration_file("cpu"))]}
    assert main(["calibrate", "--reset"]) == 0
    assert capsys.readouterr().out == "there was no calibration\n"
    assert main(["calibrate", "--reset", "--device", "cpu"]) == 2


def test_the_report_says_how_far_to_trust_it(calibration: Calibration) -> None:
    from workbench.search._render_text import render_report
    from workbench.views._calibration import calibration_report

    text = render_report(calibration_report(dataclasses.replace(calibration, noise=0.7)))
    assert "other work disturbed it" in text
    assert all(row["name"] in text for row in calibration.checks)
