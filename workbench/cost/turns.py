"""Whole components taking turns on the GPU, as diffusers' `enable_model_cpu_offload` lets them.

accelerate's hook on a component (`CpuOffload.pre_forward`) does two things when the component is called: it sends the component before
it in the pipeline's `model_cpu_offload_seq` back to the host, if that is on the GPU, and brings its own component, if it is not. So a
component leaves when its successor in the sequence is called, not when just any other one is: an autoencoder at the end of the sequence
that has encoded an image stays while the denoiser runs. One that is in no sequence stays until the call is over; then all go back
(`maybe_free_model_hooks`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from workbench.cost.calllog import CallLog
from workbench.cost.residency import Residency


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One visit of the run to a component."""

    stage: str
    component: str
    on_gpu: tuple[str, ...]
    """Components placed `whole` whose weights are on the GPU while it computes, itself included if it is one."""
    brings: tuple[str, ...]
    """What comes to the GPU for it: itself or nothing."""
    sends_back: tuple[str, ...]
    """What leaves the GPU for it; at the last visit also what leaves when the call is over."""


def turns(log: CallLog, residency: Residency) -> tuple[Turn, ...]:
    """The run's visits in order, with what each finds on the GPU."""
    whole = frozenset(name for name, placement in residency.placements.items() if placement.mode == "whole")
    return _turns(log.visits, log.visit_stages, log.offload_order, whole)


@functools.lru_cache(maxsize=256)
def _turns(
    visits: tuple[str, ...], stages: tuple[str, ...], order: tuple[str, ...], whole: frozenset[str]
) -> tuple[Turn, ...]:
    chain = [name for name in dict.fromkeys(order) if name in whole]
    before = dict(zip(chain[1:], chain, strict=False))
    on_gpu: list[str] = []
    found: list[Turn] = []
    for component, stage in zip(visits, stages, strict=True):
        leaves = before.get(component) if component in whole else None
        sent = (leaves,) if leaves in on_gpu and leaves is not None else ()
        on_gpu = [name for name in on_gpu if name not in sent]
        brings = (component,) if component in whole and component not in on_gpu else ()
        on_gpu += brings
        found.append(
            Turn(stage=stage, component=component, on_gpu=tuple(on_gpu), brings=brings, sends_back=sent)
        )
    if found:
        last = found[-1]
        found[-1] = Turn(
            stage=last.stage,
            component=last.component,
            on_gpu=last.on_gpu,
            brings=last.brings,
            sends_back=last.sends_back + last.on_gpu,
        )
    return tuple(found)


def sending_back(log: CallLog, residency: Residency) -> frozenset[tuple[str, str]]:
    """(stage, component) whose first visit in the stage sends another one back; accelerate empties the device's cache then."""
    first: dict[tuple[str, str], Turn] = {}
    for turn in turns(log, residency):
        first.setdefault((turn.stage, turn.component), turn)
    # at the last visit, what leaves when the call is over is listed too
    return frozenset(visit for visit, turn in first.items() if set(turn.sends_back) - set(turn.on_gpu))


def together(log: CallLog, residency: Residency, stage: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    """For each component that a stage calls, the sets of whole components that it may find on the GPU."""
    found: dict[str, dict[tuple[str, ...], None]] = {}
    for turn in turns(log, residency):
        if turn.stage == stage:
            found.setdefault(turn.component, {})[turn.on_gpu] = None
    return {component: tuple(sets) for component, sets in found.items()}
