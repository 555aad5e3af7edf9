"""What PyTorch's allocator holds once several calls have run, one after another.

A call's segments stay cached when it is over, and the next one takes what fits of them and new segments for the rest, so a run reserves
more than its largest call alone: how much more is a matter of sizes and order, so the calls' requests are replayed through one allocator.
Each distinct call is replayed once; its repetitions find what it left. A call that replaces features of an earlier step is taken alone,
beside the features: it lies in the room of those before it, and how many of its repetitions have left some is not known here.

The cache is emptied where accelerate sends one model back before it brings the next (`CpuOffload.pre_forward`, behind diffusers'
`enable_model_cpu_offload`; `turns.py` says when). Nothing else in diffusers 0.42 does so between the stages of a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.cost._trace import round_up
from workbench.cost.allocator import (
    DEFAULT_OPTIONS,
    ROUND_LARGE_BYTES,
    SMALL_BYTES,
    Allocator,
    AllocatorOptions,
    Block,
)
from workbench.cost.calllog import CallSummary, StageCall
from workbench.cost.residency import Placement, Weights

_Call = tuple[CallSummary, int]
"""A call, and the bytes of the pipeline's own tensors meanwhile."""


MANY = 10_000
"""Requests of a call from which on they are not replayed in a cache that others have left: each is small beside the call's peak."""

_Held = tuple[int, int, bool]
"""Start and bytes of what is held in a segment, and whether a call has made it."""
_State = tuple[int, tuple[tuple[int, tuple[_Held, ...]], ...]]
"""Bytes of the small pool, and each segment of the large one: its bytes, and what is held in it."""


