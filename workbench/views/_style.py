"""How every figure looks: font, grid, colours, and the unit that a time is shown in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

# Okabe and Ito's palette (2008), which colour-blind people tell apart. The memory parts' colours are in search/_parts.py.
GREEN = "#009E73"
RED = "#D55E00"
SKY = "#56B4E9"
BLUE = "#0072B2"
INK = "#2b2b2b"
SOFT = "#6f6f6f"
GRID = "#e6e6e6"
FAINT = "#c4c4c4"

KIND_COLOURS = {
    "matmul": BLUE,
    "attention": SKY,
    "conv": GREEN,
    "memory": "#E69F00",
    "launch": "#F0E442",
    "transfer": "#CC79A7",
}
"""What bounds the time, as `StageCost.by_kind_s` names it."""


class TimeUnit(NamedTuple):
    """The unit of a time axis."""

    name: str
    seconds: float


def time_unit(largest_s: float) -> TimeUnit:
    """Seconds up to two minutes, minutes up to two hours, then hours: the numbers on the axis stay small."""
    if largest_s < 120:
        return TimeUnit("s", 1.0)
    return TimeUnit("min", 60.0) if largest_s < 7200 else TimeUnit("h", 3600.0)


def add_totals(
    figure: go.Figure, stages: Sequence[str], totals_gib: Sequence[float], colour: str | Sequence[str]
) -> None:
    """Writes each stage's total in GiB above its bar. Text of its own: a label of the topmost part would vanish where that is thin."""
    figure.add_scatter(
        x=stages,
        y=totals_gib,
        mode="text",
        text=[f"<b>{total:.2f}</b>" for total in totals_gib],
        textposition="top center",
        textfont={"size": 14, "color": colour},
        hoverinfo="skip",
        showlegend=False,
    )


def styled(figure: go.Figure, *, title: str, subtitle: str, height: int) -> go.Figure:
    """The figure with the house's fonts, grid, title and legend.

    Args:
        subtitle: one or two lines (`<br>`) below the title, in a low voice.
        height: pixels; the width follows the page.
    """
    figure.update_layout(
        template="plotly_white",
        title={
            "text": f"<b>{title}</b>",
            "subtitle": {"text": subtitle, "font": {"color": SOFT, "size": 12.5}},
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "pad": {"l": 16, "t": 16},
        },
        font={"family": "Inter, Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        height=height,
        margin={"l": 72, "r": 88, "t": 116 if "<br>" in subtitle else 98, "b": 56},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.0,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        hoverlabel={"align": "left", "bgcolor": "white"},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    axis = {
        "gridcolor": GRID,
        "zerolinecolor": GRID,
        "linecolor": FAINT,
        "title_font": {"color": SOFT, "size": 13},
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure
