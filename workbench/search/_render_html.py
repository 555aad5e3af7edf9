"""A report as HTML for a notebook: one element with its own style, nothing fetched, everything escaped.

Colours are mixed from the text colour around it, so that it reads on a light and on a dark page alike.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from workbench._units import format_gib
from workbench.cost import Cost
from workbench.search._parts import PARTS
from workbench.search._report import Bar, Column, Report, Section, Table, cost_report, plan_report, titled
from workbench.search._words import describe_bytes

if TYPE_CHECKING:
    from workbench.search._result import Plan

_STYLE = """
div.wb-report {font-size: 13px; line-height: 1.5; max-width: 1040px; color: inherit;
  --wb-line: color-mix(in srgb, currentColor 18%, transparent);
  --wb-soft: color-mix(in srgb, currentColor 65%, transparent);
  --wb-tint: color-mix(in srgb, currentColor 7%, transparent)}
div.wb-report .wb-title {font-size: 16px; font-weight: 600; margin: 0}
div.wb-report .wb-line {margin: 0; color: var(--wb-soft)}
div.wb-report .wb-verdict {margin: 10px 0 4px; padding: 6px 12px; font-weight: 600; border-left: 4px solid; background: var(--wb-tint)}
div.wb-report .wb-good {border-color: #009E73}
div.wb-report .wb-bad {border-color: #D55E00}
div.wb-report .wb-section {margin: 14px 0 0}
div.wb-report .wb-name {font-weight: 600; margin: 0 0 2px}
div.wb-report summary.wb-name {cursor: pointer; color: var(--wb-soft)}
div.wb-report p.wb-text {margin: 0}
div.wb-report .wb-scroll {overflow-x: auto}
div.wb-report table {border-collapse: collapse; margin: 2px 0 0; border: none; font-size: inherit}
div.wb-report th, .wb-report td {padding: 3px 8px; text-align: left !important; vertical-align: top; border: none; background: none;
  border-bottom: 1px solid var(--wb-line); white-space: normal; max-width: none; color: inherit}
div.wb-report th {font-weight: 400; color: var(--wb-soft); vertical-align: bottom}
div.wb-report td.wb-number, .wb-report th.wb-number {text-align: right !important; white-space: nowrap; font-variant-numeric: tabular-nums}
div.wb-report td.wb-short {white-space: nowrap}
div.wb-report tbody tr, div.wb-report tbody tr:hover {background: none !important}
div.wb-report tr.wb-marked td {font-weight: 600; background: var(--wb-tint)}
div.wb-report .wb-bar {position: relative; display: flex; height: 18px; max-width: 720px; margin: 6px 0 4px; background: var(--wb-tint)}
div.wb-report .wb-cap {position: absolute; top: -3px; bottom: -3px; width: 0; border-left: 2px solid currentColor}
div.wb-report .wb-key {display: inline-block; margin-right: 18px; white-space: nowrap}
div.wb-report .wb-swatch {display: inline-block; width: 10px; height: 10px; margin-right: 6px}
"""


def render_cost(cost: Cost, choice: str = "") -> str:
    """One configuration's cost as a self-contained HTML element.

    Args:
        choice: how the card was chosen, `"a typical 12 GB card"`; empty when the caller named it.
    """
    return render_report(cost_report(cost, choice))


def render_plan(plan: Plan, choice: str = "") -> str:
    """A plan as a self-contained HTML element.

    Args:
        choice: how the card was chosen, `"a typical 12 GB card"`; empty when the caller named it.
    """
    return render_report(plan_report(plan, choice))


def render_report(report: Report) -> str:
    """A report as a self-contained HTML element."""
    title, *others = titled(report)
    lines = "".join(f'<p class="wb-line">{escape(line)}</p>' for line in others)
    verdict = ""
    if report.verdict:
        tone, mark = ("wb-good", "✔") if report.is_good else ("wb-bad", "✘")
        verdict = f'<p class="wb-verdict {tone}">{mark} {escape(report.verdict)}</p>'
    sections = "".join(_section(section) for section in report.sections)
    head = f'<p class="wb-title">{escape(title)}</p>{lines}{verdict}'
    return f'<div class="wb-report"><style>{_STYLE}</style>{head}{sections}</div>'


def _section(section: Section) -> str:
    content = "".join(f'<p class="wb-text">{escape(line)}</p>' for line in section.lines)
    if section.bar is not None:
        content += _bar(section.bar)
    if section.table is not None:
        content += _table(section.table)
    name = escape(section.title)
    if section.is_quiet:
        return f'<details class="wb-section"><summary class="wb-name">{name}</summary>{content}</details>'
    return f'<div class="wb-section"><p class="wb-name">{name}</p>{content}</div>'


def _table(table: Table) -> str:
    classes = [_column_class(column) for column in table.columns]
    titles = [column.title for column in table.columns]
    head = "".join(f"<th{kind}>{_lines(title)}</th>" for kind, title in zip(classes, titles, strict=True))
    rows = ""
    for number, row in enumerate(table.rows):
        cells = "".join(f"<td{kind}>{_lines(cell)}</td>" for kind, cell in zip(classes, row, strict=True))
        marked = ' class="wb-marked"' if number == table.marked else ""
        rows += f"<tr{marked}>{cells}</tr>"
    return f'<div class="wb-scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _column_class(column: Column) -> str:
    if column.is_number:
        return ' class="wb-number"'
    return ' class="wb-short"' if column.is_short else ""


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _bar(bar: Bar) -> str:
    parts, shown = bar.parts.by_name(), bar.parts.shown()
    full = max(bar.cap_bytes, bar.parts.required_bytes)
    cells = keys = ""
    for name, num_bytes in parts.items():
        if not num_bytes:
            continue
        style = PARTS[name]
        label = f"{style.title} {describe_bytes(shown[name])}"
        cells += f'<span title="{escape(label)}" style="width:{100 * num_bytes / full:.2f}%;background:{style.colour}"></span>'
        keys += f'<span class="wb-key"><span class="wb-swatch" style="background:{style.colour}"></span>{escape(label)}</span>'
    cap = f'<span class="wb-cap" style="left:{100 * bar.cap_bytes / full:.2f}%" title="cap {format_gib(bar.cap_bytes)}"></span>'
    return f'<div class="wb-bar">{cells}{cap}</div><div>{keys}</div>'