class Sequences:
    """What sequences of calls reserve. A search prices the same calls thousands of times, and many sequences leave the same cache behind
    them, so each call is replayed once for each state of the allocator that it meets."""

    def __init__(self, options: AllocatorOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        self._steps: dict[tuple[_State, int, int], tuple[CallSummary, _State, int]] = {}

    def reserved(self, calls: tuple[_Call, ...]) -> int:
        """Bytes that are reserved once these calls have run in an allocator that was empty."""
        reserved = 0
        state: _State = (0, ())
        for summary, live_bytes in calls:
            key = (state, id(summary), live_bytes)
            if key not in self._steps:
                replay = _Replay.at(state, self.options)
                found = replay.after(summary, live_bytes)
                # the summary is kept too, so that its id cannot be given to another one
                self._steps[key] = (summary, replay.state(), found)
            _, state, reserved = self._steps[key]
        return reserved


@dataclass(slots=True)
class Cached:
    """Goes through a run's calls in order and says what is reserved at each."""

    sequences: Sequences
    emptied: frozenset[tuple[str, str]] = frozenset()
    """(stage, component) before whose first call the cache is emptied (`turns.sending_back`)."""
    _calls: tuple[_Call, ...] = ()
    """Those since the cache was empty."""
    _moving: int = 0
    """The most weights that came and went since then: each component's find the room of those before."""
    _at: tuple[str, str] | None = None
    """Stage and component of the call before."""
    _streamed: dict[str, int] = field(default_factory=dict)
    """What each component's weights that came on a stream have left: diffusers makes a stream for each component, and the allocator gives
    a request cached blocks of its own stream only (c10/cuda/CUDACachingAllocator.cpp, `get_free_block`)."""

    def reserved(
        self,
        stage: str,
        call: StageCall,
        summary: CallSummary,
        placement: Placement,
        weights: Weights,
        beside: int,
        fits: Callable[[int], bool],
    ) -> tuple[int, int]:
        """Bytes that are reserved once this call has run after those before it, and the part that it would reserve without them.

        Args:
            placement: of the component that is called.
            weights: its weights.
            beside: what is reserved for all weights and, rounded up to 2 MiB, for the pipeline's own tensors meanwhile.
            fits: whether the device has so many bytes for the allocator.
        """
        at = stage, call.component
        if at != self._at and at in self.emptied:
            self._calls, self._moving, self._streamed = (), 0, {}
        self._at = at
        comes_and_goes = placement.mode not in ("resident", "whole")
        passing = weights.passing_bytes(placement, reserved=True) if comes_and_goes else 0
        moving = 0 if placement.stream else passing
        if not summary.given_bytes:
            self._calls = (*self._calls, (summary, call.live_bytes))
        self._moving = max(self._moving, moving)
        left = sum(size for name, size in self._streamed.items() if name != call.component)
        if placement.stream:
            self._streamed[call.component] = passing
        alone = beside + summary.reserved_bytes
        if fits(alone):
            together = alone - moving + self._moving + left
            if len(self._calls) > 1 and not summary.given_bytes:
                own = summary.reserved_bytes + round_up(call.live_bytes, ROUND_LARGE_BYTES)
                together += self.sequences.reserved(self._calls) - own
            if fits(together):
                return together, min(alone, together)
        # short of memory, the allocator gives back what earlier calls have left, on every stream, and then what this one does not need
        # any more
        self._calls, self._moving = () if summary.given_bytes else self._calls[-1:], moving
        self._streamed = {call.component: passing} if placement.stream else {}
        own = alone if fits(alone) else beside + summary.needed_bytes
        return own, own


@dataclass(slots=True)
class _Replay:
    """An allocator that goes through calls one after another."""

    allocator: Allocator
    small_bytes: int = 0
    outputs: list[Block] = field(default_factory=list)
    """Of the call before: the pipeline keeps them (or what it makes of them) while the next one runs."""
    others: list[Block] = field(default_factory=list)
    """What else the pipeline holds, as one block."""

    @classmethod
    def at(cls, state: _State, options: AllocatorOptions) -> _Replay:
        """One that has come to this state."""
        small_bytes, segments = state
        replay = cls(allocator=Allocator(options=options), small_bytes=small_bytes)
        for size, held in segments:
            parts: list[tuple[int, str]] = []
            end = 0
            for start, num_bytes, _ in held:
                parts += [(start - end, "cached")] if start > end else []
                parts.append((num_bytes, "used"))
                end = start + num_bytes
            parts += [(size - end, "cached")] if size > end else []
            used = replay.allocator.adopt(parts, is_small=False)
            for block, (_, _, is_output) in zip(used, held, strict=True):
                (replay.outputs if is_output else replay.others).append(block)
        return replay

    def after(self, summary: CallSummary, live_bytes: int) -> int:
        """Replays a call and returns what is reserved then."""
        allocator = self.allocator
        others = live_bytes - sum(block.size for block in self.outputs)
        made = [allocator.allocate(others)] if others > SMALL_BYTES else []
        self._drop(self.others)
        self.others = made
        live = self._in_what_is_free(summary) if len(summary.requests) > MANY else self._one_by_one(summary)
        self._drop(self.outputs)
        self.outputs = live
        self.small_bytes = max(self.small_bytes, summary.small_bytes)
        return allocator.reserved + self.small_bytes

    def _one_by_one(self, summary: CallSummary) -> list[Block]:
        """Serves a call's requests; returns the blocks that it leaves alive."""
        live: dict[int, Block] = {}
        num_requests = 0
        for request in summary.requests:
            if request >= 0:
                live[num_requests] = self.allocator.allocate(request)
                num_requests += 1
            else:
                self.allocator.free(live.pop(-1 - request))
        return list(live.values())

    def _in_what_is_free(self, summary: CallSummary) -> list[Block]:
        """The same for a call of many small requests (tiles, one after another): they fill what is cached and take the rest anew."""
        allocator = self.allocator
        free = allocator.reserved - allocator.allocated
        more = round_up(summary.reserved_bytes - summary.small_bytes - free, ROUND_LARGE_BYTES)
        if more > 0:
            allocator.adopt([(more, "cached")], is_small=False)
        left: dict[int, int] = {}
        for request in summary.requests:
            if request >= 0:
                left[len(left)] = request
            else:
                left[-1 - request] = 0
        return [allocator.allocate(size) for size in left.values() if size]

    def state(self) -> _State:
        """All that a later call can tell, but for the order of segments of one size."""
        held: dict[int, list[_Held]] = {}
        for block in self.outputs:
            held.setdefault(block.segment, []).append((block.start, block.size, True))
        for block in self.others:
            held.setdefault(block.segment, []).append((block.start, block.size, False))
        segments = self.allocator.large_segments.items()
        return self.small_bytes, tuple(sorted((size, tuple(sorted(held.get(n, ())))) for n, size in segments))

    def _drop(self, blocks: list[Block]) -> None:
        while blocks:
            self.allocator.free(blocks.pop())
