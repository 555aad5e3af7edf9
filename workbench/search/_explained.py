"""What an explanation has to say, in the sections of a report. Pure."""

from __future__ import annotations

from workbench._units import GIB, MIB, format_seconds, gib
from workbench.search._explanation import CATEGORIES, Change, Explanation, StagePeak
from workbench.search._report import Column, Report, Section, Table, header, verdict
from workbench.search._weights import weights_sections
from workbench.search._words import (
    describe_binds,
    describe_component,
    describe_stage,
    describe_technique,
)

MAX_PARTS, MAX_CHANGES = 12, 8


def explanation_report(found: Explanation, choice: str = "") -> Report:
    """What is alive at the peak, stage by stage, and what lowers it.

    Args:
        choice: how the card was chosen; empty when the caller named it.
    """
    return Report(
        title="Explanation",
        lines=header(found.cost, choice),
        verdict=verdict(found.cost),
        is_good=found.cost.fits,
        sections=(
            _stages(found),
            _alive(found.peak),
            *weights_sections(found.cost),
            _required(found),
            _changes(found),
        ),
    )


def _stages(found: Explanation) -> Section:
    unit, unit_bytes = _unit(found.peak.num_bytes)
    columns = (
        Column(title="stage", is_short=True),
        *(Column(title=f"{name}\n{unit}", is_number=True) for name in (*CATEGORIES, "allocated")),
        Column(title="while"),
    )
    rows = tuple(
        (
            describe_stage(stage.stage),
            *(f"{size / unit_bytes:.2f}" for size in (*stage.by_category().values(), stage.num_bytes)),
            f"{describe_component(stage.during)} runs" if stage.during else "the pipeline itself computes",
        )
        for stage in found.stages
    )
    table = Table(columns=columns, rows=rows, marked=found.stages.index(found.peak))
    return Section(title="Fullest moment of each stage", table=table)


def _alive(peak: StagePeak) -> Section:
    unit, unit_bytes = _unit(peak.num_bytes)
    columns = (
        Column(title=unit, is_number=True),
        Column(title="share", is_number=True),
        Column(title="number", is_number=True),
        Column(title="kind", is_short=True),
        Column(title="made by"),
    )
    rows = tuple(
        (
            f"{part.num_bytes / unit_bytes:.2f}",
            f"{part.num_bytes / peak.num_bytes:.0%}",
            "" if part.category == "weights" else str(part.count),
            part.category,
            describe_binds(": ".join(name for name in (part.path, part.op) if name), width=64),
        )
        for part in peak.parts[:MAX_PARTS]
    )
    rest = peak.parts[MAX_PARTS:]
    lines = (
        (f"and {len(rest)} smaller, {sum(p.num_bytes for p in rest) / unit_bytes:.2f} {unit} together",)
        if rest
        else ()
    )
    title = f"Alive at the peak, in {describe_stage(peak.stage)}"
    return Section(title=title, lines=lines, table=Table(columns=columns, rows=rows))


def _required(found: Explanation) -> Section:
    """From what is allocated to what the card must have."""
    columns = (
        Column(title="part", is_short=True),
        Column(title="GiB", is_number=True),
        Column(title="what it is"),
    )
    rows = tuple((part.title, f"{gib(part.num_bytes):.2f}", part.why) for part in found.required())
    return Section(
        title="What the card must have", table=Table(columns=columns, rows=rows, marked=len(rows) - 1)
    )


def _changes(found: Explanation) -> Section:
    if not found.changes:
        return Section(title="What would lower it", lines=("no single change that the search knows",))
    columns = (
        Column(title="change"),
        Column(title="required\nGiB", is_number=True),
        Column(title="less\nGiB", is_number=True),
        Column(title="time", is_number=True),
        Column(title="caution", is_number=True),
    )
    shown = found.changes[:MAX_CHANGES]
    return Section(
        title="What would lower it, one change at a time, cheapest first",
        table=Table(columns=columns, rows=tuple(_change_row(found, change) for change in shown)),
    )


def _change_row(found: Explanation, change: Change) -> tuple[str, ...]:
    required = change.cost.required_vram_bytes
    return (
        describe_technique(change.technique, change.parameters),
        f"{gib(required):.2f}",
        f"{gib(found.cost.required_vram_bytes - required):.2f}",
        format_seconds(change.cost.total_s),
        str(change.caution),
    )


def _unit(largest: int) -> tuple[str, int]:
    return ("GiB", GIB) if largest >= GIB // 10 else ("MiB", MIB)
