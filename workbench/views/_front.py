"""`plot_front`: what is given up for speed, and how much memory each choice needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench._units import format_gib, format_seconds, gib
from workbench.search import Candidate, Plan
from workbench.search._words import (
    SEPARATOR,
    describe_device,
    describe_quality,
    describe_settings,
    describe_stage,
    describe_workload,
)
from workbench.views._style import BLUE, FAINT, GREEN, INK, RED, SOFT, TimeUnit, styled, time_unit

if TYPE_CHECKING:
    import optuna

_WORDS_PER_LINE = 4


_LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "exact": ("same output", {"symbol": "circle", "color": BLUE}),
    "known": ("known loss", {"symbol": "diamond", "color": BLUE}),
    "unknown": ("some effects unknown", {"symbol": "circle-open", "color": BLUE, "line": {"width": 2.5}}),
}
"""By what is known of the effect: the legend's words and the marker."""


class _Point(NamedTuple):
    seconds: float
    required_gib: float
    caution: int
    effect: str
    """`exact`, `known` or `unknown`."""
    text: str
    """All of it in words, for the hover."""


class _FrontInfo(NamedTuple):
    workload: str
    device: str
    points: tuple[_Point, ...]
    """The front, fastest first; the nearest miss alone when nothing fits."""
    best: int | None
    """Which of `points` is the best; None when nothing fits."""
    others: tuple[tuple[float, float, float], ...]
    """(seconds, required GiB, caution) of everything else that the study tried."""
    cap_gib: float
    unit: TimeUnit


def plot_front(plan: Plan) -> go.Figure:
    """The Pareto front of time and caution, with the memory that each configuration needs against the cap."""
    return _figure(_info(plan))


def _info(plan: Plan) -> _FrontInfo:
    extra = plan.best if plan.best is not None else plan.nearest_miss
    shown = plan.front if extra is None or extra in plan.front else (*plan.front, extra)
    best = None if plan.best is None else shown.index(plan.best)
    points = tuple(_point(candidate) for candidate in shown)
    taken = {(point.seconds, float(point.caution)) for point in points}
    others = {
        point for trial in plan.study.trials if (point := _other(trial)) and (point[0], point[2]) not in taken
    }
    return _FrontInfo(
        workload=describe_workload(plan.workload),
        device=describe_device(plan.device),
        points=points,
        best=best,
        others=tuple(sorted(others)),
        cap_gib=gib(plan.device.memory_bytes),
        unit=time_unit(max(point.seconds for point in points)),
    )


def _point(candidate: Candidate) -> _Point:
    cost, quality = candidate.cost, candidate.cost.quality
    words = describe_settings(cost.settings).split(SEPARATOR)
    lines = [SEPARATOR.join(words[k : k + _WORDS_PER_LINE]) for k in range(0, len(words), _WORDS_PER_LINE)]
    numbers = (
        f"{format_seconds(cost.total_s)}, {format_gib(cost.required_vram_bytes)} VRAM, "
        f"{format_gib(cost.host_ram_bytes)} host RAM, peak in {describe_stage(cost.price.peak_stage)}"
    )
    return _Point(
        seconds=cost.total_s,
        required_gib=gib(cost.required_vram_bytes),
        caution=candidate.caution,
        effect="exact" if quality.is_exact else "unknown" if quality.unknown else "known",
        text="<br>".join(
            [f"<b>{lines[0]}</b>", *(f"<b>{line}</b>" for line in lines[1:]), numbers, describe_quality(cost)]
        ),
    )


def _other(trial: optuna.trial.FrozenTrial) -> tuple[float, float, float] | None:
    """A finished trial's numbers; None for one whose techniques conflict, which has no memory."""
    required = trial.user_attrs.get("required_vram_gib")
    if required is None or trial.values is None:
        return None
    return (trial.values[0], float(required), trial.values[1])


