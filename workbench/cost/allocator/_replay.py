"""Runs traces through an allocator."""

from __future__ import annotations

from workbench.cost._trace import ALLOC, BLOCK_BYTES, FREE, RUN, Trace, round_up
from workbench.cost.allocator._allocator import Allocator
from workbench.cost.allocator._blocks import LARGE_SEGMENT_BYTES, ROUND_LARGE_BYTES, Block, OutOfMemory
from workbench.cost.allocator._options import DEFAULT_OPTIONS, AllocatorOptions


def needed_reserved(
    trace: Trace, unlimited: int, options: AllocatorOptions = DEFAULT_OPTIONS, *, bisections: int = 2
) -> int:
    """The least reserved memory with which the trace runs, by bisection between its live peak and what it takes unlimited.

    The allocator caches segments it does not need; short of memory it gives them back and goes on. The answer is a limit under which
    the replay was seen to succeed, at most `1 / 2**bisections` of the gap above the least.
    """
    low, high = round_up(trace.peak() + given_bytes(trace), ROUND_LARGE_BYTES), unlimited
    if high - low <= LARGE_SEGMENT_BYTES:
        return high
    for _ in range(bisections):
        middle = (low + high) // 2
        try:
            replay(trace, Allocator(limit=middle, options=options))
            high = middle
        except OutOfMemory:
            low = middle
    return high


_QUIET_REPEATS = 2
"""A repeated call that has twice left the reserved bytes alone is taken to leave them alone while it has as much room."""


def given_bytes(trace: Trace) -> int:
    """Bytes of the inputs that die inside (features of the step before, which this one replaces): `replay` places them first, because
    what is allocated after takes their room."""
    return sum(round_up(trace.input_bytes[k], BLOCK_BYTES) for k in trace.freed_inputs())


def replay(trace: Trace, allocator: Allocator | None = None) -> Allocator:
    """Runs a trace's allocations and frees through an allocator (a fresh one by default) and returns it.

    Inputs that die inside are in it from the start (`given_bytes`); the others, whose blocks nothing takes, are not. Repeated calls
    reach a steady state in which freed blocks are reused: after two replays that reserved nothing new, a call's inside is skipped and
    only what it leaves behind is allocated, for as long as what is free is no less than its peak. Calls that keep features fill it.
    """
    allocator = allocator if allocator is not None else Allocator()
    given = {-1 - k: allocator.allocate(trace.input_bytes[k]) for k in sorted(trace.freed_inputs())}
    _replay(trace, allocator, given, {})
    return allocator


def _replay(
    trace: Trace, allocator: Allocator, bound: dict[int, Block], quiet: dict[int, int]
) -> dict[int, Block]:
    """`bound` are the blocks of the inputs; returns every block the trace left alive, by its id."""
    live: dict[int, Block] = dict(bound)
    for event in trace.memory_events():
        code = event[0]
        if code == ALLOC:
            live[event[1]] = allocator.allocate(event[2])
        elif code == FREE:
            block = live.pop(event[1], None)
            if block is not None:
                allocator.free(block)
        elif code == RUN:
            allocator.free(allocator.allocate(event[1].workspace_bytes))
        else:
            _enter(event, allocator, live, quiet)
    return live


def _enter(
    event: tuple[object, ...], allocator: Allocator, live: dict[int, Block], quiet: dict[int, int]
) -> None:
    _, child, ins, outs, _ = event
    assert isinstance(child, Trace) and isinstance(ins, tuple) and isinstance(outs, tuple)
    has_room = allocator.reserved - allocator.allocated >= child.peak()
    if has_room and quiet.get(id(child), 0) >= _QUIET_REPEATS:
        for k in child.freed_inputs():
            block = live.pop(ins[k], None)
            if block is not None:
                allocator.free(block)
        for theirs, ours in outs:
            live[ours] = allocator.allocate(child.size_of(theirs))
        return
    before = allocator.reserved
    inputs = {-1 - k: live[ident] for k, ident in enumerate(ins) if ident in live}
    after = _replay(child, allocator, inputs, quiet)
    quiet[id(child)] = quiet.get(id(child), 0) + 1 if allocator.reserved == before else 0
    for k, ident in enumerate(ins):
        if ident in live and -1 - k not in after:
            del live[ident]
    for theirs, ours in outs:
        live[ours] = after[theirs]
