"""Measured tuning as a table: predicted beside measured. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench._units import format_gib, format_seconds
from workbench.search._report import Column, Report, Section, Table
from workbench.search._words import (
    describe_bytes,
    describe_device,
    describe_settings,
    describe_workload,
)

if TYPE_CHECKING:
    from workbench.measurement._tuned import Tried, Tuned


def tuned_report(tuned: Tuned) -> Report:
    """What was run, what came of it, and which is best."""
    best, front = tuned.best, tuned.front
    lines = (describe_workload(tuned.workload), f"on {describe_device(tuned.device)}")
    columns = (
        Column(title="predicted\ntime", is_number=True),
        Column(title="measured\ntime", is_number=True),
        Column(title="predicted\nmemory", is_number=True),
        Column(title="measured\nmemory", is_number=True),
        Column(title="caution", is_number=True),
        Column(title="", is_short=True),
        Column(title="settings"),
    )
    order = sorted(tuned.tried, key=lambda one: (not one.fits, one.seconds or float("inf")))
    table = Table(
        columns=columns,
        rows=tuple(_row(one, in_front=one in front) for one in order),
        marked=None if best is None else order.index(best),
    )
    kept = (
        f"records: {tuned.folder}",
        f"{tuned.ran} run in this session of {format_seconds(tuned.seconds)}; ended since {tuned.ended}",
    )
    return Report(
        title="Tuned",
        lines=lines,
        verdict=_verdict(tuned),
        is_good=best is not None,
        sections=(
            Section(
                title="What was run",
                lines=("front: nothing that was measured beats it in both time and caution",),
                table=table if order else None,
            ),
            Section(title="Kept", lines=kept, is_quiet=True),
        ),
    )


def _verdict(tuned: Tuned) -> str:
    best = tuned.best
    if best is None:
        return "nothing that was run fits" if tuned.tried else "nothing was run"
    assert best.seconds is not None, "what fits was run to its end"
    predicted = best.candidate.cost.total_s
    needed = "" if best.needed_bytes is None else f", {describe_bytes(best.needed_bytes)}"
    cap = format_gib(best.cap_bytes)
    return f"measured {format_seconds(best.seconds)} (predicted {format_seconds(predicted)}){needed} of {cap}"


def _row(one: Tried, *, in_front: bool) -> tuple[str, ...]:
    cost = one.candidate.cost
    said = one.status.replace("_", " ") if one.status != "ok" else "" if one.fits else "too large"
    return (
        format_seconds(cost.total_s),
        "–" if one.seconds is None else format_seconds(one.seconds),
        describe_bytes(cost.required_vram_bytes),
        "–" if one.needed_bytes is None else describe_bytes(one.needed_bytes),
        str(one.candidate.caution),
        "front" if in_front else said,
        describe_settings(one.candidate.settings.to_json()),
    )
