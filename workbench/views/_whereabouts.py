"""`plot_whereabouts`: where every component's weights are, from when the pipeline is ready to when a call is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench._errors import InputError
from workbench._units import gib
from workbench.cost import Cost, Whereabouts
from workbench.search._words import (
    describe_component,
    describe_device,
    describe_settings,
    describe_stretch,
    describe_workload,
)
from workbench.views._style import BLUE, GREEN, INK, SKY, SOFT, styled

_COLOURS = (BLUE, "#E69F00", GREEN, "#CC79A7", SKY, "#D55E00", "#8C8C8C", "#F0E442")
"""Of the components, in order: Okabe and Ito's palette (2008)."""
PLACES = ("on the GPU", "in host RAM", "in files")


class _Layer(NamedTuple):
    """One component's weights in one place, in every stretch."""

    place: str
    component: str
    passing: bool
    """On the GPU: what comes and goes during each call; in host RAM: what is pinned."""
    sizes_gib: tuple[float, ...]
    said: tuple[str, ...]
    """What the hover says of each."""


class _WhereaboutsInfo(NamedTuple):
    workload: str
    device: str
    settings: str
    stretches: tuple[str, ...]
    components: tuple[str, ...]
    layers: tuple[_Layer, ...]

    def places(self) -> tuple[str, ...]:
        """Those of `PLACES` where there is anything."""
        return tuple(p for p in PLACES if any(layer.place == p for layer in self.layers))

    def totals(self, place: str) -> tuple[float, ...]:
        """GiB in a place, in every stretch."""
        sizes = [layer.sizes_gib for layer in self.layers if layer.place == place]
        return tuple(sum(column) for column in zip(*sizes, strict=True))


def plot_whereabouts(cost: Cost) -> go.Figure:
    """Every component's weights over the run: on the GPU, in host RAM and in files, one bar per stretch, hatched what comes and goes
    during each call or is pinned.

    Raises:
        InputError: the cost does not know its weights; what `estimate` and `plan` predict does.
    """
    if not cost.price.timeline.weights:
        raise InputError(
            "plot_whereabouts needs a cost that was predicted; this one does not know its weights"
        )
    return _figure(_info(cost))


def _info(cost: Cost) -> _WhereaboutsInfo:
    rows = cost.price.timeline.rows()
    stretches = tuple(dict.fromkeys((row.stage, row.running) for row in rows))
    components = tuple(dict.fromkeys(row.component for row in rows))
    layers = [
        layer
        for component in components
        for layer in _layers(component, [row for row in rows if row.component == component])
    ]
    shared = [stage for stage, _ in stretches]
    return _WhereaboutsInfo(
        workload=describe_workload(cost.workload),
        device=describe_device(cost.device),
        settings=describe_settings(cost.settings),
        stretches=tuple(
            describe_stretch(stage, running if shared.count(stage) > 1 else "").replace(" · ", "<br>")
            for stage, running in stretches
        ),
        components=components,
        layers=tuple(layer for layer in layers if any(layer.sizes_gib)),
    )


def _layers(component: str, rows: Sequence[Whereabouts]) -> list[_Layer]:
    name = describe_component(component)
    on_gpu, in_ram, in_files = PLACES

    def layer(place: str, passing: bool, sizes: Sequence[int], what: str) -> _Layer:
        said = tuple(
            f"<b>{name}</b>, {what}: {gib(size):.2f} GiB{_fetched(row)}"
            for size, row in zip(sizes, rows, strict=True)
        )
        return _Layer(place, component, passing, tuple(gib(size) for size in sizes), said)

    return [
        layer(
            on_gpu, False, [min(row.gpu_bytes, row.gpu_between_bytes) for row in rows], "stays between calls"
        ),
        layer(on_gpu, True, [max(0, row.gpu_bytes - row.gpu_between_bytes) for row in rows], "during a call"),
        layer(in_ram, False, [row.ram_bytes for row in rows], "pageable"),
        layer(in_ram, True, [row.pinned_bytes for row in rows], "pinned"),
        layer(in_files, False, [row.disk_bytes for row in rows], "in files"),
    ]


def _fetched(row: Whereabouts) -> str:
    if not row.fetched_bytes:
        return ""
    return f"<br>{gib(row.fetched_bytes):.2f} GiB come to the GPU in {row.calls} calls"


def _figure(info: _WhereaboutsInfo) -> go.Figure:
    places = info.places()
    figure = make_subplots(
        rows=len(places), cols=1, shared_xaxes=True, vertical_spacing=0.14, subplot_titles=places
    )
    colours = {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(info.components)}
    shown: set[str] = set()
    for layer in info.layers:
        figure.add_bar(
            row=places.index(layer.place) + 1,
            col=1,
            x=info.stretches,
            y=layer.sizes_gib,
            name=describe_component(layer.component),
            legendgroup=layer.component,
            showlegend=layer.component not in shown,
            marker={
                "color": colours[layer.component],
                "pattern": {"shape": "/" if layer.passing else "", "fgcolor": "white", "size": 7},
                "line": {"color": "white", "width": 1},
            },
            customdata=layer.said,
            hovertemplate="%{customdata}<extra>%{x}</extra>",
        )
        shown.add(layer.component)
    _add_totals(figure, info)
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13.5, "color": INK})
    figure.update_yaxes(title="GiB")
    figure.update_xaxes(showticklabels=True, tickfont={"size": 12})
    top, bottom, panel = 140, 56, 230
    styled(
        figure,
        title=f"Where the weights are · {info.workload}",
        subtitle=f"{info.device} · {info.settings}<br>hatched: comes and goes during each call; in host RAM: pinned",
        height=top + bottom + panel * len(places),
    )
    # the legend stands between the title and the first panel's own title
    figure.update_layout(margin={"t": top}, legend={"y": 1 + 26 / (panel * len(places))})
    return figure


def _add_totals(figure: go.Figure, info: _WhereaboutsInfo) -> None:
    for row, place in enumerate(info.places(), start=1):
        totals = info.totals(place)
        figure.add_scatter(
            row=row,
            col=1,
            x=info.stretches,
            y=totals,
            mode="text",
            text=[f"<b>{total:.2f}</b>" for total in totals],
            textposition="top center",
            textfont={"size": 12.5, "color": SOFT},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.update_yaxes(range=[0, 1.25 * max(totals)], row=row, col=1)
