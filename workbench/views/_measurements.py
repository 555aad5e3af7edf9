"""`plot_measured`: what was predicted and what was measured, stage by stage, and what it does to the clip."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench._units import GIB, MIB
from workbench.measurement import Measured, Measurements
from workbench.search._words import describe_settings, describe_stage, model_title
from workbench.views._style import BLUE, GREEN, INK, RED, SKY, SOFT, TimeUnit, styled, time_unit

_QUALITY = (("psnr_db", "PSNR (dB)"), ("ssim", "SSIM"), ("temporal_error", "temporal error"))
_STAGE_COLOURS = (BLUE, SKY, GREEN, RED, SOFT)


class _Stage(NamedTuple):
    name: str
    predicted: tuple[float | None, ...]
    """One per configuration, in the unit of the axis; None where there is no such number."""
    measured: tuple[float | None, ...]


class _MeasuredInfo(NamedTuple):
    title: str
    names: tuple[str, ...]
    settings: tuple[str, ...]
    status: tuple[str, ...]
    unit: TimeUnit
    time: tuple[_Stage, ...]
    total_low: tuple[float | None, ...]
    """Lowest and highest of a configuration's calls."""
    total: tuple[float | None, ...]
    total_high: tuple[float | None, ...]
    memory_unit: str
    memory: tuple[_Stage, ...]
    quality: dict[str, tuple[float | None, ...]]
    """Figures by the title of their axis; None where there is none; the PSNR of equal clips is infinite."""


def plot_measured(found: Measurements) -> go.Figure:
    """Time and memory of each configuration by stage, predicted (pale) beside measured (full), and its quality against the baseline.

    Whiskers are the lowest and the highest of a configuration's calls.
    """
    return _figure(_info(found))


def _info(found: Measurements) -> _MeasuredInfo:
    every = tuple(found)
    stages = tuple(dict.fromkeys(stage.name for one in every for stage in one.stages))
    seconds = [stage.predicted_s for one in every for stage in one.stages]
    totals = [one.total_s.high for one in every if one.total_s is not None]
    longest = max([*totals, *(value for value in seconds if value is not None)], default=1.0)
    unit = time_unit(longest)
    peaks = [stage.measured_bytes or stage.predicted_bytes or 0 for one in every for stage in one.stages]
    small = max(peaks, default=0) < GIB / 20
    scale = MIB if small else GIB
    quality = {title: _quality_of(key, every) for key, title in _QUALITY}
    return _MeasuredInfo(
        title=model_title(str(found.workload["model"])),
        names=tuple(one.name for one in every),
        settings=tuple(describe_settings(one.settings) for one in every),
        status=tuple(one.status for one in every),
        unit=unit,
        time=tuple(_time_of(name, every, unit.seconds) for name in stages),
        total_low=tuple(None if one.total_s is None else one.total_s.low / unit.seconds for one in every),
        total=tuple(None if one.total_s is None else one.total_s.median / unit.seconds for one in every),
        total_high=tuple(None if one.total_s is None else one.total_s.high / unit.seconds for one in every),
        memory_unit="MiB" if small else "GiB",
        memory=tuple(_memory_of(name, every, scale) for name in stages),
        quality={title: figures for title, figures in quality.items() if any(v is not None for v in figures)},
    )


def _time_of(name: str, every: tuple[Measured, ...], scale: float) -> _Stage:
    at = [next((stage for stage in one.stages if stage.name == name), None) for one in every]
    return _Stage(
        name=describe_stage(name),
        predicted=tuple(
            None if stage is None or stage.predicted_s is None else stage.predicted_s / scale for stage in at
        ),
        measured=tuple(
            None if stage is None or stage.seconds is None else stage.seconds.median / scale for stage in at
        ),
    )


def _memory_of(name: str, every: tuple[Measured, ...], scale: float) -> _Stage:
    at = [next((stage for stage in one.stages if stage.name == name), None) for one in every]
    return _Stage(
        name=describe_stage(name),
        predicted=tuple(
            None if stage is None or stage.predicted_bytes is None else stage.predicted_bytes / scale
            for stage in at
        ),
        measured=tuple(
            None if stage is None or stage.measured_bytes is None else stage.measured_bytes / scale
            for stage in at
        ),
    )


def _quality_of(key: str, every: tuple[Measured, ...]) -> tuple[float | None, ...]:
    return tuple(None if one.quality is None else one.quality[key] for one in every)


