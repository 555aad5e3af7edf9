"""`plot_compare`: several configurations side by side: memory, time and host RAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench._errors import InputError
from workbench._units import format_seconds, gib
from workbench.cost import Cost
from workbench.search._parts import PARTS, peak_parts
from workbench.search._words import describe_quality, describe_settings
from workbench.views._style import BLUE, INK, RED, SOFT, TimeUnit, styled, time_unit


class _CompareInfo(NamedTuple):
    names: tuple[str, ...]
    settings: tuple[str, ...]
    quality: tuple[str, ...]
    parts_gib: dict[str, tuple[float, ...]]
    """GiB of each part of `PARTS` at the peak, one per configuration."""
    required_gib: tuple[float, ...]
    cap_gib: tuple[float, ...]
    seconds: tuple[float, ...]
    low_s: tuple[float, ...]
    high_s: tuple[float, ...]
    ram_gib: tuple[float, ...]
    unit: TimeUnit


def plot_compare(costs: Mapping[str, Cost]) -> go.Figure:
    """Several costs side by side, in the order given.

    Args:
        costs: each under the name that it is shown by.

    Raises:
        InputError: there is nothing to compare.
    """
    if not costs:
        raise InputError("plot_compare needs at least one cost, got none")
    return _figure(_info(costs))


def _info(costs: Mapping[str, Cost]) -> _CompareInfo:
    values = tuple(costs.values())
    parts = [peak_parts(cost).by_name() for cost in values]
    return _CompareInfo(
        names=tuple(costs),
        settings=tuple(describe_settings(cost.settings) for cost in values),
        quality=tuple(describe_quality(cost) for cost in values),
        parts_gib={name: tuple(gib(part[name]) for part in parts) for name in PARTS},
        required_gib=tuple(gib(cost.required_vram_bytes) for cost in values),
        cap_gib=tuple(gib(cost.device.memory_bytes) for cost in values),
        seconds=tuple(cost.total_s for cost in values),
        low_s=tuple(cost.price.seconds[1] for cost in values),
        high_s=tuple(cost.price.seconds[2] for cost in values),
        ram_gib=tuple(gib(cost.host_ram_bytes) for cost in values),
        unit=time_unit(max(cost.price.seconds[2] for cost in values)),
    )


def _figure(info: _CompareInfo) -> go.Figure:
    figure = make_subplots(
        rows=1, cols=3, shared_yaxes=True, column_widths=[0.46, 0.32, 0.22], horizontal_spacing=0.035
    )
    _add_memory(figure, info)
    _add_time(figure, info)
    figure.add_bar(
        y=info.names,
        x=info.ram_gib,
        orientation="h",
        marker_color=SOFT,
        text=[f"{value:.1f}" for value in info.ram_gib],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{x:.2f} GiB host RAM<extra>%{y}</extra>",
        showlegend=False,
        row=1,
        col=3,
    )
    figure.update_xaxes(title="host RAM (GiB)", range=[0, 1.25 * max(info.ram_gib)], row=1, col=3)
    figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
    figure.update_layout(barmode="stack", bargap=0.45)
    return styled(
        figure,
        title="Comparison",
        subtitle="required VRAM against each card's cap, expected time with its low and high, host RAM",
        height=230 + 54 * len(info.names),
    )


def _add_memory(figure: go.Figure, info: _CompareInfo) -> None:
    words = [
        f"{settings}<br>{quality}" for settings, quality in zip(info.settings, info.quality, strict=True)
    ]
    for name, values in info.parts_gib.items():
        if not any(values):  # no desktop on a data-centre card: nothing to show, and no legend for it
            continue
        style = PARTS[name]
        figure.add_bar(
            y=info.names,
            x=values,
            orientation="h",
            name=style.title,
            marker_color=style.colour,
            customdata=words,
            hovertemplate=f"{style.title}: %{{x:.2f}} GiB<br>%{{customdata}}<extra>%{{y}}</extra>",
            row=1,
            col=1,
        )
    over = [needed > cap for needed, cap in zip(info.required_gib, info.cap_gib, strict=True)]
    figure.add_scatter(
        y=info.names,
        x=info.cap_gib,
        mode="markers",
        name="cap",
        marker={
            "symbol": "line-ns",
            "size": 30,
            "line": {"width": 3, "color": INK},
        },
        hovertemplate="cap %{x:.2f} GiB<extra>%{y}</extra>",
        row=1,
        col=1,
    )
    figure.add_scatter(
        y=info.names,
        x=[max(pair) for pair in zip(info.required_gib, info.cap_gib, strict=True)],
        mode="text",
        text=[f"   <b>{needed:.2f}</b>" for needed in info.required_gib],
        textposition="middle right",
        textfont={"color": [RED if is_over else INK for is_over in over]},
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=1,
    )
    most = max(*info.required_gib, *info.cap_gib)
    figure.update_xaxes(title="required VRAM (GiB)", range=[0, 1.2 * most], row=1, col=1)


def _add_time(figure: go.Figure, info: _CompareInfo) -> None:
    unit = info.unit
    figure.add_bar(
        y=info.names,
        x=[seconds / unit.seconds for seconds in info.seconds],
        orientation="h",
        marker_color=BLUE,
        opacity=0.85,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [(high - s) / unit.seconds for high, s in zip(info.high_s, info.seconds, strict=True)],
            "arrayminus": [(s - low) / unit.seconds for low, s in zip(info.low_s, info.seconds, strict=True)],
            "color": SOFT,
            "thickness": 1.5,
        },
        hovertemplate=f"%{{x:.2f}} {unit.name}<extra>%{{y}}</extra>",
        showlegend=False,
        row=1,
        col=2,
    )
    figure.add_scatter(
        y=info.names,
        x=[high / unit.seconds for high in info.high_s],
        mode="text",
        text=[f"  {format_seconds(seconds)}" for seconds in info.seconds],
        textposition="middle right",
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=2,
    )
    figure.update_xaxes(
        title=f"time ({unit.name})", range=[0, 1.45 * max(info.high_s) / unit.seconds], row=1, col=2
    )
