"""`workbench calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench._cli._app import app
from workbench._cli._options import AsJson, number
from workbench._cli._output import print_json, show
from workbench._errors import InputError


@app.command()
def calibrate(
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="cpu, or this machine's card; default: its GPU, else its CPU."
        ),
    ] = None,
    budget_s: Annotated[
        str, typer.Option("--budget-s", metavar="S", help="About how long to measure.")
    ] = "75",
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget every calibration of this user instead.")
    ] = False,
    from_records: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-records",
            metavar="FILE",
            help="Instead of measuring, correct the calibration by this record of a real run; repeat it for more.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Measure what this machine reaches, so that times are predictions of it."""
    if from_records:
        if reset or device is not None:
            raise InputError(
                "--from-records says itself which device it is about: give it without --device and --reset"
            )
        return _refine(from_records, as_json)
    if reset:
        return _reset(device, as_json)
    from workbench._cli._output import working
    from workbench.views._calibration import calibration_json, calibration_report

    with working("calibrating; other work on this machine would disturb it", as_json):
        from workbench.calibration import calibrate as measure

        found = measure(device, budget_s=number("--budget-s", budget_s) or 0)
    print_json(calibration_json(found)) if as_json else show(calibration_report(found))
    return 0


def _refine(records: list[Path], as_json: bool) -> int:
    from workbench.calibration import refine
    from workbench.views._calibration import refinement_json, refinement_report

    found = refine(records)
    print_json(refinement_json(found)) if as_json else show(refinement_report(found))
    return 0


def _reset(device: str | None, as_json: bool) -> int:
    from workbench.devices import remove_calibrations

    if device is not None:
        raise InputError(f"--reset forgets every calibration, got --device {device!r} with it")
    deleted = [str(path) for path in remove_calibrations()]
    if as_json:
        print_json({"deleted": deleted})
    else:
        print("\n".join(f"deleted {path}" for path in deleted) or "there was no calibration")
    return 0
