"""`plot_shadow_prices`: the best time under every memory cap, and what the memory to the next step buys."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go

from workbench._errors import InputError
from workbench._units import format_seconds, gib
from workbench.questions._shadow_prices import ShadowPrices
from workbench.questions._shadow_prices_report import buys
from workbench.search._words import SEPARATOR, describe_device, describe_settings, describe_workload
from workbench.views._style import BLUE, GREEN, GRID, INK, SOFT, TimeUnit, styled, time_unit

_LABELLED = 8
"""Steps that have a label of their own; of a longer curve those with the largest gain."""


class _Step(NamedTuple):
    from_gib: float
    seconds: float
    label: str
    """What the step buys."""
    text: str
    """For the hover: the settings, what one more GiB saves, what binds."""


class _ShadowInfo(NamedTuple):
    workload: str
    device: str
    steps: tuple[_Step, ...]
    cap_gib: float
    unit: TimeUnit


def plot_shadow_prices(prices: ShadowPrices) -> go.Figure:
    """A curve of steps, from the smallest cap under which something fits to the card's own.

    Raises:
        InputError: nothing fits, so there is no curve.
    """
    if not prices.steps:
        raise InputError(f"nothing fits {gib(prices.device.memory_bytes):.2f} GiB: there is no curve to draw")
    return _figure(_info(prices))


def _info(prices: ShadowPrices) -> _ShadowInfo:
    steps = []
    for number, step in enumerate(prices.steps):
        cost = step.candidate.cost
        saved = prices.seconds_per_gib(number)
        worth = (
            ""
            if saved is None
            else f"<br>one more GiB saves {format_seconds(saved)} on the way to the next step"
        )
        words = describe_settings(cost.settings)
        before = prices.steps[number - 1].candidate.cost.settings if number else None
        steps.append(
            _Step(
                from_gib=gib(step.cap_bytes),
                seconds=step.seconds,
                label="fits" if before is None else buys(before, cost.settings),
                text=f"<b>from {gib(step.cap_bytes):.2f} GiB: {format_seconds(step.seconds)}</b><br>{words}{worth}"
                f"<br>binds below: {cost.binds.binds}",
            )
        )
    return _ShadowInfo(
        workload=describe_workload(prices.asked.workload),
        device=describe_device(prices.device, prices.choice),
        steps=tuple(steps),
        cap_gib=gib(prices.device.memory_bytes),
        unit=time_unit(prices.steps[0].seconds),
    )


def _figure(info: _ShadowInfo) -> go.Figure:
    figure = go.Figure()
    unit, steps = info.unit, info.steps
    x = [step.from_gib for step in steps]
    y = [step.seconds / unit.seconds for step in steps]
    figure.add_vrect(
        x0=0,
        x1=x[0],
        fillcolor=GRID,
        opacity=0.6,
        line_width=0,
        annotation={"text": "nothing fits", "font": {"color": SOFT}, "textangle": -90},
        annotation_position="inside",
    )
    figure.add_scatter(
        x=[*x, max(info.cap_gib, x[-1])],
        y=[*y, y[-1]],
        mode="lines",
        line={"shape": "hv", "color": BLUE, "width": 3},
        name="fastest plan",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"size": 10, "color": GREEN},
        customdata=[step.text for step in steps],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )
    _add_labels(figure, info, x, y)
    figure.update_xaxes(title="memory cap (GiB)", range=[0, 1.02 * info.cap_gib])
    figure.update_yaxes(title=f"expected time of the fastest plan ({unit.name})", range=[0, 1.25 * y[0]])
    return styled(
        figure,
        title=f"What memory buys · {info.workload}",
        subtitle=f"{info.device} — each step says what its memory is for",
        height=520,
    )


def _add_labels(figure: go.Figure, info: _ShadowInfo, x: list[float], y: list[float]) -> None:
    gains = {k: y[k - 1] - y[k] for k in range(1, len(y))}
    shown = {0, *sorted(gains, key=lambda k: -gains[k])[: _LABELLED - 1]}
    for number, k in enumerate(sorted(shown)):
        words = info.steps[k].label.split(SEPARATOR)
        label = f"<b>{x[k]:.2f} GiB, {format_seconds(info.steps[k].seconds)}</b><br>" + "<br>".join(words[:2])
        if len(words) > 2:
            label += " …"
        figure.add_annotation(
            x=x[k],
            y=y[k],
            text=label,
            align="left",
            xanchor="left",
            yanchor="bottom" if number % 2 == 0 else "top",
            showarrow=True,
            arrowcolor=SOFT,
            arrowwidth=1,
            ax=18,
            ay=-26 if number % 2 == 0 else 30,
            font={"size": 11, "color": INK},
        )
