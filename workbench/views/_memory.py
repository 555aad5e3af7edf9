"""`plot_memory`: what the card's memory goes into, stage by stage, against the cap."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go

from workbench._units import gib
from workbench.cost import Cost
from workbench.search._parts import PARTS, stage_parts
from workbench.search._words import describe_device, describe_settings, describe_stage, describe_workload
from workbench.views._style import GREEN, INK, RED, add_totals, styled


class _MemoryInfo(NamedTuple):
    workload: str
    device: str
    settings: str
    stages: tuple[str, ...]
    parts_gib: dict[str, tuple[float, ...]]
    """GiB of each part of `PARTS`, one per stage."""
    totals_gib: tuple[float, ...]
    binds: tuple[str, ...]
    cap_gib: float


def plot_memory(cost: Cost) -> go.Figure:
    """Required memory of each stage, as weights, activations, unallocated reserve, context, desktop and margin; the cap is a line."""
    return _figure(_info(cost))


def _info(cost: Cost) -> _MemoryInfo:
    parts = [stage_parts(cost, stage) for stage in cost.price.stages]
    by_stage = [part.by_name() for part in parts]
    return _MemoryInfo(
        workload=describe_workload(cost.workload),
        device=describe_device(cost.device),
        settings=describe_settings(cost.settings),
        stages=tuple(describe_stage(stage.name) for stage in cost.price.stages),
        parts_gib={name: tuple(gib(stage[name]) for stage in by_stage) for name in PARTS},
        totals_gib=tuple(gib(part.required_bytes) for part in parts),
        binds=tuple(stage.binds for stage in cost.price.stages),
        cap_gib=gib(cost.device.memory_bytes),
    )


def _figure(info: _MemoryInfo) -> go.Figure:
    figure = go.Figure()
    for name, values in info.parts_gib.items():
        if not any(values):  # no desktop on a data-centre card: nothing to show, and no legend for it
            continue
        style = PARTS[name]
        figure.add_bar(
            x=info.stages,
            y=values,
            name=style.title,
            marker_color=style.colour,
            customdata=info.binds,
            hovertemplate=f"{style.title}: %{{y:.2f}} GiB<br>peak at %{{customdata}}<extra>%{{x}}</extra>",
        )
    colours = [RED if total > info.cap_gib else INK for total in info.totals_gib]
    add_totals(figure, info.stages, info.totals_gib, colours)
    fits = max(info.totals_gib) <= info.cap_gib
    figure.add_hline(
        y=info.cap_gib,
        line={"color": GREEN if fits else RED, "width": 2, "dash": "dash"},
        annotation={"text": f"cap<br>{info.cap_gib:.2f} GiB", "font": {"color": GREEN if fits else RED}},
        annotation_position="right",
    )
    figure.update_layout(barmode="stack", bargap=0.45)
    figure.update_yaxes(title="required VRAM (GiB)", range=[0, 1.15 * max(info.cap_gib, *info.totals_gib)])
    return styled(
        figure,
        title=f"Memory by stage · {info.workload}",
        subtitle=f"{info.device}<br>{info.settings}",
        height=500,
    )
