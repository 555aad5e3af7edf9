"""The figure: predicted over published seconds of each scored row, as an SVG that needs no browser to be made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from workbench._files import replacing

COLOURS = (
    ("a100", "#0072B2", "A100"),
    ("h100", "#D55E00", "H100"),
    ("h20", "#E69F00", "H20, H200"),
    ("b200", "#CC79A7", "B200"),
    ("l", "#009E73", "L20, L40, L40S"),
    ("rtx", "#56B4E9", "RTX"),
)
"""How a card's name starts -> its colour (Okabe and Ito's palette) and its words."""
WIDTH, HEIGHT = 920, 640
LEFT, RIGHT, TOP, BOTTOM = 74, 30, 108, 60
LEAST, MOST = 10.0, 10_000.0
TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
BAND = 0.2


def write_figure(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws every line that has a prediction."""
    rated = [line for line in lines if "error" in line]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="Helvetica, Arial, sans-serif">'
    parts = [*_frame(), *map(_point, rated), *_legend()]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([head, *parts, "</svg>", ""]), encoding="utf-8")


def _share(seconds: float) -> float:
    return math.log(seconds / LEAST) / math.log(MOST / LEAST)


def _x(seconds: float) -> float:
    return LEFT + _share(seconds) * (WIDTH - LEFT - RIGHT)


def _y(seconds: float) -> float:
    return HEIGHT - BOTTOM - _share(seconds) * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#2b2b2b" {more}>{escape(text)}</text>'


def _frame() -> list[str]:
    """Title, axes, the line of equal times and the band around it."""
    least, most = 1 - BAND, 1 + BAND
    corners = [
        (LEAST, LEAST * most),
        (MOST / most, MOST),
        (MOST, MOST),
        (MOST, MOST * least),
        (LEAST / least, LEAST),
        (LEAST, LEAST),
    ]
    band = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in corners)
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(16, 28, "Predicted against published time", size=17, more='font-weight="bold"'),
        _text(
            16,
            48,
            "filled: held out; hollow: rows that may be fitted; square: compiled; the band is 20 % to either side",
        ),
        f'<polygon points="{band}" fill="#e6f2ec"/>',
    ]
    for tick in TICKS:
        x, y = _x(tick), _y(tick)
        parts += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eeeeee"/>',
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eeeeee"/>',
            _text(x, HEIGHT - BOTTOM + 18, f"{tick:,}", anchor="middle"),
            _text(LEFT - 8, y + 4, f"{tick:,}", anchor="end"),
        ]
    parts += [
        f'<line x1="{_x(LEAST)}" y1="{_y(LEAST)}" x2="{_x(MOST)}" y2="{_y(MOST)}" stroke="#6f6f6f"/>',
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "published, seconds", anchor="middle"),
        _text(LEFT, TOP - 10, "predicted, seconds", size=11),
    ]
    return parts


def _colour(card: str) -> str:
    return next((colour for start, colour, _ in COLOURS if card.startswith(start)), "#999999")


def _point(line: Mapping[str, Any]) -> str:
    colour, x, y = _colour(line["card"]), _x(line["published_s"]), _y(line["predicted_s"])
    fill = "white" if line["split"] == "fitted" else colour
    style = f'fill="{fill}" fill-opacity="0.75" stroke="{colour}" stroke-width="1.5"'
    about = f"{line['id']} {line['model']} on {line['card']}: published {line['published_s']} s, predicted {line['predicted_s']} s"
    title = f"<title>{escape(about)}</title>"
    if line["compiled"]:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" {style}>{title}</rect>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {style}>{title}</circle>'


def _legend() -> list[str]:
    parts = []
    for k, (_, colour, words) in enumerate(COLOURS):
        x = 20 + k * 130
        parts += [f'<circle cx="{x}" cy="68" r="4.5" fill="{colour}"/>', _text(x + 10, 72, words)]
    return parts
