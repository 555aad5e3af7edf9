"""`plot_cards`: every card by its memory and the time of its best plan."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go

from workbench._units import format_seconds
from workbench.questions._cards import CardRow, Cards
from workbench.questions._cards_report import format_usd
from workbench.search._words import describe_settings, describe_workload
from workbench.views._style import BLUE, FAINT, GREEN, INK, RED, SOFT, TimeUnit, styled, time_unit


class _Bar(NamedTuple):
    name: str
    seconds: float | None
    words: str
    """Beside the bar."""
    text: str
    is_smallest: bool
    is_cheapest: bool


class _CardsInfo(NamedTuple):
    workload: str
    bars: tuple[_Bar, ...]
    max_seconds: float | None
    unit: TimeUnit


def plot_cards(cards: Cards) -> go.Figure:
    """The cards from small to large, each with the time of its best plan, and what a clip costs where the rent is known."""
    return _figure(_info(cards))


def _info(cards: Cards) -> _CardsInfo:
    slowest = max((row.seconds or 0.0 for row in cards.rows), default=0.0)
    return _CardsInfo(
        workload=describe_workload(cards.asked.workload),
        bars=tuple(_bar(cards, row) for row in cards.rows),
        max_seconds=cards.asked.limits.max_seconds,
        unit=time_unit(slowest),
    )


def _bar(cards: Cards, row: CardRow) -> _Bar:
    best = row.found.best
    if best is None:
        words, text = f"no: {row.found.binds} binds", "nothing meets the limits"
    else:
        usd = row.usd_per_clip
        words = format_seconds(best.cost.total_s) + ("" if usd is None else f", {format_usd(usd)}")
        text = describe_settings(best.cost.settings)
    return _Bar(
        name=row.device.title.removeprefix("NVIDIA "),
        seconds=row.seconds,
        words=words,
        text=text,
        is_smallest=row is cards.smallest,
        is_cheapest=row is cards.cheapest,
    )


def _figure(info: _CardsInfo) -> go.Figure:
    figure = go.Figure()
    unit = info.unit
    looks = (
        ("smallest that is enough", GREEN, [bar for bar in info.bars if bar.is_smallest]),
        ("cheapest per clip", RED, [bar for bar in info.bars if bar.is_cheapest and not bar.is_smallest]),
        (
            "enough",
            BLUE,
            [bar for bar in info.bars if not bar.is_smallest and not bar.is_cheapest and bar.seconds],
        ),
    )
    for title, colour, bars in looks:
        figure.add_bar(
            y=[bar.name for bar in bars],
            x=[(bar.seconds or 0.0) / unit.seconds for bar in bars],
            orientation="h",
            name=title,
            marker_color=colour,
            showlegend=bool(bars),
            customdata=[bar.text for bar in bars],
            hovertemplate="%{customdata}<br>%{x:.2f} " + unit.name + "<extra>%{y}</extra>",
        )
    figure.add_scatter(
        y=[bar.name for bar in info.bars],
        x=[(bar.seconds or 0.0) / unit.seconds for bar in info.bars],
        mode="text",
        text=[f"  {bar.words}" for bar in info.bars],
        textposition="middle right",
        textfont={"color": [INK if bar.seconds is not None else SOFT for bar in info.bars]},
        hoverinfo="skip",
        showlegend=False,
    )
    longest = max((bar.seconds or 0.0 for bar in info.bars), default=0.0)
    if info.max_seconds is not None:
        figure.add_vline(x=info.max_seconds / unit.seconds, line={"color": FAINT, "width": 2, "dash": "dash"})
        longest = max(longest, info.max_seconds)
    figure.update_layout(barmode="overlay", bargap=0.35)
    figure.update_yaxes(
        categoryorder="array", categoryarray=[bar.name for bar in reversed(info.bars)], automargin=True
    )
    figure.update_xaxes(
        title=f"expected time of a clip ({unit.name})", range=[0, 1.3 * longest / unit.seconds or 1]
    )
    figure.update_yaxes(showgrid=False)
    words = "every card with its best plan, smallest memory first"
    if info.max_seconds is not None:
        words += f"; at most {format_seconds(info.max_seconds)}"
    return styled(figure, title=f"Cards · {info.workload}", subtitle=words, height=190 + 24 * len(info.bars))
