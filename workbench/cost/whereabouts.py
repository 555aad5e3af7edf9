"""Where every component's weights are, from when the pipeline is ready to when a call is over: on the GPU, in host RAM, in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from workbench._units import gib
from workbench.cost.calllog import CallLog, CallSummary
from workbench.cost.held import Held, as_placed
from workbench.cost.host import waiting
from workbench.cost.residency import Placement, Residency, Weights
from workbench.cost.turns import turns

READY, AFTER = "ready", "after"
"""The moments before the first call of a component and after the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Whereabouts:
    """One component's weights during one stretch of the run."""

    stage: str
    """The stage, or `ready` or `after`."""
    running: str
    """The component that computes, one stretch for each that the stage calls; empty for `ready` and `after`."""
    calls: int
    """How often it is called in the stage."""
    component: str
    """Whose weights these are."""
    gpu_bytes: int
    """On the GPU at most."""
    gpu_between_bytes: int
    """On the GPU between the calls of the stretch; less than `gpu_bytes` where weights come and go during each call."""
    ram_bytes: int
    """In pageable host memory, while as much as can be is on the GPU."""
    pinned_bytes: int
    """In pinned host memory, as PyTorch's pinned allocator rounds it."""
    disk_bytes: int
    """In files."""
    fetched_bytes: int
    """What comes to the GPU during the stretch, all calls together."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, sizes in GiB."""
        return {
            name.replace("_bytes", "_gib"): gib(value) if name.endswith("_bytes") else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """What a configuration's whereabouts follow from; nothing is worked out before it is asked for."""

    log: CallLog = field(default_factory=lambda: CallLog(stages=(), visits=()))
    calls: Mapping[str, CallSummary] = field(default_factory=dict, hash=False)
    weights: Mapping[str, Weights] = field(default_factory=dict, hash=False)
    residency: Residency = field(default_factory=Residency)

    def rows(self) -> tuple[Whereabouts, ...]:
        """One row for each component in each stretch, in order."""
        return tuple(_rows(self.log, self.calls, self.weights, as_placed(self.residency, self.log)))


def _rows(
    log: CallLog, calls: Mapping[str, CallSummary], weights: Mapping[str, Weights], residency: Residency
) -> Iterator[Whereabouts]:
    on_gpu = Held(log, weights, residency)
    idle = {name: held.idle_bytes(residency.of(name)) for name, held in weights.items()}
    yield from _stretch(weights, residency, READY, "", 0, idle, idle, {})
    for stage in log.stages:
        calls_of: dict[str, int] = {}
        passes: dict[str, int] = {}
        for call in stage.calls:
            name = call.component
            calls_of[name] = calls_of.get(name, 0) + call.count
            passes[name] = passes.get(name, 0) + call.count * calls[call.key].passes
        for component, count in calls_of.items():
            there = on_gpu.while_running(component, stage.name)
            between = idle | {
                name: size for name, size in there.items() if residency.of(name).mode == "whole"
            }
            fetched = _brought(component, stage.name, log, weights, residency)
            fetched += passes[component] * _per_pass(weights[component], residency.of(component))
            yield from _stretch(
                weights, residency, stage.name, component, count, there, between, {component: fetched}
            )
    yield from _stretch(weights, residency, AFTER, "", 0, idle, idle, {})


def _brought(
    component: str, stage: str, log: CallLog, weights: Mapping[str, Weights], residency: Residency
) -> int:
    """Bytes of a whole component that come in a stage; 0 for another one."""
    visits = (turn for turn in turns(log, residency) if turn.stage == stage)
    return sum(weights[component].total_bytes for turn in visits if component in turn.brings)


def _per_pass(held: Weights, placement: Placement) -> int:
    """Bytes that come for each pass through the weights."""
    return 0 if placement.mode in ("resident", "whole") else held.total_bytes - held.idle_bytes(placement)


def _stretch(
    weights: Mapping[str, Weights],
    residency: Residency,
    stage: str,
    running: str,
    calls: int,
    there: Mapping[str, int],
    between: Mapping[str, int],
    fetched: Mapping[str, int],
) -> Iterator[Whereabouts]:
    for name, held in weights.items():
        placement = residency.of(name)
        place = waiting(held, placement)
        come = there.get(name, 0) - held.idle_bytes(placement)
        yield Whereabouts(
            stage=stage,
            running=running,
            calls=calls,
            component=name,
            gpu_bytes=there.get(name, 0),
            gpu_between_bytes=between.get(name, 0),
            ram_bytes=place.ram - min(place.ram, _gone(held, placement, come)),
            pinned_bytes=place.pinned if running == name or not _pins_for_a_call(placement) else 0,
            disk_bytes=place.disk,
            fetched_bytes=fetched.get(name, 0),
        )


def _gone(held: Weights, placement: Placement, come: int) -> int:
    """What host memory no longer holds when so much has come to the GPU: accelerate's leaves keep a copy there, and so do streams but for
    what is around the blocks, which comes without one."""
    if placement.mode == "leaves" or not come:
        return 0
    if placement.stream:
        return held.other_bytes if placement.mode == "blocks" and not placement.resident_blocks else 0
    return come


def _pins_for_a_call(placement: Placement) -> bool:
    return placement.pins_late or placement.on_disk
