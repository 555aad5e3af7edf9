"""How long the GPU waits for weights in a stage, all its calls together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from workbench.cost.calllog import CallLog, CallSummary, Stage
from workbench.cost.residency import Residency, Weights
from workbench.cost.roofline import Seconds, transfer_seconds
from workbench.cost.transfers import stalls
from workbench.cost.turns import turns
from workbench.devices import Device


def waits(
    stage: Stage,
    log: CallLog,
    calls: Mapping[str, CallSummary],
    weights: Mapping[str, Weights],
    residency: Residency,
    device: Device,
    compute: Callable[[CallSummary], Seconds],
) -> tuple[float, float]:
    """(expected, low) seconds.

    Args:
        compute: seconds of one call.
    """
    expected, low = _moves(stage, log, weights, residency, device)
    for call in stage.calls:
        placement = residency.of(call.component)
        if placement.mode in ("resident", "whole"):
            continue
        summary = calls[call.key]
        more, least = stalls(
            weights[call.component],
            placement,
            compute(summary),
            summary.passes,
            call.count,
            _first_key(log, call.component) == call.key and _first_stage(log, call.component) == stage.name,
            device,
        )
        expected, low = expected + more, low + least
    return expected, low


def _moves(
    stage: Stage, log: CallLog, weights: Mapping[str, Weights], residency: Residency, device: Device
) -> tuple[float, float]:
    """Whole components that come and go, from pageable memory and back to it, while nothing computes."""
    moved = sum(
        weights[name].total_bytes
        for turn in turns(log, residency)
        if turn.stage == stage.name
        for name in (*turn.brings, *turn.sends_back)
    )
    return transfer_seconds(moved, device, pinned=False), moved / device.link_bytes_per_s


def _first_stage(log: CallLog, component: str) -> str:
    return next(stage.name for stage in log.stages for call in stage.calls if call.component == component)


def _first_key(log: CallLog, component: str) -> str:
    return next(call.key for stage in log.stages for call in stage.calls if call.component == component)
