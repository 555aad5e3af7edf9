"""`plot_fit`: what each size takes of the limits, and where they are met."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench._units import gib
from workbench.questions import Fit
from workbench.questions._fit_report import BINDS, size_words
from workbench.search._words import describe_device, describe_settings, model_title
from workbench.views._style import FAINT, GREEN, INK, RED, SOFT, TimeUnit, styled, time_unit


class _Point(NamedTuple):
    at: float
    """Frames, or megapixels of a frame."""
    label: str
    least_gib: float
    seconds: float
    state: str
    """`fits`, `no` or `likely not`."""
    text: str


class _FitInfo(NamedTuple):
    title: str
    subtitle: str
    axis: str
    points: tuple[_Point, ...]
    best: int | None
    plan_gib: float | None
    plan_s: float | None
    """Of the plan for the largest clip, which is faster than what leaves the most room."""
    cap_gib: float
    max_seconds: float | None
    unit: TimeUnit


_LOOKS = {
    "fits": ("fits", {"symbol": "circle", "color": GREEN}),
    "no": ("does not, everything tried", {"symbol": "x", "color": RED}),
    "likely not": ("likely does not", {"symbol": "circle-open", "color": RED}),
}


def plot_fit(fit: Fit) -> go.Figure:
    """The sizes that were looked at: what each takes at least, against the limits."""
    return _figure(_info(fit))


def _info(fit: Fit) -> _FitInfo:
    cap = gib(fit.device.memory_bytes)
    points = []
    for rung in fit.ladder:
        cost, workload = rung.candidate.cost, rung.workload
        is_length = fit.maximize == "frames"
        points.append(
            _Point(
                at=float(workload.frames) if is_length else workload.height * workload.width / 1e6,
                label=str(workload.frames) if is_length else f"{workload.height} × {workload.width}",
                least_gib=gib(cost.required_vram_bytes),
                seconds=cost.total_s,
                state="fits" if rung.is_good else "no" if rung.is_sure else "likely not",
                text=f"{size_words(workload, fit.maximize)}<br>{describe_settings(cost.settings)}",
            )
        )
    best = None if fit.workload is None else [rung.workload for rung in fit.ladder].index(fit.workload)
    plan = fit.plan.best.cost if fit.plan is not None and fit.plan.best is not None else None
    first = fit.ladder[0].workload
    asked = "Longest clip" if fit.maximize == "frames" else "Largest size"
    answer = "nothing fits" if fit.workload is None else size_words(fit.workload, fit.maximize)
    return _FitInfo(
        title=f"{asked} · {model_title(first.model)}: {answer}",
        subtitle=f"{describe_device(fit.device)} — {BINDS[fit.binds]} sets the limit<br>"
        "each size with the settings that leave the most room, the largest that fits with its best plan too",
        axis="frames" if fit.maximize == "frames" else "megapixels per frame",
        points=tuple(points),
        best=best,
        plan_gib=None if plan is None else gib(plan.required_vram_bytes),
        plan_s=None if plan is None else plan.total_s,
        cap_gib=cap,
        max_seconds=fit.limits.max_seconds,
        unit=time_unit(max(point.seconds for point in points)),
    )


def _figure(info: _FitInfo) -> go.Figure:
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    unit = info.unit
    values = {
        1: [point.least_gib for point in info.points],
        2: [point.seconds / unit.seconds for point in info.points],
    }
    for row, y in values.items():
        _add_points(figure, info, row, y)
    _add_limit(figure, 1, info.cap_gib, f"cap<br>{info.cap_gib:.2f} GiB")
    if info.max_seconds is not None:
        shown = info.max_seconds / unit.seconds
        _add_limit(figure, 2, shown, f"limit<br>{shown:.4g} {unit.name}")
    _add_plan(figure, info)
    widest = max(point.at for point in info.points)
    figure.update_xaxes(range=[0, 1.08 * widest])
    figure.update_xaxes(title=info.axis, row=2, col=1)
    figure.update_yaxes(
        title="required VRAM (GiB)", range=[0, 1.2 * max(info.cap_gib, *values[1])], row=1, col=1
    )
    slowest = max(*values[2], 0.0 if info.max_seconds is None else info.max_seconds / unit.seconds)
    figure.update_yaxes(title=f"time ({unit.name})", range=[0, 1.2 * slowest], row=2, col=1)
    return styled(figure, title=info.title, subtitle=info.subtitle, height=600)


def _add_points(figure: go.Figure, info: _FitInfo, row: int, y: list[float]) -> None:
    x = [point.at for point in info.points]
    line = {"color": FAINT, "width": 1.5}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False, row=row, col=1)
    for state, (title, marker) in _LOOKS.items():
        chosen = [k for k, point in enumerate(info.points) if point.state == state]
        figure.add_scatter(
            x=[x[k] for k in chosen],
            y=[y[k] for k in chosen],
            mode="markers",
            name=title,
            legendgroup=state,
            showlegend=row == 1 and bool(chosen),
            marker={"size": 11, **marker},
            customdata=[info.points[k].text for k in chosen],
            hovertemplate="%{customdata}<br>%{y:.2f}<extra></extra>",
            row=row,
            col=1,
        )


def _add_limit(figure: go.Figure, row: int, y: float, words: str) -> None:
    figure.add_hline(
        y=y,
        line={"color": SOFT, "width": 2, "dash": "dash"},
        annotation={"text": words, "font": {"color": SOFT}},
        annotation_position="right",
        row=row,
        col=1,
    )


def _add_plan(figure: go.Figure, info: _FitInfo) -> None:
    """The plan for the largest clip, and its size in words."""
    if info.best is None or info.plan_gib is None or info.plan_s is None:
        return
    point = info.points[info.best]
    for row, y in ((1, info.plan_gib), (2, info.plan_s / info.unit.seconds)):
        figure.add_scatter(
            x=[point.at],
            y=[y],
            mode="markers+text" if row == 1 else "markers",
            name="best plan",
            legendgroup="plan",
            showlegend=row == 1,
            marker={"size": 16, "symbol": "star", "color": GREEN, "line": {"width": 1, "color": INK}},
            text=[f"<b>{point.label}</b>  "],
            textposition="top left",
            textfont={"color": INK, "size": 14},
            row=row,
            col=1,
        )
