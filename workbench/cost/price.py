"""Puts a price on a run: memory by stage, host RAM and seconds, from what is called, what the weights are and where they live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from workbench._units import MIB
from workbench.cost._band import band
from workbench.cost._cached import Cached, Sequences
from workbench.cost._trace import round_up
from workbench.cost.calllog import CallLog, CallSummary, Stage
from workbench.cost.held import Held, as_placed
from workbench.cost.host import PROCESS_RAM_BYTES, host_ram
from workbench.cost.loading import HostRam, Loaded, LoadPeak, load_peaks
from workbench.cost.margin import Residuals, margin_bytes, stage_fit_probability
from workbench.cost.residency import Residency, Weights
from workbench.cost.roofline import KINDS, Seconds, compute_seconds
from workbench.cost.turns import sending_back
from workbench.cost.waits import waits
from workbench.cost.whereabouts import Timeline
from workbench.devices import Device

CUBLAS_WORKSPACE_BYTES = {"hopper": 32 * MIB, "blackwell": 32 * MIB, "cpu": 0}
"""aten/src/ATen/cuda/CublasHandlePool.cpp, `parseChosenWorkspaceSize`: 32 MiB on compute capability 9, 10 and 12 (Blackwell since
pull request 175344 of February 2026), else `:4096:2:16:8`; none on a CPU. One for each handle and stream: matrix products run on one
stream, also where weights are fetched on another. cuBLASLt works in the same one (`unified_cublas_and_lt_workspaces`)."""
CUBLAS_WORKSPACE_DEFAULT_BYTES = (4096 * 2 + 16 * 8) * 1024


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
    timeline: Timeline = field(default=Timeline(), compare=False, repr=False)
    """Where every component's weights are when."""
    host_ram: HostRam | None = None
    """What `host_ram_bytes` is made of; None in a price that was not made by `price`."""
    loading: tuple[LoadPeak, ...] = ()
    """What each way of loading takes before the run; `host_ram_bytes` is with the first."""

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
    loaded: Mapping[str, Loaded] | None = None,
) -> Price:
    """Prices a run.

    Args:
        calls: summary of each distinct call, by key.
        weights: weights of each component, by name.
        compute: keeps the compute time of calls between prices for one device.
        sequences: keeps what sequences of calls reserve between prices for one set of allocator options.
        frames_bytes: host RAM of the finished video's frames (`frames.frames_ram_bytes`).
        loaded: each component on its way from files; None means that they are loaded as they run.
    """
    compute = compute if compute is not None else ComputeCache(device)
    costs, residency = [], as_placed(residency, log)
    cached = Cached(sequences if sequences is not None else Sequences(), sending_back(log, residency))
    on_gpu = Held(log, weights, residency)
    for stage in log.stages:
        memory = _stage_memory(stage, calls, weights, residency, on_gpu, device, cached)
        time = stage_time(stage, log, calls, weights, residency, device, compute)
        costs.append(_stage_cost(stage, memory, time))
    allocated = max(stage.peak_allocated_bytes for stage in costs)
    reserved = max(stage.peak_reserved_bytes for stage in costs)
    peaks = load_peaks(loaded.values() if loaded is not None else map(_as_it_runs, weights.values()))
    ram = HostRam(
        process_bytes=PROCESS_RAM_BYTES,
        running_bytes=host_ram(weights, residency, frames_bytes) - PROCESS_RAM_BYTES,
        kept_bytes=peaks[0].kept_bytes,
        loading=peaks[0],
    )
    return Price(
        stages=tuple(costs),
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        required_vram_bytes=required_vram_bytes(costs, device),
        host_ram_bytes=ram.total_bytes,
        timeline=Timeline(log=log, calls=calls, weights=weights, residency=residency),
        host_ram=ram,
        loading=peaks,
    )


def _as_it_runs(held: Weights) -> Loaded:
    return Loaded(
        plain_bytes=held.total_bytes, largest_bytes=held.largest_leaf_bytes, stored_bytes=held.total_bytes
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
    on_gpu: Held,
    device: Device,
    cached: Cached,
) -> _Memory:
    workspace = workspace_bytes(device)
    peak = _between_calls(stage, on_gpu)
    most = alone = peak.reserved
    for call in stage.calls:
        summary = calls[call.key]
        held = sum(on_gpu.while_running(call.component, stage.name).values())
        held_reserved = sum(on_gpu.while_running(call.component, stage.name, reserved=True).values())
        activations = call.live_bytes + summary.peak_bytes + workspace
        live = round_up(call.live_bytes, 2 * MIB) + workspace
        owned = residency.of(call.component), weights[call.component]
        fits = partial(_has_room, device, stage.name)
        reserved, own = cached.reserved(stage.name, call, summary, *owned, held_reserved + live, fits)
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


def _between_calls(stage: Stage, on_gpu: Held) -> _Memory:
    """The most that is held while the pipeline itself computes: its own tensors, and the weights that the calls leave there."""
    names = {call.component for call in stage.calls}
    held, held_reserved = (
        max(
            (sum(on_gpu.while_running(name, stage.name, reserved=reserved).values()) for name in names),
            default=0,
        )
        for reserved in (False, True)
    )
    reserved_bytes = held_reserved + round_up(stage.live_bytes, 2 * MIB)
    return _Memory(
        held, stage.live_bytes, held + stage.live_bytes, reserved_bytes, f"{stage.name}: the pipeline itself"
    )


def workspace_bytes(device: Device) -> int:
    """cuBLAS's workspace, which stays allocated from the first matrix product on."""
    return CUBLAS_WORKSPACE_BYTES.get(device.architecture, CUBLAS_WORKSPACE_DEFAULT_BYTES)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTime:
    """One stage's seconds: the part of `StageCost` that no memory decides."""

    seconds: float
    low_s: float
    high_s: float
    by_kind_s: Mapping[str, float] = field(hash=False)


def stage_time(
    stage: Stage,
    log: CallLog,
    calls: Mapping[str, CallSummary],
    weights: Mapping[str, Weights],
    residency: Residency,
    device: Device,
    compute: ComputeCache,
) -> StageTime:
    """Seconds of one stage: its calls' compute, and the waiting for weights.

    Args:
        residency: as the pipeline allows it (`held.as_placed`).
    """
    total = compute.of(stage)
    for call in stage.calls:
        total = total + compute.of(calls[call.key]).times(call.count)
    stalls, stalls_low = waits(stage, log, calls, weights, residency, device, compute.of)
    learned = device.correction(stage.name)
    seconds = (total.expected + stalls) * learned
    low_s, high_s = band(seconds, total.low + stalls_low, device)
    by_kind_s = {
        kind: spent * learned
        for kind, spent in zip((*KINDS, "transfer"), (*total.by_kind, stalls), strict=True)
    }
    return StageTime(seconds=seconds, low_s=low_s, high_s=high_s, by_kind_s=by_kind_s)


def _stage_cost(stage: Stage, memory: _Memory, time: StageTime) -> StageCost:
    return StageCost(
        name=stage.name,
        weights_bytes=memory.weights,
        activations_bytes=memory.activations,
        peak_allocated_bytes=memory.allocated,
        peak_reserved_bytes=memory.reserved,
        cached_bytes=memory.cached,
        binds=memory.binds,
        seconds=time.seconds,
        low_s=time.low_s,
        high_s=time.high_s,
        by_kind_s=time.by_kind_s,
    )
