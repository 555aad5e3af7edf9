"""What a calibration found: how well it predicts, how steady the machine was, and the rates."""

from __future__ import annotations

from typing import Any

from workbench._units import format_seconds
from workbench.calibration import NOISY, Refinement
from workbench.devices import Calibration, calibration_file
from workbench.search._report import Column, Report, Section, Table


def calibration_json(found: Calibration) -> dict[str, Any]:
    """All of it, one JSON object."""
    path = calibration_file(found.device.name)
    return {**found.to_json(), "file": str(path) if path.exists() else None}


def calibration_report(found: Calibration) -> Report:
    """The same for people, without the single benchmarks."""
    device = found.device
    columns = (
        Column(title="small model", is_short=True),
        Column(title="predicted\nms", is_number=True),
        Column(title="measured\nms", is_number=True),
        Column(title="off by\n%", is_number=True),
    )
    rows = tuple(
        (
            row["name"],
            f"{1e3 * row['predicted_s']:.2f}",
            f"{1e3 * row['measured_s']:.2f}",
            f"{100 * (row['predicted_s'] / row['measured_s'] - 1):+.0f}",
        )
        for row in found.checks
        if "run" not in row
    )
    lines = (
        f"{len(found.samples)} benchmarks in {format_seconds(found.seconds)} on {found.machine}",
        _band(found),
        f"repetitions differ by {100 * found.noise:.0f} % (median)"
        + (": other work disturbed it, calibrate again on a quiet machine" if found.noise > NOISY else ""),
    )
    return Report(
        title=f"Calibration of {device.name}",
        lines=lines,
        sections=(
            Section(title="Rates", lines=_rates(found)),
            Section(
                title="Checks",
                lines=("nothing was fitted to these",),
                table=Table(columns=columns, rows=rows),
            ),
        ),
    )


def refinement_json(found: Refinement) -> dict[str, Any]:
    """What the jobs have taught, and the calibration with it."""
    skipped = [{"run": run, "reason": reason} for run, reason in found.skipped]
    return {"used": list(found.used), "skipped": skipped, "calibration": calibration_json(found.calibration)}


def refinement_report(found: Refinement) -> Report:
    """The same for people."""
    device = found.calibration.device
    columns = (
        Column(title="stage", is_short=True),
        Column(title="predictions\ntimes", is_number=True),
        Column(title="runs", is_number=True),
        Column(title="half of them within\na factor", is_number=True),
    )
    rows = tuple(
        (kind, f"{one.factor:.2f}", str(one.num_runs), f"{one.spread:.2f}")
        for kind, one in device.corrections.items()
    )
    learned = () if rows else ("too few runs to correct anything: it takes three of a kind of stage",)
    return Report(
        title=f"Calibration of {device.name}, with {len(found.used)} runs",
        lines=(
            _band(found.calibration),
            *learned,
            *(f"left out {run}: {reason}" for run, reason in found.skipped),
        ),
        sections=(Section(title="Corrections", lines=(), table=Table(columns=columns, rows=rows)),)
        if rows
        else (),
    )


def _band(found: Calibration) -> str:
    band = found.device.band
    assert band is not None, "a calibration has checked itself"
    return (
        f"times lie within a factor {band.ratio:.2f} of their prediction in {100 * band.coverage:.0f} % of cases "
        f"like the {band.num_checks} that were looked at"
    )


def _rates(found: Calibration) -> tuple[str, ...]:
    device = found.device
    flops = ", ".join(f"{dtype} {rate / 1e9:,.0f}" for dtype, rate in device.dense_flops.items())
    return (
        f"highest rates in GFLOP/s: {flops}; memory and caches {device.bandwidth_bytes_per_s / 1e9:,.0f} GB/s",
        f"the host adds {1e6 * device.efficiencies['launch_s']:.1f} µs to each op",
        f"{len(device.tables)} tables of what is reached by kind, dtype, size and width",
    )
