"""The outline of a price: seconds, host RAM and whether it fits, composed stage by stage from parts that are worked out once.

A search prices the same few stages in thousands of combinations. What a stage takes depends on few of the settings:

- its seconds on the components that it calls, on how they are placed, and on the whole components that come and go for it;
- the least memory in which it runs on its calls and on the weights beside them, whatever ran before: short of memory, the allocator
  gives back what earlier calls have left (`_cached.py`). So whether a run fits is a matter of each stage alone, and a run that does not
  fit is short by exactly what its outline says.

How much a run that fits reserves is not: what is cached is carried from stage to stage, so that a search prices in full what it keeps.
Seconds, host RAM, fitting and what is missing are those of `price` to the last bit; tests hold that.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from workbench._units import MIB
from workbench.cost._trace import round_up
from workbench.cost.calllog import CallLog, CallSummary, Stage
from workbench.cost.held import as_placed
from workbench.cost.host import PROCESS_RAM_BYTES, Stay, highest_ram, stay
from workbench.cost.loading import HostRam, Loaded, load_peaks
from workbench.cost.margin import margin_bytes
from workbench.cost.price import ComputeCache, StageTime, stage_time, workspace_bytes
from workbench.cost.residency import Placement, Residency, Weights
from workbench.cost.turns import together, turns
from workbench.devices import Device


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Form:
    """One component under the techniques that rewrite it."""

    weights: Weights
    loaded: Loaded
    calls: Mapping[str, CallSummary]
    """Summary of each of its distinct calls, by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What a search has to know of a configuration before it prices it in full."""

    total_s: float
    least_vram_bytes: Mapping[str, int] = field(hash=False)
    """By stage: what the card must have for it when nothing is left over from earlier stages, context, desktop and margin included."""
    host_ram_bytes: int
    stage_s: Mapping[str, float] = field(hash=False)
    """By stage: its part of `total_s`."""

    def missing_bytes(self, device: Device) -> int:
        """By how much VRAM and host RAM together are exceeded; 0 when it fits."""
        vram = max(0, max(self.least_vram_bytes.values()) - device.memory_bytes)
        ram = max(0, self.host_ram_bytes - device.ram_bytes) if device.ram_bytes is not None else 0
        return vram + ram


@dataclass(frozen=True, slots=True)
class _Held:
    """Bytes that the allocator holds for one component's weights under one placement."""

    idle: int
    """While another component computes; of whole ones, what `turns.py` says comes on top."""
    running: int
    """While it computes itself."""
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Traffic:
    """What a residency does in a run, stage by stage."""

    residency: Residency
    moved: tuple[tuple[str, ...], ...]
    """Of each stage: the whole components that come and go, each as often as it does."""
    sets: tuple[tuple[tuple[str, tuple[tuple[str, ...], ...]], ...], ...]
    """Of each stage: each component that it calls, and the sets of whole ones that may be there."""
    owns: tuple[tuple[tuple[str, Placement], ...], ...]
    """Of each stage: each component that it calls, and its placement."""


