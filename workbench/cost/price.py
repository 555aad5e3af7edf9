"""Puts a price on a run: memory by stage, host RAM and seconds, from what is called, what the weights are and where they live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from workbench._units import GIB, MIB
from workbench.cost._band import band
from workbench.cost._cached import Cached, Sequences
from workbench.cost._trace import round_up
from workbench.cost.calllog import CallLog, CallSummary, Stage, StageCall
from workbench.cost.margin import Residuals, margin_bytes, stage_fit_probability
from workbench.cost.residency import RESIDENT, Placement, Residency, Weights
from workbench.cost.roofline import KINDS, Seconds, compute_seconds, transfer_seconds
from workbench.devices import Device

CUBLAS_WORKSPACE_BYTES = {"hopper": 32 * MIB, "blackwell": 32 * MIB, "cpu": 0}
"""aten/src/ATen/cuda/CublasHandlePool.cpp, `parseChosenWorkspaceSize`: 32 MiB on compute capability 9, 10 and 12 (Blackwell since
pull request 175344 of February 2026), else `:4096:2:16:8`; none on a CPU. One for each handle and stream: matrix products run on one
stream, also where weights are fetched on another. cuBLASLt works in the same one (`unified_cublas_and_lt_workspaces`)."""
CUBLAS_WORKSPACE_DEFAULT_BYTES = (4096 * 2 + 16 * 8) * 1024
PROCESS_RAM_BYTES = round(0.4 * GIB)
"""Resident memory of a Python process that has imported torch and diffusers (0.39 GB, measured: torch 2.13, CPU build)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """One stage's memory and time."""

    name: str
    weights_bytes: int
    """Weights on the GPU while the stage computes."""
    activations_bytes: int
    """Everything else that is alive at the stage's peak, workspaces included."""
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    cached_bytes: int = 0
    """The part of it that is left over from earlier stages; short of memory, the allocator gives it back."""
    binds: str
    """What is running at the peak: module path and op."""
    seconds: float
    low_s: float
    high_s: float
    by_kind_s: Mapping[str, float]
    """Expected seconds by what bounds them: the kinds of `roofline.KINDS`, and `transfer` that compute does not hide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """A run's memory and time."""

    stages: tuple[StageCost, ...]
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    required_vram_bytes: int
    host_ram_bytes: int

    @property
    def peak_stage(self) -> str:
        """The stage that needs the most, what is cached of earlier ones aside."""
        return max(self.stages, key=lambda stage: stage.peak_reserved_bytes - stage.cached_bytes).name

    @property
    def seconds(self) -> tuple[float, float, float]:
        """(expected, low, high) seconds of all stages."""
        return (
            sum(stage.seconds for stage in self.stages),
            sum(stage.low_s for stage in self.stages),
            sum(stage.high_s for stage in self.stages),
        )


def price(
    log: CallLog,
    calls: Mapping[str, CallSummary],
    weights: Mapping[str, Weights],
    residency: Residency,
    device: Device,
    compute: ComputeCache | None = None,
    sequences: Sequences | None = None,
    *,
    frames_bytes: int = 0,
) -> Price:
    """Prices a run.

    Args:
        calls: summary of each distinct call, by key.
        weights: weights of each component, by name.
        compute: keeps the compute time of calls between prices for one device.
        sequences: keeps what sequences of calls reserve between prices for one set of allocator options.
        frames_bytes: host RAM of the finished video's frames (`frames.frames_ram_bytes`).
    """
    cached = Cached(sequences if sequences is not None else Sequences())
    compute = compute if compute is not None else ComputeCache(device)
    costs = []
    for stage in log.stages:
        memory = _stage_memory(stage, calls, weights, residency, device, cached)
        costs.append(_stage_time(stage, log, calls, weights, residency, device, compute, memory))
    allocated = max(stage.peak_allocated_bytes for stage in costs)
    reserved = max(stage.peak_reserved_bytes for stage in costs)
    return Price(
        stages=tuple(costs),
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        required_vram_bytes=required_vram_bytes(costs, device),
        host_ram_bytes=_host_ram(weights, residency, frames_bytes),
    )


