"""What a cost or a plan has to say, as titled sections of plain text, tables and a bar: one content, two renderings.

`_render_text.py` and `_render_html.py` only lay these out, so the terminal and the notebook say the same. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench._units import GIB, MIB, format_gib, format_seconds, gib
from workbench.cost import Cost, StageCost
from workbench.search._less_ram import less_ram_lines
from workbench.search._parts import BOUNDS, Parts, peak_parts
from workbench.search._words import (
    LIBRARY_DEFAULTS,
    SEPARATOR,
    describe_binds,
    describe_component,
    describe_device,
    describe_effect,
    describe_fit,
    describe_loss,
    describe_missing,
    describe_quality,
    describe_settings,
    describe_stage,
    describe_technique,
    describe_workload,
)
from workbench.search.pins import Pins

if TYPE_CHECKING:
    from workbench.search._result import Candidate, Plan

_CAUTION = "caution orders what kind of change is made to the output (0: none); it is no measure of quality"
MAX_FRONT_ROWS = 15
"""A longer front is thinned evenly, both ends kept, and says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    """A line break in it separates the name from the unit."""
    is_number: bool = False
    """Numbers are aligned to the right and never broken over lines."""
    is_short: bool = False
    """A word or two, never broken over lines either."""

    @property
    def is_prose(self) -> bool:
        """Words that may be broken over lines."""
        return not self.is_number and not self.is_short


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Cells are ready text."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None
    """The row that stands out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """What the memory goes into, against the cap."""

    parts: Parts
    cap_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A title, then lines, a bar and a table, whichever there are."""

    title: str
    lines: tuple[str, ...] = ()
    bar: Bar | None = None
    table: Table | None = None
    is_quiet: bool = False
    """Said in a low voice: nobody reads it first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that is shown, from top to bottom."""

    title: str
    lines: tuple[str, ...]
    """The first stands beside the title."""
    sections: tuple[Section, ...]
    verdict: str = ""
    """The answer in one sentence; "" when nothing was asked."""
    is_good: bool = True
    """Whether the answer is the one that was hoped for."""


def cost_report(cost: Cost, choice: str = "") -> Report:
    """What one configuration costs.

    Args:
        choice: how the card was chosen, `"a typical 12 GB card"`; empty when the caller named it.
    """
    return Report(
        title="Estimate",
        lines=header(cost, choice),
        verdict=verdict(cost),
        is_good=cost.fits,
        sections=(_settings(cost, "Settings"), *_cost_sections(cost), *_notes(cost), _versions(cost)),
    )


def plan_report(plan: Plan, choice: str = "") -> Report:
    """What a search found; when nothing fits, the nearest miss and by how much.

    Args:
        choice: how the card was chosen, `"a typical 12 GB card"`; empty when the caller named it.
    """
    found, shown = plan.best is not None, plan.best or plan.nearest_miss
    assert shown is not None, "a plan has a best configuration or a nearest miss"
    cost = shown.cost
    return Report(
        title="Plan",
        lines=header(cost, choice),
        verdict=verdict(cost) if found else _nothing_fits(cost),
        is_good=found,
        sections=(
            _settings(cost, "Best configuration" if found else "Nearest miss"),
            *_cost_sections(cost),
            *((Section(title="Less host RAM", lines=less_ram_lines(plan)),) if plan.less_ram else ()),
            *_notes(cost),
            *((_front(plan),) if plan.front else ()),
            Section(title="Search", lines=_search_lines(plan), is_quiet=True),
            _versions(cost),
        ),
    )


def titled(report: Report) -> tuple[str, ...]:
    """The head's lines, the first with the title before it."""
    first, *others = report.lines or ("",)
    return (f"{report.title}: {first}" if first else report.title, *others)


# --- the head -------------------------------------------------------------------------------------------------------------


def header(cost: Cost, choice: str) -> tuple[str, ...]:
    device = cost.device
    ram = "host RAM not limited" if device.ram_bytes is None else f"{format_gib(device.ram_bytes)} host RAM"
    dtypes = SEPARATOR.join(f"{describe_component(name)} {dtype}" for name, dtype in cost.dtypes.items())
    lines = (
        describe_workload(cost.workload),
        f"on {describe_device(device, choice)}, {device.link_label}, {ram}",
    )
    return (*lines, f"loaded as {dtypes}") if dtypes else lines


def verdict(cost: Cost) -> str:
    expected = format_seconds(cost.total_s)
    if cost.fits:
        return f"peak {format_gib(cost.price.peak_reserved_bytes)}, {describe_fit(cost)}, about {expected}"
    return f"does not fit: {_missing(cost)}"


