"""`refine`: what real jobs took, beside what was predicted for them, corrects a calibration. Touches the disk."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError
from workbench.devices import (
    Calibration,
    Device,
    TimeBand,
    corrections,
    kind_of,
    load_calibration,
    save_calibration,
)
from workbench.records import load

if TYPE_CHECKING:
    import xarray

ENOUGH_RUNS: Final = 9
"""From so many runs on the band rests on them alone; of nine, the widest miss covers nine tenths of new ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refinement:
    """A calibration with what jobs have taught it."""

    calibration: Calibration
    used: tuple[str, ...]
    """Ids of the runs that it now rests on, those of earlier refinements included."""
    skipped: tuple[tuple[str, str], ...]
    """(run, why it says nothing of this calibration)."""


def refine(records: Iterable[str | Path], *, save: bool = True) -> Refinement:
    """Corrects a calibration by the records of real jobs on its device.

    Of every stage of a run, what was measured is divided by what the rates alone predict; the median over the runs, by kind of stage,
    then multiplies predictions (from three runs on, and never by more than 2 or less than a half). The band is made anew from how far
    each run is off when the others correct it: together with the calibration's own checks, and from nine runs on without them. It holds
    for jobs like these. A run that is given again counts once; calibrating anew forgets all of them.

    Args:
        records: record files of runs (`workbench generate` writes one beside each video), or merged ones; all of one device.
        save: False only works it out.

    Raises:
        InputError: a file is no record, the runs are of several devices, their device is not calibrated, or none of them says anything.
    """
    rows, skipped, calibration = [], [], None
    for run in (run for path in records for run in _runs(load(path))):
        if calibration is None:
            calibration = _calibration_of(run)
        why_not = _why_not(run, calibration)
        if why_not is None:
            rows.extend(_stages(run))
        else:
            skipped.append((run["id"], why_not))
    if calibration is None:
        raise InputError("refine needs records of runs, got none")
    if not rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped)
        raise InputError(f"no run says anything of the calibration of {calibration.device.name}: {reasons}")
    refined = _with(calibration, rows)
    if save:
        save_calibration(refined)
    used = dict.fromkeys(row["run"] for row in refined.checks if "run" in row)
    return Refinement(calibration=refined, used=tuple(used), skipped=tuple(skipped))


def _with(calibration: Calibration, rows: list[dict[str, Any]]) -> Calibration:
    """The calibration with these stages of runs beside those that it has."""
    blocks = [row for row in calibration.checks if "run" not in row]
    known = {(row["run"], row["stage"]): row for row in (*calibration.checks, *rows) if "run" in row}
    stages = list(known.values())
    device = dataclasses.replace(
        calibration.device, corrections=corrections(stages), band=_band(blocks, stages)
    )
    return dataclasses.replace(calibration, device=device, checks=(*blocks, *stages))


def _band(blocks: list[Mapping[str, Any]], stages: list[Mapping[str, Any]]) -> TimeBand:
    """How far runs are off if those beside them correct them."""
    runs = list(dict.fromkeys(row["run"] for row in stages))
    pairs = [_off(run, stages) for run in runs]
    if len(runs) < ENOUGH_RUNS:
        pairs += [(row["predicted_s"], row["measured_s"]) for row in blocks]
    return TimeBand.of([predicted for predicted, _ in pairs], [measured for _, measured in pairs])


def _off(run: str, stages: list[Mapping[str, Any]]) -> tuple[float, float]:
    """(seconds of a run as the others correct it, seconds as measured)."""
    learned = corrections(row for row in stages if row["run"] != run)
    own = [row for row in stages if row["run"] == run]
    factors = [learned[kind].factor if (kind := kind_of(row["stage"])) in learned else 1.0 for row in own]
    predicted = sum(row["predicted_s"] * factor for row, factor in zip(own, factors, strict=True))
    return predicted, sum(row["measured_s"] for row in own)


def _runs(record: xarray.Dataset) -> Iterator[dict[str, Any]]:
    """Each run of a record, of a single or a merged one, as plain values."""
    for number, trial in enumerate(record["trial"].values):
        one = record.isel(trial=number)

        def said(name: str, one: Any = one, record: Any = record) -> str:
            return str(one[name].values) if name in one else str(record.attrs.get(name, ""))

        seconds = {
            name: dict(zip(record["stage"].values, map(float, one[name].values), strict=True))
            if name in one
            else {}
            for name in ("stage_s", "predicted_stage_s")
        }
        device, ran = said("device"), said("versions")
        yield {
            "id": str(trial),
            "status": said("status"),
            "device": Device.from_json(json.loads(device)) if device else None,
            "versions": json.loads(ran) if ran else {},
            **seconds,
        }


def _calibration_of(run: Mapping[str, Any]) -> Calibration:
    device = run["device"]
    if device is None:
        raise InputError(f"the record of run {run['id']} does not say on which device it ran")
    found = load_calibration(device.name)
    if found is None:
        raise InputError(
            f"{device.name}, on which run {run['id']} ran, is not calibrated here: run `workbench calibrate` there first"
        )
    return found


def _why_not(run: Mapping[str, Any], calibration: Calibration) -> str | None:
    """Why a run says nothing of a calibration."""
    device = run["device"]
    if device is None or device.name != calibration.device.name:
        raise InputError(
            f"run {run['id']} is of {device.name if device else 'an unknown device'}, others of {calibration.device.name}: "
            "refine one device at a time"
        )
    if run["status"] != "ok":
        return f"it ended with status {run['status']}"
    if device.sources.get("calibration") != calibration.device.sources.get("calibration"):
        return "it was predicted without this calibration"
    ours, theirs = calibration.versions.get("torch"), run["versions"].get("torch")
    if ours != theirs:
        return f"it ran with torch {theirs}, the calibration with {ours}"
    return None if _stages(run) else "its record has no stage that was predicted and measured"


def _stages(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each stage took, beside what the rates alone predict: without the corrections that the prediction had."""
    found = []
    for stage, measured in run["stage_s"].items():
        predicted = run["predicted_stage_s"].get(stage, math.nan) / run["device"].correction(stage)
        if measured > 0 and predicted > 0:
            name = f"{stage} of run {run['id']}"
            row = {"name": name, "run": run["id"], "stage": stage}
            found.append(row | {"predicted_s": predicted, "measured_s": measured})
    return found
