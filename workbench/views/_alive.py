"""`plot_alive`: what is alive at the fullest moment of each stage, stacked by kind and by component."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import plotly.graph_objects as go

from workbench._units import gib
from workbench.search._explanation import CATEGORIES, Explanation
from workbench.search._words import (
    describe_component,
    describe_device,
    describe_settings,
    describe_stage,
    describe_workload,
)
from workbench.views._style import BLUE, FAINT, INK, add_totals, styled

_BLUES = ("#003f63", BLUE, "#4c9fd0", "#9ccbe6")
"""Of the components' weights, in the order of their first stage."""
_COLOURS = {"pipeline": "#CC79A7", "activations": "#E69F00", "workspace": FAINT}
_LARGEST = 4
"""Parts of a layer that its hover names."""


class _Layer(NamedTuple):
    """One component's share of one kind, in every stage."""

    category: str
    component: str
    sizes_gib: tuple[float, ...]
    made_by: tuple[str, ...]
    """Per stage: the largest parts."""


class _AliveInfo(NamedTuple):
    workload: str
    device: str
    settings: str
    stages: tuple[str, ...]
    layers: tuple[_Layer, ...]
    totals_gib: tuple[float, ...]


def plot_alive(found: Explanation) -> go.Figure:
    """Allocated memory at the fullest moment of each stage: weights by component, what the pipeline holds, activations, workspaces."""
    return _figure(_info(found))


def _info(found: Explanation) -> _AliveInfo:
    names = dict.fromkeys(
        (part.category, part.component if part.category == "weights" else "")
        for category in CATEGORIES
        for stage in found.stages
        for part in stage.parts
        if part.category == category
    )
    return _AliveInfo(
        workload=describe_workload(found.cost.workload),
        device=describe_device(found.cost.device),
        settings=describe_settings(found.cost.settings),
        stages=tuple(describe_stage(stage.stage) for stage in found.stages),
        layers=tuple(_layer(found, category, component) for category, component in names),
        totals_gib=tuple(gib(stage.num_bytes) for stage in found.stages),
    )


def _layer(found: Explanation, category: str, component: str) -> _Layer:
    sizes, made_by = [], []
    for stage in found.stages:
        parts = [p for p in stage.parts if p.category == category and component in ("", p.component)]
        sizes.append(gib(sum(part.num_bytes for part in parts)))
        largest = (f"{gib(p.num_bytes):.2f}: {p.path} {p.op}".strip() for p in parts[:_LARGEST])
        made_by.append("<br>".join(largest))
    return _Layer(category, component, tuple(sizes), tuple(made_by))


def _figure(info: _AliveInfo) -> go.Figure:
    figure = go.Figure()
    blues = itertools.cycle(_BLUES)
    for layer in info.layers:
        name = (
            f"{layer.category} of {describe_component(layer.component)}"
            if layer.component
            else layer.category
        )
        figure.add_bar(
            x=info.stages,
            y=layer.sizes_gib,
            name=name,
            marker_color=_COLOURS.get(layer.category) or next(blues),
            customdata=layer.made_by,
            hovertemplate=f"<b>{name}</b>: %{{y:.2f}} GiB<br>%{{customdata}}<extra>%{{x}}</extra>",
        )
    add_totals(figure, info.stages, info.totals_gib, INK)
    figure.update_layout(barmode="stack", bargap=0.45)
    figure.update_yaxes(title="allocated (GiB)", range=[0, 1.15 * max(info.totals_gib)])
    return styled(
        figure,
        title=f"Alive at the peak · {info.workload}",
        subtitle=f"{info.device}<br>{info.settings}",
        height=520,
    )