class Composer:
    """Composes outlines on one device, and keeps what stages took."""

    def __init__(self, device: Device, compute: ComputeCache) -> None:
        self.device, self._compute = device, compute
        self._workspace = workspace_bytes(device)
        self._times: dict[Hashable, StageTime] = {}
        self._least: dict[tuple[int, int, str], int] = {}
        self._parts: dict[tuple[int, int, str], tuple[_Held, Stay]] = {}
        self._traffic: dict[tuple[int, int], _Traffic] = {}
        self._loads: dict[tuple[int, ...], tuple[int, int]] = {}
        self._margins: dict[tuple[str, int], int] = {}
        self._kept: list[object] = []
        """Everything whose id is part of a key, so that the id is not given to another object."""

    @property
    def num_stage_times(self) -> int:
        """Distinct stages whose seconds were worked out."""
        return len(self._times)

    def outline(
        self, log: CallLog, forms: Mapping[str, Form], residency: Residency, frames_bytes: int
    ) -> Outline:
        """The outline of a run.

        Args:
            forms: every component of the pipeline. Forms and residencies are told apart by identity: give the same object for the same
                thing, or it is worked out again.
            frames_bytes: host RAM of the finished video's frames.
        """
        traffic = self._traffic_of(log, residency)
        parts = {name: self._part(name, form, traffic) for name, form in forms.items()}
        idle = sum(held.idle for held, _ in parts.values())
        least, times = {}, []
        for number, stage in enumerate(log.stages):
            reserved = self._least_reserved(stage, forms, parts, idle, traffic.sets[number])
            least[stage.name] = self._required(stage.name, reserved)
            times.append(self._time(stage, number, log, forms, traffic))
        return Outline(
            total_s=sum(time.seconds for time in times),
            least_vram_bytes=least,
            host_ram_bytes=self._host_ram(forms, [stays for _, stays in parts.values()], frames_bytes),
            stage_s={stage.name: time.seconds for stage, time in zip(log.stages, times, strict=True)},
        )

    # --- memory -------------------------------------------------------------------------------------------------------

    def _least_reserved(
        self,
        stage: Stage,
        forms: Mapping[str, Form],
        parts: Mapping[str, tuple[_Held, Stay]],
        idle: int,
        sets: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...],
    ) -> int:
        most = 0
        for name, beside in sets:
            own = parts[name][0]
            held = idle - own.idle
            if beside:
                held += max(sum([parts[other][0].running for other in names]) for names in beside)
            if (
                not own.is_whole or not beside
            ):  # a whole one is in every set of those that are there while it runs
                held += own.running
            most = max(most, held + self._least_beside(stage, name, forms[name]))
        return most

    def _least_beside(self, stage: Stage, component: str, form: Form) -> int:
        """The least that a stage's calls of a component do with, beside weights."""
        key = (id(stage), id(form), component)
        if key not in self._least:
            between = round_up(stage.live_bytes, 2 * MIB)
            calls = [
                round_up(call.live_bytes, 2 * MIB)
                + self._workspace
                + min(form.calls[call.key].reserved_bytes, form.calls[call.key].needed_bytes)
                for call in stage.calls
                if call.component == component
            ]
            self._least[key] = max(between, *calls)
            self._kept += [stage, form]
        return self._least[key]

    def _required(self, stage: str, reserved: int) -> int:
        key = (stage, reserved)
        if key not in self._margins:
            besides = self.device.context_bytes + self.device.desktop_bytes
            self._margins[key] = reserved + margin_bytes(stage, reserved) + besides
        return self._margins[key]

    def _part(self, name: str, form: Form, traffic: _Traffic) -> tuple[_Held, Stay]:
        key = (id(form.weights), id(traffic), name)
        known = self._parts.get(key)
        if known is None:
            held, placement = form.weights, traffic.residency.of(name)
            is_resident = placement.mode == "resident"
            idle = held.idle_bytes(placement)
            if is_resident and idle:
                idle = held.resident_bytes(placement, reserved=True)
            running = held.resident_bytes(placement, reserved=True)
            part = _Held(idle=idle, running=running, is_whole=placement.mode == "whole")
            known = self._parts[key] = (part, stay(held, placement))
            self._kept.append(held)
        return known

    def _traffic_of(self, log: CallLog, residency: Residency) -> _Traffic:
        key = (id(log), id(residency))
        known = self._traffic.get(key)
        if known is None:
            placed = as_placed(residency, log)
            visits = turns(log, placed)
            moved = tuple(
                tuple(
                    name
                    for turn in visits
                    if turn.stage == stage.name
                    for name in (*turn.brings, *turn.sends_back)
                )
                for stage in log.stages
            )
            names = [tuple(dict.fromkeys(call.component for call in stage.calls)) for stage in log.stages]
            found = [together(log, placed, stage.name) for stage in log.stages]
            sets = tuple(
                tuple((name, beside.get(name, ())) for name in own)
                for own, beside in zip(names, found, strict=True)
            )
            owns = tuple(tuple((name, placed.of(name)) for name in own) for own in names)
            known = self._traffic[key] = _Traffic(placed, moved, sets, owns)
            self._kept += [log, residency]
        return known

    # --- time ---------------------------------------------------------------------------------------------------------

    def _time(
        self, stage: Stage, number: int, log: CallLog, forms: Mapping[str, Form], traffic: _Traffic
    ) -> StageTime:
        moved = tuple([id(forms[name].weights) for name in traffic.moved[number]])
        owns = tuple([(id(forms[name]), placement) for name, placement in traffic.owns[number]])
        key = (id(stage), owns, moved)
        known = self._times.get(key)
        if known is None:
            calls = {name: summary for form in forms.values() for name, summary in form.calls.items()}
            weights = {name: form.weights for name, form in forms.items()}
            known = stage_time(stage, log, calls, weights, traffic.residency, self.device, self._compute)
            self._times[key] = known
            self._kept += [stage, *forms.values()]
        return known

    # --- host RAM -----------------------------------------------------------------------------------------------------

    def _host_ram(self, forms: Mapping[str, Form], stays: list[Stay], frames_bytes: int) -> int:
        key = tuple(map(id, forms.values()))
        if key not in self._loads:
            first = load_peaks(form.loaded for form in forms.values())[0]
            self._loads[key] = (first.kept_bytes, first.host_bytes)
            self._kept += forms.values()
        kept, loading = self._loads[key]
        return HostRam.total_of(PROCESS_RAM_BYTES, highest_ram(stays, frames_bytes), kept, loading)