def _figure(info: _FrontInfo) -> go.Figure:
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.5, 0.5])
    _add_others(figure, info)
    _add_front(figure, info)
    colour = RED if info.best is None else GREEN
    figure.add_hline(
        y=info.cap_gib,
        line={"color": colour, "width": 2, "dash": "dash"},
        annotation={"text": f"cap<br>{info.cap_gib:.2f} GiB", "font": {"color": colour}},
        annotation_position="right",
        row=2,
        col=1,
    )
    figure.update_xaxes(range=_time_range(info))
    figure.update_xaxes(title=f"expected time ({info.unit.name})", row=2, col=1)
    highest = max(point.caution for point in info.points)
    figure.update_yaxes(
        title="caution (0: same output)",
        range=[-0.08 * max(highest, 4), 1.15 * max(highest, 4)],
        row=1,
        col=1,
    )
    most = max(info.cap_gib, *(point.required_gib for point in info.points))
    figure.update_yaxes(title="required VRAM (GiB)", range=[0, 1.2 * most], row=2, col=1)
    words = (
        "what is given up for speed" if info.best is not None else "nothing fits, this is the nearest miss"
    )
    return styled(figure, title=f"Front · {info.workload}", subtitle=f"{info.device} — {words}", height=640)


def _time_range(info: _FrontInfo) -> tuple[float, float]:
    """The front's own range with room for a label: what the study tried in vain may be hours slower."""
    times = [point.seconds / info.unit.seconds for point in info.points]
    span = max(times) - min(times) or min(times)
    return (max(0.0, min(times) - 0.15 * span), max(times) + 0.3 * span)


def _add_others(figure: go.Figure, info: _FrontInfo) -> None:
    seconds = [point[0] / info.unit.seconds for point in info.others]
    for row, column in ((1, 2), (2, 1)):
        figure.add_scatter(
            x=seconds,
            y=[point[column] for point in info.others],
            mode="markers",
            name="also tried",
            legendgroup="others",
            showlegend=row == 1 and bool(info.others),
            marker={"size": 6, "color": FAINT},
            hoverinfo="skip",
            row=row,
            col=1,
        )


def _add_front(figure: go.Figure, info: _FrontInfo) -> None:
    x = [point.seconds / info.unit.seconds for point in info.points]
    values: dict[int, list[float]] = {
        1: [point.caution for point in info.points],
        2: [point.required_gib for point in info.points],
    }
    for row, y in values.items():
        if row == 1:  # a staircase: between two points of a front there is nothing better than their corner
            line = {"color": SOFT, "width": 1, "shape": "hv"}
            figure.add_scatter(
                x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False, row=1, col=1
            )
        for effect, (title, marker) in _LOOKS.items():
            chosen = [k for k, point in enumerate(info.points) if point.effect == effect]
            figure.add_scatter(
                x=[x[k] for k in chosen],
                y=[y[k] for k in chosen],
                mode="markers",
                name=title if info.best is not None else f"nearest miss, {title}",
                legendgroup=effect,
                showlegend=row == 1 and bool(chosen),
                marker={"size": 12, **marker},
                customdata=[info.points[k].text for k in chosen],
                hovertemplate="%{customdata}<extra></extra>",
                row=row,
                col=1,
            )
        if info.best is not None:
            _add_best(figure, x[info.best], y[info.best], row, info.points[info.best].seconds)


def _add_best(figure: go.Figure, x: float, y: float, row: int, seconds: float) -> None:
    figure.add_scatter(
        x=[x],
        y=[y],
        mode="markers+text" if row == 1 else "markers",
        name="best",
        legendgroup="best",
        showlegend=row == 1,
        marker={"size": 22, "symbol": "circle-open", "color": GREEN, "line": {"width": 3}},
        text=[f"<b>best</b>, {format_seconds(seconds)}"],
        textposition="top right",
        textfont={"color": INK},
        hoverinfo="skip",
        row=row,
        col=1,
    )
