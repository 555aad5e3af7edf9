"""A comparison as a table: a row for each quantity, a column for each side. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench._units import format_seconds, gib
from workbench.questions._cards_report import format_usd
from workbench.search._parts import BOUNDS
from workbench.search._report import Column, Report, Section, Table
from workbench.search._words import (
    describe_device,
    describe_loss,
    describe_settings,
    describe_stage,
    describe_workload,
)

if TYPE_CHECKING:
    from workbench.cost import Cost
    from workbench.questions._compare import Comparison, Side


def comparison_report(comparison: Comparison) -> Report:
    """What is the same, then side by side what is not."""
    sides = comparison.sides
    costs = [side.candidate.cost for side in sides]
    same = [
        words[0]
        for words in (
            [describe_workload(cost.workload) for cost in costs],
            [describe_device(cost.device) for cost in costs],
        )
        if len(set(words)) == 1
    ]
    columns = (Column(title="", is_short=True), *(Column(title=side.name) for side in sides))
    rows = [(title, *(words(side) for side in sides)) for title, words in _ROWS]
    if len({cost.device.name for cost in costs}) > 1:
        rows.insert(0, ("card", *(cost.device.title for cost in costs)))
    shown = tuple(row for row in rows if any(row[1:]))
    return Report(
        title="Comparison",
        lines=tuple(same) or (f"{len(sides)} sides",),
        verdict=verdict(comparison),
        is_good=any(cost.fits for cost in costs),
        sections=(
            Section(title="Side by side", table=Table(columns=columns, rows=shown)),
            Section(
                title="Settings",
                lines=tuple(
                    f"{side.name}: {describe_settings(side.candidate.cost.settings)}" for side in sides
                ),
            ),
        ),
    )


def verdict(comparison: Comparison) -> str:
    """Which fits and is fastest, and by how much."""
    fitting = sorted(
        (side for side in comparison.sides if side.candidate.cost.fits), key=lambda side: side.candidate.order
    )
    if not fitting:
        return "none of them fits"
    best = fitting[0]
    seconds = best.candidate.cost.total_s
    if len(fitting) == 1:
        return f"only {best.name} fits, {format_seconds(seconds)}"
    second = fitting[1]
    ratio = second.candidate.cost.total_s / seconds
    if ratio < 1.005:
        return f"{best.name} and {second.name} take the same time, {format_seconds(seconds)}"
    return f"{best.name} is fastest, {format_seconds(seconds)}: {ratio:.2f} × as fast as {second.name}"


def _times(cost: Cost) -> str:
    expected, low, high = (format_seconds(seconds) for seconds in cost.price.seconds)
    return f"{expected} ({low} to {high})"


def _bound(cost: Cost) -> str:
    kinds: dict[str, float] = {}
    for stage in cost.price.stages:
        for kind, seconds in stage.by_kind_s.items():
            kinds[kind] = kinds.get(kind, 0.0) + seconds
    kind = max(kinds, key=lambda name: kinds[name])
    return f"{BOUNDS.get(kind, kind)} {100 * kinds[kind] / sum(kinds.values()):.0f} %"


def _usd(side: Side) -> str:
    cost = side.candidate.cost
    rent = cost.device.rent_usd_per_hour
    return "" if rent is None or not cost.fits else format_usd(cost.total_s / 3600 * rent)


_ROWS: tuple[tuple[str, Callable[[Side], str]], ...] = (
    ("fits", lambda side: "yes" if side.candidate.cost.fits else "no"),
    ("time", lambda side: _times(side.candidate.cost)),
    ("time bound by", lambda side: _bound(side.candidate.cost)),
    (
        "required VRAM",
        lambda side: (
            f"{gib(side.candidate.cost.required_vram_bytes):.2f} of {gib(side.candidate.cost.device.memory_bytes):.2f} GiB"
        ),
    ),
    ("peak in", lambda side: describe_stage(side.candidate.cost.binds.name)),
    ("host RAM", lambda side: f"{gib(side.candidate.cost.host_ram_bytes):.2f} GiB"),
    ("quality loss", lambda side: describe_loss(side.candidate.cost).replace("\n", ", ")),
    ("caution", lambda side: str(side.candidate.caution)),
    ("rent per clip", _usd),
)
