"""The figure: how much of the exact front each search has, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from writing import SEARCHES

from workbench._files import replacing

COLOURS = {"study": "#0072B2", "blind": "#E69F00", "random": "#8C8C8C"}
"""Of Okabe and Ito's palette (2008), which colour-blind people tell apart."""
LEFT, WIDTH, LINE, TOP = 260, 760, 22, 64


def write_figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A dot for each seed on a line for each model and cap; the axis is the part of the exact hypervolume."""
    height = TOP + LINE * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="12" '
        'font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<text x="10" y="20" font-size="14">Part of the exact front that each search has after its trials</text>',
    ]
    for number, (name, title) in enumerate(SEARCHES.items()):
        x = LEFT + 150 * number
        parts.append(
            f'<circle cx="{x}" cy="40" r="4" fill="{COLOURS[name]}"/><text x="{x + 9}" y="44">{title}</text>'
        )
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _x(tick)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{height - 24}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{x}" y="{height - 8}" text-anchor="middle">{tick:g}</text>')
    for number, row in enumerate(rows):
        y = TOP + LINE * number + 8
        parts.append(f'<text x="10" y="{y + 4}">{escape(row["model"])}, {row["cap_gib"]:g} GiB</text>')
        for name in reversed(SEARCHES):
            for seed in row["seeds"]:
                x = _x(min(1.0, seed[f"{name}_hypervolume"]))
                parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{COLOURS[name]}" fill-opacity="0.8"/>')
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def _x(value: float) -> float:
    return round(LEFT + (WIDTH - LEFT - 20) * value, 1)
