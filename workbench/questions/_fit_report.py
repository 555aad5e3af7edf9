"""What a fit has to say, in the sections of a report. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench._units import format_gib, format_seconds, gib
from workbench.models import Workload, resolve_model
from workbench.questions._climb import Rung
from workbench.search._report import Column, Report, Section, Table, pins_lines, plan_report
from workbench.search._words import (
    describe_binds,
    describe_device,
    describe_missing,
    describe_settings,
    describe_stage,
    model_title,
)

if TYPE_CHECKING:
    from workbench.questions._fit import Fit

BINDS = {
    "memory": "memory",
    "host RAM": "host RAM",
    "time": "the time limit",
    "quality": "the limit on known losses",
    "model": "the model itself",
}
"""What stops a climb, in words."""


def fit_report(fit: Fit) -> Report:
    """The largest clip, why there is no larger one, the sizes that were looked at, and the plan."""
    asked = "the longest clip" if fit.maximize == "frames" else "the largest size"
    first = fit.ladder[0].workload
    same = f"{first.height} × {first.width}" if fit.maximize == "frames" else f"{first.frames} frames"
    rest = plan_report(fit.plan).sections if fit.plan is not None else ()
    beyond = beyond_native(fit)
    return Report(
        title="Fit",
        lines=(
            f"{asked} that {model_title(first.model)} makes, {same}, {first.steps} steps",
            f"on {describe_device(fit.device, fit.choice)}",
            *_limits(fit),
        ),
        verdict=_verdict(fit),
        is_good=fit.plan is not None,
        sections=(Section(title="Why not larger", lines=(*why(fit), *beyond)), _ladder(fit), *rest),
    )


def size_words(workload: Workload, maximize: str) -> str:
    """`"121 frames (7.6 s)"` or `"720 × 1280"`."""
    if maximize == "frames":
        return f"{workload.frames} frames ({workload.frames / workload.fps:.1f} s at {workload.fps} frames per second)"
    return f"{workload.height} × {workload.width}"


def beyond_native(fit: Fit) -> tuple[str, ...]:
    """A warning where the answer is larger than what the model's authors show."""
    if fit.workload is None:
        return ()
    native = resolve_model(fit.workload.model).defaults
    if fit.maximize == "frames" and fit.workload.frames > native.frames:
        shown = f"{native.frames} frames"
    elif fit.maximize == "resolution" and (
        fit.workload.height * fit.workload.width > native.height * native.width
    ):
        shown = f"{native.height} × {native.width}"
    else:
        return ()
    return (f"its authors show {shown}: what the model makes beyond that is not predicted",)


def why(fit: Fit) -> tuple[str, ...]:
    """What stops at this size, one sentence or two."""
    if fit.fails:
        return (f"beyond it {fit.fails}",)
    rung = fit.next_up
    if rung is None:
        return ("the model itself makes no larger one",)
    cost = rung.candidate.cost
    size = size_words(rung.workload, fit.maximize)
    if fit.binds == "time" and fit.limits.max_seconds is not None:
        beyond = f"takes {format_seconds(cost.total_s)} of {format_seconds(fit.limits.max_seconds)}"
    elif fit.binds in ("memory", "host RAM"):
        beyond = f"has {describe_missing(cost)}"
    else:
        beyond = f"loses {cost.quality.known_loss_percent:g} % as far as is known"
    where = (
        f"its peak is in {describe_stage(cost.binds.name)}, at {describe_binds(cost.binds.binds, width=200)}"
    )
    return (
        f"{BINDS[fit.binds]} binds: at {size} every configuration was tried, and the one that comes closest {beyond}",
        *((where,) if fit.binds == "memory" else ()),
    )


def _verdict(fit: Fit) -> str:
    if fit.plan is None or fit.plan.best is None or fit.workload is None:
        smallest = size_words(fit.ladder[0].workload, fit.maximize)
        return f"nothing fits: not even {smallest}, since {BINDS[fit.binds]} binds"
    cost = fit.plan.best.cost
    needed = f"{gib(cost.required_vram_bytes):.2f} of {format_gib(fit.device.memory_bytes)}"
    return f"{size_words(fit.workload, fit.maximize)}: {needed}, about {format_seconds(cost.total_s)}"


def _limits(fit: Fit) -> tuple[str, ...]:
    lines = list(pins_lines(fit.pins))
    if fit.limits.max_seconds is not None:
        lines.append(f"at most {format_seconds(fit.limits.max_seconds)}")
    if fit.limits.min_quality is not None:
        lines.append(f"known losses at most {100 - fit.limits.min_quality:g} %")
    return (" · ".join(lines),) if lines else ()


def _ladder(fit: Fit) -> Section:
    columns = (
        Column(title="size", is_short=True),
        Column(title="", is_short=True),
        Column(title="VRAM\nGiB", is_number=True),
        Column(title="time", is_number=True),
        Column(title="settings"),
    )
    best = None if fit.workload is None else [rung.workload for rung in fit.ladder].index(fit.workload)
    return Section(
        title="Sizes looked at",
        lines=(
            "each with the settings that leave the most room, so that the next is likely to fit too; "
            "the plan below is faster",
        ),
        table=Table(columns=columns, rows=tuple(_row(fit, rung) for rung in fit.ladder), marked=best),
    )


def _row(fit: Fit, rung: Rung) -> tuple[str, ...]:
    cost, workload = rung.candidate.cost, rung.workload
    size = f"{workload.frames}" if fit.maximize == "frames" else f"{workload.height} × {workload.width}"
    fits = "fits" if rung.is_good else f"no: {rung.binds}" if rung.is_sure else "likely not"
    return (
        size,
        fits,
        f"{gib(cost.required_vram_bytes):.2f}",
        format_seconds(cost.total_s),
        describe_settings(cost.settings),
    )
