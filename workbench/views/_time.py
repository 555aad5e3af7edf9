"""`plot_time`: how long each stage takes, and what bounds it."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench._units import format_seconds
from workbench.cost import Cost
from workbench.search._parts import BOUNDS
from workbench.search._words import describe_device, describe_settings, describe_stage, describe_workload
from workbench.views._style import BLUE, KIND_COLOURS, SOFT, TimeUnit, styled, time_unit


class _TimeInfo(NamedTuple):
    workload: str
    device: str
    settings: str
    basis: str
    stages: tuple[str, ...]
    seconds: tuple[float, ...]
    low_s: tuple[float, ...]
    high_s: tuple[float, ...]
    by_kind_s: dict[str, tuple[float, ...]]
    """Expected seconds of each kind that takes any, one per stage."""
    total_s: float
    unit: TimeUnit


def plot_time(cost: Cost) -> go.Figure:
    """Seconds by stage with their low and high bound, and the share of each stage's time by what bounds it."""
    return _figure(_info(cost))


def _info(cost: Cost) -> _TimeInfo:
    stages = cost.price.stages
    kinds = list(dict.fromkeys(kind for stage in stages for kind in stage.by_kind_s))
    by_kind = {kind: tuple(stage.by_kind_s.get(kind, 0.0) for stage in stages) for kind in kinds}
    return _TimeInfo(
        workload=describe_workload(cost.workload),
        device=describe_device(cost.device),
        settings=describe_settings(cost.settings),
        basis=cost.device.basis,
        stages=tuple(describe_stage(stage.name) for stage in stages),
        seconds=tuple(stage.seconds for stage in stages),
        low_s=tuple(stage.low_s for stage in stages),
        high_s=tuple(stage.high_s for stage in stages),
        by_kind_s={kind: values for kind, values in by_kind.items() if any(values)},
        total_s=cost.total_s,
        unit=time_unit(max(stage.high_s for stage in stages)),
    )


def _figure(info: _TimeInfo) -> go.Figure:
    figure = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        column_widths=[0.5, 0.5],
        horizontal_spacing=0.06,
    )
    unit = info.unit
    # A white label beside the bar's end would meet the error bar, so the label stands right of the high bound.
    figure.add_bar(
        y=info.stages,
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
        customdata=[_range(*row) for row in zip(info.seconds, info.low_s, info.high_s, strict=True)],
        hovertemplate="%{customdata}<extra>%{y}</extra>",
        showlegend=False,
        row=1,
        col=1,
    )
    figure.add_scatter(
        y=info.stages,
        x=[high / unit.seconds for high in info.high_s],
        mode="text",
        text=[f"  {format_seconds(seconds)}" for seconds in info.seconds],
        textposition="middle right",
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=1,
    )
    _add_shares(figure, info)
    figure.update_xaxes(
        title=f"time ({unit.name}), from low to high",
        range=[0, 1.35 * max(info.high_s) / unit.seconds],
        row=1,
        col=1,
    )
    figure.update_xaxes(title="share of the stage's time (%)", range=[0, 100], row=1, col=2)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(barmode="stack", bargap=0.4)
    return styled(
        figure,
        title=f"Time by stage · {info.workload}",
        subtitle=f"{format_seconds(info.total_s)} in all, {info.basis} rates · {info.device}<br>{info.settings}",
        height=270 + 56 * len(info.stages),
    )


def _add_shares(figure: go.Figure, info: _TimeInfo) -> None:
    totals = [sum(values) for values in zip(*info.by_kind_s.values(), strict=True)]
    for kind, values in info.by_kind_s.items():
        title = BOUNDS.get(kind, kind)
        figure.add_bar(
            y=info.stages,
            x=[100 * s / total if total else 0.0 for s, total in zip(values, totals, strict=True)],
            orientation="h",
            name=title,
            marker_color=KIND_COLOURS.get(kind, SOFT),
            customdata=[format_seconds(seconds) for seconds in values],
            hovertemplate=f"{title}: %{{customdata}} (%{{x:.0f}} %)<extra>%{{y}}</extra>",
            row=1,
            col=2,
        )


def _range(seconds: float, low_s: float, high_s: float) -> str:
    return f"{format_seconds(seconds)} (from {format_seconds(low_s)} to {format_seconds(high_s)})"