def _figure(info: _MeasuredInfo) -> go.Figure:
    figure = make_subplots(
        rows=1,
        cols=2 + len(info.quality),
        column_widths=[0.4, 0.3, *[0.3 / len(info.quality)] * len(info.quality)]
        if info.quality
        else [0.55, 0.45],
        shared_yaxes=True,
        horizontal_spacing=0.04,
    )
    _add_stages(figure, info, info.time, 1, info.unit.name, stacked=True)
    _add_whiskers(figure, info)
    _add_stages(figure, info, info.memory, 2, info.memory_unit, stacked=False)
    figure.update_xaxes(title=f"time ({info.unit.name})", rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title=f"memory ({info.memory_unit})", rangemode="tozero", row=1, col=2)
    for column, (title, values) in enumerate(info.quality.items(), start=3):
        _add_quality(figure, info, title, values, column)
    figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
    figure.update_layout(barmode="relative", bargap=0.35)
    return styled(
        figure,
        title=f"Measured: {info.title}",
        subtitle="by stage, predicted (pale) and measured (full); whiskers: lowest to highest call; quality against the baseline",
        height=240 + 64 * len(info.names),
    )


def _add_stages(
    figure: go.Figure,
    info: _MeasuredInfo,
    stages: tuple[_Stage, ...],
    column: int,
    unit: str,
    *,
    stacked: bool,
) -> None:
    """A pale bar of what was predicted above a full one of what was measured, for each configuration.

    Args:
        stacked: times add up; peaks of memory do not, so each stage has bars of its own.
    """
    for position, stage in enumerate(stages):
        colour = _STAGE_COLOURS[position % len(_STAGE_COLOURS)]
        for group, values, opacity in (
            ("predicted", stage.predicted, 0.4),
            ("measured", stage.measured, 1.0),
        ):
            if all(value is None for value in values):
                continue
            figure.add_bar(
                y=info.names,
                x=values,
                orientation="h",
                name=stage.name,
                legendgroup=stage.name,
                showlegend=column == 1 and group == "measured",
                marker_color=colour,
                opacity=opacity,
                offsetgroup=group if stacked else f"{stage.name} {group}",
                alignmentgroup=f"column {column}",
                customdata=list(zip(info.settings, info.status, strict=True)),
                hovertemplate=f"{stage.name}, {group}: %{{x:.3g}} {unit}<br>%{{customdata[0]}}"
                "<br>%{customdata[1]}<extra>%{y}</extra>",
                row=1,
                col=column,
            )


def _add_whiskers(figure: go.Figure, info: _MeasuredInfo) -> None:
    """Lowest to highest call, at the end of what was measured."""
    shown = [k for k, total in enumerate(info.total) if total is not None]
    if not shown:
        return
    total = [info.total[k] or 0.0 for k in shown]
    figure.add_scatter(
        y=[info.names[k] for k in shown],
        x=total,
        mode="markers",
        marker={"symbol": "line-ns", "size": 10, "line": {"width": 2, "color": INK}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [(info.total_high[k] or 0.0) - x for k, x in zip(shown, total, strict=True)],
            "arrayminus": [x - (info.total_low[k] or 0.0) for k, x in zip(shown, total, strict=True)],
            "color": INK,
            "thickness": 1.5,
        },
        hovertemplate=f"median %{{x:.3g}} {info.unit.name}<extra>%{{y}}</extra>",
        showlegend=False,
        row=1,
        col=1,
    )


def _add_quality(
    figure: go.Figure, info: _MeasuredInfo, title: str, values: tuple[float | None, ...], column: int
) -> None:
    """Bars, and words where a bar cannot be: equal clips have an infinite PSNR."""
    finite = [None if value is None or value == float("inf") else value for value in values]
    figure.add_bar(
        y=info.names,
        x=finite,
        orientation="h",
        marker_color=SOFT,
        text=["" if value is None else f"{value:.4g}" for value in finite],
        textposition="outside",
        cliponaxis=False,
        hovertemplate=f"{title} %{{x:.4g}}<extra>%{{y}}</extra>",
        showlegend=False,
        row=1,
        col=column,
    )
    equal = [name for name, value in zip(info.names, values, strict=True) if value == float("inf")]
    if equal:
        figure.add_scatter(
            y=equal,
            x=[0] * len(equal),
            mode="text",
            text=["  equal"] * len(equal),
            textposition="middle right",
            hoverinfo="skip",
            showlegend=False,
            row=1,
            col=column,
        )
    most = max([value for value in finite if value is not None], default=0) or 1
    figure.update_xaxes(title=title, range=[0, 1.5 * most], row=1, col=column)
