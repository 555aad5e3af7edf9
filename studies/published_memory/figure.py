"""The figure: each scored row's error over the published figure, as an SVG that needs no browser to be made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from workbench._files import replacing

COLOURS = {"allocated": "#0072B2", "reserved": "#009E73", "device": "#E69F00", "unstated": "#CC79A7"}
"""Okabe and Ito's palette."""
WIDTH, HEIGHT = 920, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 92, 60
LOWEST, HIGHEST = 2.5, 100.0
REACH = 0.4
"""Errors beyond are drawn at the edge."""
WITHIN = 0.04


def write_figure(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws every line that has an error."""
    scored = [line for line in lines if line.get("error") is not None]
    parts = [_frame(), *(_point(line) for line in scored), _legend(scored)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="Helvetica, Arial, sans-serif">'
    with replacing(path) as temporary:
        temporary.write_text("\n".join([head, *parts, "</svg>", ""]), encoding="utf-8")


def _x(value: float) -> float:
    share = math.log(value / LOWEST) / math.log(HIGHEST / LOWEST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(error: float) -> float:
    clipped = max(-REACH, min(REACH, error))
    return TOP + (REACH - clipped) / (2 * REACH) * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#2b2b2b" {more}>{escape(text)}</text>'


def _frame() -> str:
    """Title, axes and the band of 4 %."""
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(16, 28, "Predicted against published memory", size=17, more='font-weight="bold"'),
        _text(
            16,
            48,
            "filled: same code and configuration; hollow: known to differ; the band is 4 % to either side; beyond 40 % at the edge",
            size=12,
        ),
        f'<rect x="{LEFT}" y="{_y(WITHIN):.1f}" width="{WIDTH - LEFT - RIGHT}" height="{_y(-WITHIN) - _y(WITHIN):.1f}" fill="#e6f2ec"/>',
    ]
    for error in (-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4):
        y, colour = _y(error), "#e6e6e6" if error else "#6f6f6f"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{error:+.0%}" if error else "0", anchor="end"))
    for size in (3, 4, 6, 8, 12, 16, 24, 32, 48, 80):
        parts.append(_text(_x(size), HEIGHT - BOTTOM + 18, str(size), anchor="middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "published, GiB", anchor="middle"))
    parts.append(_text(LEFT, TOP - 8, "predicted beyond published", size=11))
    return "\n".join(parts)


def _point(line: Mapping[str, Any]) -> str:
    bounds = [value for value in (line["low"], line["high"]) if value is not None]
    published, error = sum(bounds) / len(bounds), float(line["error"])
    colour = COLOURS[line["metric"]]
    fill = colour if line["matched"] else "white"
    about = f"{line['id']} {line['model']}: published {line['published']} ({line['metric']}), "
    about += f"predicted {line['allocated']} allocated, {line['reserved']} reserved"
    style = f'fill="{fill}" fill-opacity="0.75" stroke="{colour}" stroke-width="1.5"'
    x, y = _x(published), _y(error)
    mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {style}><title>{escape(about)}</title></circle>'
    if abs(error) > WITHIN:
        mark += _text(x + 7, y + 4, str(line["id"]), size=9)
    return mark


def _legend(scored: Sequence[Mapping[str, Any]]) -> str:
    parts, x = [], 16.0
    for metric, colour in COLOURS.items():
        count = sum(line["metric"] == metric for line in scored)
        if count:
            parts.append(f'<circle cx="{x + 5:.1f}" cy="66" r="4.5" fill="{colour}"/>')
            parts.append(_text(x + 14, 70, f"{metric} ({count})"))
            x += 130
    return "\n".join(parts)
