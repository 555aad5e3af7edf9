"""What is alive at a peak, tensor by tensor: where each was made and how large it is. The same events that give the peak its number.

Sizes are rounded up to the allocator's blocks, as in the peak, so that the parts add up to it exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.cost._trace import ALLOC, BLOCK_BYTES, ENTER, FREE, RUN, Trace, round_up
from workbench.cost.calllog import stage_of


@dataclass(frozen=True, slots=True)
class Tensor:
    """One storage that is alive."""

    path: str
    """Module path of the op that made it; empty for the pipeline's own code."""
    op: str
    """The op that made it, without the `aten.` in front; `workspace of …` for scratch memory, `argument` if it was there before."""
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Moment:
    """What is alive when the pipeline makes a call, or between its calls."""

    stage: str
    key: str | None
    """Name of the call in the call log; None between calls."""
    tensors: tuple[Tensor, ...]
    inputs: tuple[int | None, ...] = ()
    """For each input storage of the call its place among `tensors`; None for one from before the run."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(tensor.num_bytes for tensor in self.tensors)


def alive_at_peak(trace: Trace, before: Moment) -> tuple[Tensor, ...]:
    """All that is alive at the peak of a call that is made at this moment, the pipeline's own tensors included.

    Args:
        trace: the call's; its first input is the first of `before.inputs`.
    """
    live: dict[int, Tensor] = dict(enumerate(before.tensors))
    bound = {-1 - k: place for k, place in enumerate(before.inputs) if place is not None}
    _descend(trace, "", live, bound)
    return tuple(live.values())


def _descend(trace: Trace, path: str, live: dict[int, Tensor], bound: dict[int, int]) -> None:
    """Runs a trace up to its peak, keeping `live` (place -> tensor); `bound` gives the places of its storages."""
    peak, above = trace.peak(), 0
    made = _makers(trace)
    for position, event in enumerate(trace.events):
        code = event[0]
        if code == ALLOC:
            size = round_up(event[2], BLOCK_BYTES)
            above += size
            where, op = made[position]
            bound[event[1]] = _keep(live, Tensor(_join(path, where), op, size))
            if above >= peak:
                return
        elif code == FREE:
            above -= round_up(trace.size_of(event[1]), BLOCK_BYTES)
            live.pop(bound.pop(event[1], -1), None)
        elif code == RUN:
            if event[1].workspace_bytes and above + event[1].workspace_bytes >= peak:
                name = f"workspace of {_short(event[1].name)}"
                _keep(live, Tensor(_join(path, event[2]), name, event[1].workspace_bytes))
                return
        elif code == ENTER:
            _, child, ins, outs, where = event
            inner = _join(path, where)
            given = {-1 - k: bound[ident] for k, ident in enumerate(ins) if ident in bound}
            if above + child.peak() >= peak:
                _descend(child, inner, live, given)
                return
            above += child.net()
            for k in child.freed_inputs():
                live.pop(bound.pop(ins[k], -1), None)
            for theirs, ours in outs:
                bound[ours] = _keep(live, _born(child, theirs, inner))


def _keep(live: dict[int, Tensor], tensor: Tensor) -> int:
    place = max(live, default=-1) + 1
    live[place] = tensor
    return place


def _makers(trace: Trace) -> dict[int, tuple[str, str]]:
    """Position of each ALLOC -> (path, op) of the op that follows it, which made it."""
    found: dict[int, tuple[str, str]] = {}
    latest = ("", "cast of the weights")
    for position in range(len(trace.events) - 1, -1, -1):
        event = trace.events[position]
        if event[0] == RUN:
            latest = (event[2], _short(event[1].name))
        elif event[0] == ALLOC:
            found[position] = latest
    return found


def _born(trace: Trace, ident: int, path: str) -> Tensor:
    """A storage that outlives the call which made it."""
    for position, event in enumerate(trace.events):
        if event[0] == ALLOC and event[1] == ident:
            where, op = _makers(trace)[position]
            return Tensor(_join(path, where), op, round_up(event[2], BLOCK_BYTES))
        if event[0] == ENTER:
            for theirs, ours in event[3]:
                if ours == ident:
                    return _born(event[1], theirs, _join(path, event[4]))
    raise KeyError(f"no storage {ident} in the trace of {trace.name}")


def moments(run: Trace, keys: Mapping[int, str]) -> tuple[Moment, ...]:
    """The fullest moments of a run outside its calls: one per stage between calls, one per distinct call before it.

    Args:
        keys: id of each distinct call's trace -> its name, as for `CallLog.of`.
    """
    fullest: dict[tuple[str, str | None], tuple[int, int]] = {}
    walk = _Walk(run, keys)
    for count, (stage, key) in enumerate(walk.moments()):
        if walk.num_bytes > fullest.get((stage, key), (-1, 0))[0]:
            fullest[stage, key] = (walk.num_bytes, count)
    wanted = {count for _, count in fullest.values()}
    again = _Walk(run, keys)
    return tuple(
        again.now(stage, key) for count, (stage, key) in enumerate(again.moments()) if count in wanted
    )


class _Walk:
    """Goes through a run's events, keeping what the pipeline holds."""

    def __init__(self, run: Trace, keys: Mapping[int, str]) -> None:
        self._run, self._keys = run, keys
        self._made = _makers(run)
        self._live: dict[int, Tensor] = {}
        self._held = 0
        self._entering: tuple[Any, ...] | None = None
        entered = (event for event in run.events if event[0] == ENTER and id(event[1]) in keys)
        first = next(entered, None)
        self._stage = "" if first is None else stage_of(first[4].split(".")[0], first[1].name)

    @property
    def num_bytes(self) -> int:
        """What is held now; inside a call of no component (a scheduler's step), what is held at its peak."""
        if self._entering is None or id(self._entering[1]) in self._keys:
            return self._held
        peak: int = self._entering[1].peak()
        return self._held + peak

    def moments(self) -> Iterator[tuple[str, str | None]]:
        """(stage, call about to be made or None) of each moment; look at the walk before asking for the next."""
        for position, event in enumerate(self._run.events):
            if event[0] == ENTER:
                self._entering = event
                component, key = event[4].split(".")[0], self._keys.get(id(event[1]))
                if key is not None:
                    self._stage = stage_of(component, event[1].name)
                yield self._stage, None if key is None else f"{component}:{key}"
                self._entering = None
            self._apply(position, event)
            yield self._stage, None

    def _apply(self, position: int, event: tuple[Any, ...]) -> None:
        match event:
            case (0, int(ident), int(num_bytes)):
                where, op = self._made[position]
                self._hold(ident, Tensor(where, op, round_up(num_bytes, BLOCK_BYTES)))
            case (1, int(ident)):
                self._drop(ident)
            case (3, Trace() as child, tuple(ins), tuple(outs), str(where)):
                for k in child.freed_inputs():
                    self._drop(ins[k])
                for theirs, ours in outs:
                    self._hold(ours, _born(child, theirs, where))

    def _hold(self, ident: int, tensor: Tensor) -> None:
        self._live[ident] = tensor
        self._held += tensor.num_bytes

    def _drop(self, ident: int | None) -> None:
        gone = self._live.pop(ident, None) if ident is not None else None
        self._held -= gone.num_bytes if gone is not None else 0

    def now(self, stage: str, key: str | None) -> Moment:
        """What is alive at this moment."""
        held = tuple(self._live.values())
        if self._entering is None:
            return Moment(stage, key, held)
        places = {ident: place for place, ident in enumerate(self._live)}
        moment = Moment(stage, key, held, tuple(places.get(ident) for ident in self._entering[2]))
        return moment if key is not None else Moment(stage, None, alive_at_peak(self._entering[1], moment))


def _short(op: str) -> str:
    return op.removeprefix("aten.").removesuffix(".default").removesuffix(".Tensor")


def _join(prefix: str, suffix: str) -> str:
    return f"{prefix}.{suffix}" if prefix and suffix else prefix or suffix
