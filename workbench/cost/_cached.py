"""What PyTorch's allocator holds once several calls have run, one after another.

A call's segments stay cached when it is over, and the next one takes what fits of them and new segments for the rest, so a run reserves
more than its largest call alone: how much more is a matter of sizes and order, so the calls' requests are replayed through one allocator.
Each distinct call is replayed once; its repetitions find what it left.

The cache is emptied where accelerate sends a model back to the host for the next one (`CpuOffload.pre_forward`, behind diffusers'
`enable_model_cpu_offload`; `turns.py` says when). Nothing else in diffusers 0.42 does so between the stages of a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.cost.allocator import DEFAULT_OPTIONS, Allocator, AllocatorOptions, Block
from workbench.cost.calllog import CallSummary, StageCall
from workbench.cost.residency import Placement, Weights

_Call = tuple[CallSummary, int, int]
"""A call, the bytes of the pipeline's own tensors meanwhile, and those of weights that come and go while it runs."""


class Sequences:
    """What sequences of calls reserve, worked out once each: a search prices the same calls thousands of times."""

    def __init__(self, options: AllocatorOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        self._known: dict[tuple[tuple[int, int, int], ...], tuple[tuple[_Call, ...], int]] = {}

    def reserved(self, calls: tuple[_Call, ...]) -> int:
        """Bytes that are reserved once these calls have run in an allocator that was empty, beyond the pipeline's own tensors."""
        key = tuple((id(summary), live, moving) for summary, live, moving in calls)
        if key not in self._known:
            held = _Replay(self.options)
            for k, call in enumerate(calls):
                # the calls are kept beside the answer, so that their ids cannot be given to other objects
                self._known[key[: k + 1]] = (calls[: k + 1], held.after(*call))
        return self._known[key][1]


@dataclass(slots=True)
class Cached:
    """Goes through a run's calls in order and says what is reserved at each."""

    sequences: Sequences
    _calls: tuple[_Call, ...] = ()
    """Those since the cache was empty."""
    _last: str | None = None
    """The component that was called last."""
    _streamed: dict[str, int] = field(default_factory=dict)
    """What each component's weights that came on a stream have left: diffusers makes a stream for each component, and the allocator gives
    a request cached blocks of its own stream only (c10/cuda/CUDACachingAllocator.cpp, `get_free_block`)."""

    def sent_back_for(self, component: str) -> None:
        """Another component has been sent back to the host for this one, before its first call in a row: the cache is empty."""
        if self._last != component:
            self._calls = ()

    def reserved(
        self,
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
            beside: what is reserved for all weights and for the pipeline's own tensors meanwhile.
            fits: whether the device has so many bytes for the allocator.
        """
        self._last = call.component
        comes_and_goes = placement.mode not in ("resident", "whole")
        passing = weights.passing_bytes(placement, reserved=True) if comes_and_goes else 0
        moving = 0 if placement.stream else passing
        self._calls = (*self._calls, (summary, call.live_bytes, moving))
        alone = beside + summary.reserved_bytes
        left = sum(size for name, size in self._streamed.items() if name != call.component)
        if placement.stream:
            self._streamed[call.component] = passing
        if len(self._calls) > 1 or left:
            together = beside - moving + self.sequences.reserved(self._calls) + left
            if fits(together):
                return together, min(alone, together)
            # short of memory the allocator gives back what earlier calls have left, on every stream
            self._calls = self._calls[-1:]
            self._streamed = {call.component: passing} if placement.stream else {}
        # and then what the call itself does not need any more
        own = alone if fits(alone) else beside + summary.needed_bytes
        return own, own


@dataclass(slots=True)
class _Replay:
    options: AllocatorOptions
    allocator: Allocator = field(init=False)
    small_bytes: int = 0
    outputs: list[Block] = field(default_factory=list)
    """Of the call before: the pipeline keeps them (or what it makes of them) while the next one runs."""

    def __post_init__(self) -> None:
        self.allocator = Allocator(options=self.options)

    def after(self, summary: CallSummary, live_bytes: int, moving_bytes: int) -> int:
        allocator = self.allocator
        if (
            summary.given_bytes
        ):  # the outputs of the call before, or some of them: the requests begin with them
            self._drop_outputs()
        kept = summary.given_bytes + sum(block.size for block in self.outputs)
        moving = allocator.allocate(moving_bytes) if moving_bytes else None
        live: dict[int, Block] = {}
        num_requests = 0
        for request in summary.requests:
            if request >= 0:
                live[num_requests] = allocator.allocate(request)
                num_requests += 1
            else:
                allocator.free(live.pop(-1 - request))
        if moving is not None:
            allocator.free(moving)
        self._drop_outputs()
        self.outputs = list(live.values())
        self.small_bytes = max(self.small_bytes, summary.small_bytes)
        return allocator.reserved + self.small_bytes - min(kept, live_bytes)

    def _drop_outputs(self) -> None:
        for block in self.outputs:
            self.allocator.free(block)
        self.outputs = []