def required_vram_bytes(
    stages: Iterable[StageCost], device: Device, residuals: Residuals | None = None
) -> int:
    """What a card must have for these stages: on top of what is reserved each needs the margin of its kind, the CUDA context, and what the
    desktop and other programs hold.

    Args:
        residuals: where the margins are from; None is what ships.
    """
    needed = [
        stage.peak_reserved_bytes + margin_bytes(stage.name, stage.peak_reserved_bytes, residuals)
        for stage in stages
    ]
    return max(needed, default=0) + device.context_bytes + device.desktop_bytes


def fit_probability(stages: Iterable[StageCost], device: Device) -> float:
    """At least how likely the device has enough VRAM for these stages: that of the stage which is closest to its limit."""
    room = device.memory_bytes - device.context_bytes - device.desktop_bytes
    chances = (
        stage_fit_probability(stage.name, room - stage.peak_reserved_bytes, stage.peak_reserved_bytes)
        for stage in stages
    )
    return min(chances, default=0.0)


class ComputeCache:
    """Compute time of each call on one device, worked out once: a search prices the same calls thousands of times."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._known: dict[int, tuple[object, Seconds]] = {}

    def of(self, owner: CallSummary | Stage) -> Seconds:
        """Seconds of a call, or of what the pipeline computes between a stage's calls."""
        known = self._known.get(id(owner))
        if known is None:
            # the owner is kept beside its time, so that its id cannot be given to another object
            known = self._known[id(owner)] = (owner, compute_seconds(owner.ops, self.device))
        return known[1]


@dataclass(frozen=True, slots=True)
class _Memory:
    weights: int
    activations: int
    allocated: int
    reserved: int
    binds: str
    cached: int = 0


def _stage_memory(
    stage: Stage,
    calls: Mapping[str, CallSummary],
    weights: Mapping[str, Weights],
    residency: Residency,
    device: Device,
    cached: Cached,
) -> _Memory:
    workspace = workspace_bytes(device)
    peak = _between_calls(stage, weights, residency)
    most = alone = peak.reserved
    for call in stage.calls:
        summary = calls[call.key]
        held = _weights_on_gpu(call.component, weights, residency, reserved=False)
        held_reserved = _weights_on_gpu(call.component, weights, residency, reserved=True)
        activations = call.live_bytes + summary.peak_bytes + workspace
        live = round_up(call.live_bytes, 2 * MIB) + workspace
        owned = residency.of(call.component), weights[call.component]
        fits = partial(_has_room, device, stage.name)
        reserved, own = cached.reserved(call, summary, *owned, held_reserved + live, fits)
        most, alone = max(most, reserved), max(alone, own)
        if held + activations > peak.allocated:
            where, op = summary.binds
            binds = f"{call.component}{'.' if where else ''}{where}: {op.removeprefix('aten.')}"
            peak = _Memory(held, activations, held + activations, most, binds)
    return replace(peak, reserved=most, cached=most - alone)


def _has_room(device: Device, stage: str, reserved: int) -> bool:
    """Whether the device has so much for the allocator in this stage, and the margin beside it."""
    room = device.memory_bytes - device.context_bytes - device.desktop_bytes
    return reserved + margin_bytes(stage, reserved) <= room


def _between_calls(stage: Stage, weights: Mapping[str, Weights], residency: Residency) -> _Memory:
    """The most that is held while the pipeline itself computes: its own tensors, and the weights that the calls leave there."""
    names = {call.component for call in stage.calls}
    held, held_reserved = (
        max((_weights_on_gpu(name, weights, residency, reserved=reserved) for name in names), default=0)
        for reserved in (False, True)
    )
    reserved_bytes = held_reserved + round_up(stage.live_bytes, 2 * MIB)
    return _Memory(
        held, stage.live_bytes, held + stage.live_bytes, reserved_bytes, f"{stage.name}: the pipeline itself"
    )


def weights_on_gpu(
    running: str | None, weights: Mapping[str, Weights], residency: Residency, *, reserved: bool = False
) -> dict[str, int]:
    """Bytes of each component's weights in VRAM while `running` computes: its own as it is placed, and every resident one's."""
    return {
        name: held.resident_bytes(residency.of(name), reserved=reserved)
        for name, held in weights.items()
        if name == running or residency.of(name).mode == "resident"
    }