def _missing(cost: Cost) -> str:
    """What is missing; what the margin rules out and might run all the same is said."""
    chance = describe_fit(cost)
    return f"{describe_missing(cost)}; without the margin it {chance}" if chance else describe_missing(cost)


def _nothing_fits(miss: Cost) -> str:
    if not miss.fits:
        return f"nothing fits: the nearest miss needs {_missing(miss)}"
    # it fits the memory, so a limit on time or quality is what rules it out
    return f"nothing meets the limits: the nearest that fits the memory takes {format_seconds(miss.total_s)}"


# --- one configuration ----------------------------------------------------------------------------------------------------


def _settings(cost: Cost, title: str) -> Section:
    if not cost.settings:
        return Section(title=title, lines=(LIBRARY_DEFAULTS,))
    effects = {effect.technique: describe_effect(effect) for effect in cost.quality.effects}
    rows = tuple(
        (name, describe_technique(name, parameters), effects.get(name, ""))
        for name, parameters in cost.settings.items()
    )
    columns = (
        Column(title="technique", is_short=True),
        Column(title="setting"),
        Column(title="effect on the output"),
    )
    return Section(title=title, table=Table(columns=columns, rows=rows))


def _cost_sections(cost: Cost) -> tuple[Section, ...]:
    return (_stages(cost), _memory(cost), _time(cost), _quality(cost))


def _stages(cost: Cost) -> Section:
    stages = cost.price.stages
    unit, unit_bytes = _unit(stages)
    columns = (
        Column(title="stage", is_short=True),
        *(
            Column(title=f"{name}\n{unit}", is_number=True)
            for name in ("weights", "activations", "peak", "reserved")
        ),
        Column(title="time", is_number=True),
        Column(title="what binds"),
    )
    rows = tuple(
        (
            describe_stage(stage.name),
            *(
                f"{num_bytes / unit_bytes:.2f}"
                for num_bytes in (
                    stage.weights_bytes,
                    stage.activations_bytes,
                    stage.peak_allocated_bytes,
                    stage.peak_reserved_bytes,
                )
            ),
            format_seconds(stage.seconds),
            describe_binds(stage.binds),
        )
        for stage in stages
    )
    return Section(title="Stages", table=Table(columns=columns, rows=rows, marked=stages.index(cost.binds)))


def _unit(stages: Sequence[StageCost]) -> tuple[str, int]:
    """GiB, or MiB where GiB would show zeros: the tiny model."""
    largest = max(stage.peak_reserved_bytes for stage in stages)
    return ("GiB", GIB) if largest >= GIB // 10 else ("MiB", MIB)


def _memory(cost: Cost) -> Section:
    parts, stage = peak_parts(cost), cost.binds
    shown = {"reserved": parts.reserved_bytes, **parts.shown()}
    names = ("reserved", "context", "desktop", "margin")
    besides = " + ".join(f"{name} {gib(shown[name]):.2f}" for name in names if shown[name])
    needed, cap = gib(cost.required_vram_bytes), gib(cost.device.memory_bytes)
    ram = cost.device.ram_bytes
    limit = ", no limit given" if ram is None else f" of {gib(ram):.2f} GiB"
    return Section(
        title="Memory",
        lines=(
            f"required {needed:.2f} of {cap:.2f} GiB: {besides}",
            f"{'probability and margin' if describe_fit(cost) else 'margin'} from {cost.margin_basis}",
            f"the peak is in {describe_stage(stage.name)}, at {describe_binds(stage.binds, width=200)}",
            f"host RAM {gib(cost.host_ram_bytes):.2f}{limit if ram is not None else ' GiB' + limit}",
        ),
        bar=Bar(parts=parts, cap_bytes=cost.device.memory_bytes),
    )


def _time(cost: Cost) -> Section:
    expected, low, high = (format_seconds(seconds) for seconds in cost.price.seconds)
    basis = {
        "catalogue": "catalogue rates, not calibrated on this card",
        "calibrated": "calibrated on this device",
    }[cost.device.basis]
    kinds: dict[str, float] = {}
    for stage in cost.price.stages:
        for kind, seconds in stage.by_kind_s.items():
            kinds[kind] = kinds.get(kind, 0.0) + seconds
    bounds = sorted(((seconds, kind) for kind, seconds in kinds.items() if seconds), reverse=True)
    total = sum(kinds.values())
    shares = ", ".join(
        f"{BOUNDS.get(kind, kind)} {100 * seconds / total:.0f} %"
        for seconds, kind in bounds
        if seconds >= total / 200
    )
    band = cost.device.band
    held = "" if band is None else f", which holds in {100 * band.coverage:.0f} % of cases"
    lines = (f"{expected} (from {low} to {high}{held}): {basis}",)
    return Section(title="Time", lines=(*lines, f"bound by {shares}") if shares else lines)


