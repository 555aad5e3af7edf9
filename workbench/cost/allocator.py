"""A model of PyTorch's CUDA caching allocator: what `torch.cuda.max_memory_reserved` would say.

The rules are those of c10/cuda/CUDACachingAllocator.cpp (PyTorch 2.13, defaults): requests are rounded up to 512 bytes; those of at
most 1 MiB come from the small pool, in segments of 2 MiB; larger ones below 10 MiB come from segments of 20 MiB; larger ones get a
segment of their own, rounded up to 2 MiB. A request takes the smallest free block of its pool that is large enough; what is left over
becomes a free block (in the small pool from 512 bytes on, in the large one from more than 1 MiB on); freed neighbours merge.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from workbench.cost._trace import ALLOC, BLOCK_BYTES, FREE, RUN, Trace, round_up

_MIB = 2**20
SMALL_BYTES = 1 * _MIB
"""`kSmallSize`: the largest request that the small pool serves."""
SMALL_SEGMENT_BYTES = 2 * _MIB
"""`kSmallBuffer`."""
LARGE_SEGMENT_BYTES = 20 * _MIB
"""`kLargeBuffer`: the segment for requests between the small pool's and `MIN_OWN_SEGMENT_BYTES`."""
MIN_OWN_SEGMENT_BYTES = 10 * _MIB
"""`kMinLargeAlloc`: from here on a request gets a segment of its own."""
ROUND_LARGE_BYTES = 2 * _MIB
"""`kRoundLarge`."""


_Key = tuple[int, int, int]
"""(bytes, segment, start) of a free block: what a pool is sorted by."""


@dataclass(slots=True)
class _Block:
    segment: int
    start: int
    size: int
    free: bool = True
    before: _Block | None = None
    after: _Block | None = None


class OutOfMemory(Exception):
    """A request that the limit leaves no room for, even with every cached segment given back."""


@dataclass(slots=True)
class Allocator:
    """An allocator that starts empty. `reserved` is what it has taken from the device, `peak_reserved` the most it had."""

    limit: int | None = None
    """Bytes that the device has for it; None for no limit."""
    reserved: int = 0
    allocated: int = 0
    peak_reserved: int = 0
    _segments: int = 0
    _free: tuple[list[_Key], list[_Key]] = field(default_factory=lambda: ([], []))
    _blocks: dict[tuple[int, int], _Block] = field(default_factory=dict)

    def allocate(self, num_bytes: int) -> _Block:
        """Serves a request; the block is the receipt to `free` it with."""
        size = -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES or BLOCK_BYTES
        is_small = size <= SMALL_BYTES
        pool = self._free[not is_small]
        position = bisect.bisect_left(pool, (size,))
        if position < len(pool):
            _, segment, start = pool.pop(position)
            block = self._blocks[segment, start]
        else:
            block = self._new_segment(size)
        rest = block.size - size
        if rest >= BLOCK_BYTES if is_small else rest > SMALL_BYTES:
            self._split(block, size, pool)
        block.free = False
        self.allocated += block.size
        return block

    def free(self, block: _Block) -> None:
        """Takes a block back and merges it with free neighbours."""
        self.allocated -= block.size
        pool = self._free[block.segment > 0]
        block.free = True
        after, before = block.after, block.before
        if after is not None and after.free:
            _take(pool, after)
            self._merge(block, after)
        if before is not None and before.free:
            _take(pool, before)
            self._merge(before, block)
            block = before
        bisect.insort(pool, (block.size, block.segment, block.start))

    def release_cached(self) -> None:
        """Gives every segment that is wholly free back to the device (`torch.cuda.empty_cache`)."""
        for pool in self._free:
            for key in list(pool):
                block = self._blocks[key[1], key[2]]
                if block.before is None and block.after is None:
                    pool.remove(key)
                    del self._blocks[key[1], key[2]]
                    self.reserved -= block.size

    def _new_segment(self, size: int) -> _Block:
        if size <= SMALL_BYTES:
            segment_bytes = SMALL_SEGMENT_BYTES
        elif size < MIN_OWN_SEGMENT_BYTES:
            segment_bytes = LARGE_SEGMENT_BYTES
        else:
            segment_bytes = round_up(size, ROUND_LARGE_BYTES)
        if self.limit is not None and self.reserved + segment_bytes > self.limit:
            self.release_cached()  # what the real one does before it gives up (`release_cached_blocks`)
            if self.reserved + segment_bytes > self.limit:
                raise OutOfMemory
        # segments of the two pools are told apart by the sign of their number
        self._segments += 1
        number = self._segments if size > SMALL_BYTES else -self._segments
        self.reserved += segment_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        block = self._blocks[number, 0] = _Block(number, 0, segment_bytes)
        return block

    def _split(self, block: _Block, size: int, pool: list[_Key]) -> None:
        start, rest = block.start + size, block.size - size
        remainder = _Block(block.segment, start, rest, True, block, block.after)
        if block.after is not None:
            block.after.before = remainder
        block.after, block.size = remainder, size
        self._blocks[block.segment, start] = remainder
        bisect.insort(pool, (rest, block.segment, start))

    def _merge(self, first: _Block, second: _Block) -> None:
        first.size += second.size
        first.after = second.after
        if second.after is not None:
            second.after.before = first
        del self._blocks[second.segment, second.start]


def _take(pool: list[_Key], block: _Block) -> None:
    """Takes a free block out of its pool, which is sorted."""
    del pool[bisect.bisect_left(pool, (block.size, block.segment, block.start))]


def needed_reserved(trace: Trace, unlimited: int, *, bisections: int = 2) -> int:
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
            replay(trace, Allocator(limit=middle))
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
    trace: Trace, allocator: Allocator, bound: dict[int, _Block], quiet: dict[int, int]
) -> dict[int, _Block]:
    """`bound` are the blocks of the inputs; returns every block the trace left alive, by its id."""
    live: dict[int, _Block] = dict(bound)
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
    event: tuple[object, ...], allocator: Allocator, live: dict[int, _Block], quiet: dict[int, int]
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
