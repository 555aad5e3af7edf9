"""A report as text: rich tables, with colour where the terminal has it, and plain characters where it has not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from workbench._units import format_gib
from workbench.cost import Cost
from workbench.search._parts import PARTS
from workbench.search._report import Bar, Report, Section, Table, cost_report, plan_report, titled
from workbench.search._words import describe_bytes
from workbench.search._words import describe_settings as describe_settings

if TYPE_CHECKING:
    from workbench.search._result import Plan

WIDTH = 100
"""Columns of a rendering that has no terminal to ask."""
BAR_WIDTH = 60
MIN_PROSE_WIDTH = 24
"""Columns that a cell of words gets at least."""
_INDENT = 2
_LEGEND = (("weights", "activations", "unallocated"), ("context", "desktop", "margin"))
"""One line for what the run holds, one for what has to be there besides."""


def render_cost(cost: Cost, choice: str = "") -> str:
    """One configuration's cost as plain text, `WIDTH` columns wide.

    Args:
        choice: how the card was chosen, `"a typical 12 GB card"`; empty when the caller named it.
    """
    return render_report(cost_report(cost, choice))


def render_plan(plan: Plan, choice: str = "") -> str:
    """A plan as plain text, `WIDTH` columns wide.

    Args:
        choice: how the card was chosen, `"a typical 12 GB card"`; empty when the caller named it.
    """
    return render_report(plan_report(plan, choice))


def render_report(report: Report) -> str:
    """A report as plain text, `WIDTH` columns wide: no colour, and no spaces at the ends of lines, which rich fills up."""
    file = StringIO()
    console = Console(file=file, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(report_renderable(report))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def report_renderable(report: Report) -> RenderableType:
    """A report for a rich console, which colours it if it can."""
    head = [Text(line, style="" if number else "bold") for number, line in enumerate(titled(report))]
    parts: list[RenderableType] = [*head]
    if report.verdict:
        tone = "bold green" if report.is_good else "bold red"
        parts += [Text(), Text(f"{'✔' if report.is_good else '✘'} {report.verdict}", style=tone)]
    for section in report.sections:
        parts.append(Text())
        parts.extend(_section(section))
    return Group(*parts)


def _section(section: Section) -> Iterator[RenderableType]:
    yield Text(section.title, style="bold dim" if section.is_quiet else "bold cyan")
    for line in section.lines:
        yield Padding(_hanging(line, "dim" if section.is_quiet else ""), (0, 0, 0, _INDENT))
    if section.bar is not None:
        yield Padding(_bar(section.bar), (0, 0, 0, _INDENT))
    if section.table is not None:
        yield _Fitted(section.table)


def _hanging(line: str, style: str) -> RenderableType:
    """A line that, where it is broken, goes on below its own text."""
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(Text("·", style="dim"), Text(line, style=style))
    return grid


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A table as wide as there is room for: on a narrow terminal columns are left out from the right, so that none is cut off. The words
    of those that hold words stand below; the numbers of the others are in the JSON."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self.table.columns
        count = len(columns)
        while count > 1 and self._needed(count) > options.max_width:
            count -= 1
        yield self._built(count)
        for place, column in enumerate(columns[count:], start=count):
            if column.is_prose:
                for row in self.table.rows:
                    yield Padding(_hanging(f"{row[0]}: {row[place]}", "dim"), (0, 0, 0, _INDENT))

    def _needed(self, num_columns: int) -> int:
        """Columns of text that the first columns take, below which one of words would be a ribbon."""
        arrow = 0 if self.table.marked is None else 3
        shown = self.table.columns[:num_columns]
        cells = zip(*(row[:num_columns] for row in self.table.rows), strict=True)
        widths = (
            min(widest, MIN_PROSE_WIDTH) if column.is_prose else widest
            for column, values in zip(shown, cells, strict=True)
            for widest in [max(len(line) for text in (column.title, *values) for line in text.split("\n"))]
        )
        return arrow + sum(width + 2 for width in widths)

    def _built(self, num_columns: int) -> RichTable:
        """The first columns; a marked row has an arrow, so that it stands out without colour too."""
        table = self.table
        shown = RichTable(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=True,
            padding=(0, 1),
            collapse_padding=True,
            header_style="dim",
        )
        if table.marked is not None:
            shown.add_column("", min_width=1, no_wrap=True)
        for column in table.columns[:num_columns]:
            justify: Literal["left", "right"] = "right" if column.is_number else "left"
            shown.add_column(
                Text(column.title), justify=justify, no_wrap=not column.is_prose, overflow="fold"
            )
        for number, row in enumerate(table.rows):
            is_marked = number == table.marked
            arrow = [] if table.marked is None else [Text("▸" if is_marked else "")]
            shown.add_row(*arrow, *map(Text, row[:num_columns]), style="bold" if is_marked else "")
        return shown


def _bar(bar: Bar) -> RenderableType:
    """The parts as a bar up to the cap; what is beyond the cap stands right of its mark. The legend has the numbers."""
    parts = bar.parts.by_name()
    full = max(bar.cap_bytes, bar.parts.required_bytes)
    cells = Text()
    edges = [0.0]
    for num_bytes in parts.values():
        edges.append(edges[-1] + num_bytes)
    columns = [round(edge / full * BAR_WIDTH) for edge in edges]
    for name, start, end in zip(parts, columns, columns[1:], strict=False):
        cells.append(PARTS[name].character * (end - start), style=PARTS[name].colour)
    cells.append("·" * (BAR_WIDTH - columns[-1]), style="dim")
    cap = round(bar.cap_bytes / full * BAR_WIDTH)
    line = Text.assemble("▕", cells[:cap], "▏", cells[cap:], f" {format_gib(bar.cap_bytes)}")
    return Group(line, *(_legend(bar.parts.shown(), names) for names in _LEGEND))


def _legend(parts: Mapping[str, int], names: tuple[str, ...]) -> Text:
    """What the characters of the bar mean, in one line; a part that is nothing is left out."""
    return Text("  ").join(
        Text.assemble(
            (PARTS[name].character, PARTS[name].colour),
            f" {PARTS[name].title} {describe_bytes(parts[name])}",
        )
        for name in names
        if parts[name]
    )