def _quality(cost: Cost) -> Section:
    sources = [
        f"{effect.technique}: {describe_effect(effect)} ({effect.source})"
        for effect in cost.quality.effects
        if effect.source and effect.provenance != "exact"
    ]
    return Section(title="Quality", lines=(describe_quality(cost), *sources))


def _notes(cost: Cost) -> tuple[Section, ...]:
    return (Section(title="Notes", lines=tuple(cost.notes)),) if cost.notes else ()


def _versions(cost: Cost) -> Section:
    line = SEPARATOR.join(f"{name} {version}" for name, version in cost.versions.items())
    return Section(title="Versions", lines=(line,), is_quiet=True)


# --- the search -----------------------------------------------------------------------------------------------------------


def _search_lines(plan: Plan) -> tuple[str, ...]:
    priced = f"{plan.trials:,} configuration{'' if plan.trials == 1 else 's'} looked at in {format_seconds(plan.seconds)}"
    lines = (priced, plan.ranking) if plan.ranking else (priced,)
    return (*lines, *pins_lines(plan.pins))


def pins_lines(pins: Pins) -> tuple[str, ...]:
    """What the caller decided himself."""
    lines = []
    if pins.settings.techniques:
        lines.append(f"pinned, which is no caution: {describe_settings(pins.settings.to_json())}")
    if pins.forbidden:
        lines.append(f"forbidden: {', '.join(pins.forbidden)}")
    if pins.max_caution is not None:
        lines.append(f"caution at most {pins.max_caution}")
    return tuple(lines)


def _front(plan: Plan) -> Section:
    shown = _thinned(plan.front, plan.best)
    common = _common([candidate.cost.settings for candidate in shown])
    columns = (
        Column(title="time", is_number=True),
        Column(title="VRAM\nGiB", is_number=True),
        Column(title="RAM\nGiB", is_number=True),
        Column(title="caution", is_number=True),
        Column(title="quality\nloss", is_short=True),
        Column(title="peak in", is_short=True),
        Column(title="settings"),
    )
    return Section(
        title="Front",
        lines=_front_lines(len(shown), len(plan.front), common),
        table=Table(
            columns=columns,
            rows=tuple(_front_row(candidate, common) for candidate in shown),
            marked=next((k for k, candidate in enumerate(shown) if _is_same(candidate, plan.best)), None),
        ),
    )


def _front_row(candidate: Candidate, common: Mapping[str, Any]) -> tuple[str, ...]:
    cost = candidate.cost
    own = {name: parameters for name, parameters in cost.settings.items() if name not in common}
    return (
        format_seconds(cost.total_s),
        f"{gib(cost.required_vram_bytes):.2f}",
        f"{gib(cost.host_ram_bytes):.2f}",
        str(candidate.caution),
        describe_loss(cost),
        describe_stage(cost.price.peak_stage),
        describe_settings(own) if own or not common else "nothing more",
    )


def _common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The techniques that all of several settings use alike: said once instead of in every row."""
    first, *others = settings
    if not others:
        return {}
    return {
        name: parameters
        for name, parameters in first.items()
        if all(name in other and other[name] == parameters for other in others)
    }


def _front_lines(num_shown: int, num_all: int, common: Mapping[str, Any]) -> tuple[str, ...]:
    if num_all == 1:
        return (f"one configuration that nothing beats in both time and caution; {_CAUTION}",)
    line = f"{num_all} configurations that nothing beats in both time and caution, fastest first"
    lines = (line if num_shown == num_all else f"{line}; {num_shown} of them shown", _CAUTION)
    return (*lines, f"all of them: {describe_settings(common)}") if common else lines


def _thinned(front: Sequence[Candidate], keep: Candidate | None) -> tuple[Candidate, ...]:
    """At most `MAX_FRONT_ROWS` of the front, evenly, with both ends and `keep`."""
    if len(front) <= MAX_FRONT_ROWS:
        return tuple(front)
    last = len(front) - 1
    chosen = {round(k * last / (MAX_FRONT_ROWS - 2)) for k in range(MAX_FRONT_ROWS - 1)}
    chosen |= {k for k, candidate in enumerate(front) if _is_same(candidate, keep)}
    return tuple(front[k] for k in sorted(chosen))


def _is_same(candidate: Candidate, other: Candidate | None) -> bool:
    return other is not None and dict(candidate.cost.settings) == dict(other.cost.settings)