def _weights_on_gpu(
    running: str, weights: Mapping[str, Weights], residency: Residency, *, reserved: bool
) -> int:
    return sum(weights_on_gpu(running, weights, residency, reserved=reserved).values())


def workspace_bytes(device: Device) -> int:
    """cuBLAS's workspace, which stays allocated from the first matrix product on."""
    return CUBLAS_WORKSPACE_BYTES.get(device.architecture, CUBLAS_WORKSPACE_DEFAULT_BYTES)


def _stage_time(
    stage: Stage,
    log: CallLog,
    calls: Mapping[str, CallSummary],
    weights: Mapping[str, Weights],
    residency: Residency,
    device: Device,
    compute: ComputeCache,
    memory: _Memory,
) -> StageCost:
    total = compute.of(stage)
    stalls = stalls_low = 0.0
    for call in stage.calls:
        once = compute.of(calls[call.key])
        total = total + once.times(call.count)
        placement = residency.of(call.component)
        share = call.count / max(1, log.num_calls(call.component))
        waits = _Waits(
            call=call, passes=calls[call.key].passes, held=weights[call.component], device=device, once=once
        )
        expected, low = waits.seconds(placement, log.num_visits(call.component) * share)
        stalls += expected
        stalls_low += low
    seconds = total.expected + stalls
    low_s, high_s = band(seconds, total.low + stalls_low, device)
    return StageCost(
        name=stage.name,
        weights_bytes=memory.weights,
        activations_bytes=memory.activations,
        peak_allocated_bytes=memory.allocated,
        peak_reserved_bytes=memory.reserved,
        cached_bytes=memory.cached,
        binds=memory.binds,
        seconds=seconds,
        low_s=low_s,
        high_s=high_s,
        by_kind_s={**dict(zip(KINDS, total.by_kind, strict=True)), "transfer": stalls},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Waits:
    """How long the GPU waits for weights during one call's repetitions in a stage."""

    call: StageCall
    passes: int
    held: Weights
    device: Device
    once: Seconds
    """Compute of one repetition."""

    def seconds(self, placement: Placement, visits: float) -> tuple[float, float]:
        """(expected, low).

        What moves, by the library that moves it: `whole` goes in and out once per visit from pageable memory; `leaves` goes in for
        every pass and is dropped; `blocks` goes in and out for every pass, or with a stream only in, from pinned memory, beside the
        compute.
        """
        if placement == RESIDENT:
            return 0.0, 0.0
        one_way = transfer_seconds(self.held.total_bytes, self.device, pinned=placement.stream)
        least = self.held.total_bytes / self.device.link_bytes_per_s
        if placement.mode == "whole":
            return 2 * one_way * visits, 2 * least * visits
        passes = self.call.count * self.passes
        if placement.mode == "leaves":
            return one_way * passes, least * passes
        if not placement.stream:
            return 2 * one_way * passes, 2 * least * passes
        groups = self.held.groups(placement.blocks_per_group)
        first = max(groups[:2], default=0) / self.held.total_bytes if self.held.total_bytes else 0.0
        late = max(0.0, one_way * (1 - first) - self.once.expected / self.passes)
        return (one_way * first + late) * passes, max(0.0, least - self.once.low / self.passes) * passes


def _host_ram(weights: Mapping[str, Weights], residency: Residency, frames_bytes: int) -> int:
    """Host RAM at its highest: offloaded weights and the finished video, or the largest component on its way to the GPU while loading.

    With a stream, diffusers pins a copy of every weight before the first call, while the originals are still there; with the pinned
    allocator's rounding that gives the 2.5-3 times the weights that its authors measured (diffusers pull request 13381).
    """
    offloaded = 0
    for name, held in weights.items():
        placement = residency.of(name)
        if placement.mode != "resident":
            offloaded += held.total_bytes + (held.pinned_bytes if placement.stream else 0)
    loading = max((held.total_bytes for held in weights.values()), default=0)
    return PROCESS_RAM_BYTES + max(offloaded + frames_bytes, loading)
