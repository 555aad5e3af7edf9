"""What a call does to memory and to the compute units, as data: no torch here, so a cached trace is read and priced without it.

A `Trace` is the record of one call: every storage it allocates and frees and every op it runs, in order. Calls that repeat (the same
block, the same tile) are `Trace` objects of their own that the parent enters with its own storages bound to the child's, so forty
identical blocks cost the memory and the reading of one; `walk` spells the whole thing out again, op by op.

Storages have small integer ids: `0, 1, ...` were allocated inside the trace, `-1, -2, ...` are its inputs. Events are tuples, in order:

    (ALLOC, id, num_bytes)              a storage comes to life (`num_bytes` unrounded)
    (FREE, id)                          a storage dies
    (RUN, op, path)                     an `Op` has run in the module `path` (after the ALLOCs of its outputs)
    (ENTER, trace, ins, outs, path)     another trace runs: `ins[k]` is our id of its input `-1-k`, `outs` pairs its id with ours

A trace that is to be fused (`_flow.py`) has after each RUN what its op touches; nothing else looks at these:

    (USE, op, reads, writes, fuses)     each of them (id, or None for a weight; offset; bytes); whether a compiler may fuse the op
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ALLOC, FREE, RUN, ENTER, USE = range(5)

BLOCK_BYTES = 512
"""PyTorch's CUDA caching allocator rounds every request up to this (c10/cuda/CUDACachingAllocator.cpp, `kMinBlockSize`)."""


def round_up(num_bytes: int, multiple: int = BLOCK_BYTES) -> int:
    """`num_bytes` rounded up to a multiple."""
    return -(-num_bytes // multiple) * multiple


@dataclass(frozen=True, slots=True)
class Op:
    """One kernel-level operation, as much of it as a price needs. Equal ops are one object within a trace."""

    name: str
    """The ATen overload, `"aten.addmm.default"`."""
    kind: str
    """`matmul`, `attention`, `conv`, `memory` (element-wise, normalisation, copies) or `view` (touches no data)."""
    dtype: str
    """Of the computation: `"bf16"`, `"fp32"`, `"int8"` ..."""
    flops: int
    """Multiplications and additions, counted apart (2 per multiply-add)."""
    read_bytes: int
    write_bytes: int
    dims: tuple[int, ...] = ()
    """What the price of this kind depends on: (batch, m, n, k) of a product, (batch, heads, queries, keys, head_dim) of an attention,
    (output positions, output channels, products per output, spatial dimensions, groups, batch, input elements / last dimension) of a
    convolution, (elements,) of an element-wise op that works out the address of every element."""
    workspace_bytes: int = 0
    """Scratch memory the library takes while the op runs, beyond its outputs (see `_kernels.py` for each rule's source)."""
    _hash: int = field(init=False, repr=False, compare=False)
    """Worked out once: ops are counted by the hundred thousand."""

    def __post_init__(self) -> None:
        numbers = (self.flops, self.read_bytes, self.write_bytes, self.dims, self.workspace_bytes)
        object.__setattr__(self, "_hash", hash((self.name, self.kind, self.dtype, *numbers)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(eq=False, slots=True)
class Trace:
    """The events of one call. Immutable once built; summaries are computed once and kept."""

    name: str
    """The class or method that was called, `"WanTransformerBlock"`."""
    events: list[tuple[Any, ...]]
    input_bytes: tuple[int, ...] = ()
    """Size in bytes of each input storage, in the order of the ids -1, -2, ..."""
    video: tuple[int, int, int] | None = None
    """(frames, height, width) of the videos that a pipeline's run gives; None for the call of a component, or if it does not say."""
    _memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def peak(self, rounding: int = BLOCK_BYTES) -> int:
        """The most bytes alive at once inside the trace, above what was alive at its start; workspaces included."""
        return self._extent(rounding)[0]

    def net(self, rounding: int = BLOCK_BYTES) -> int:
        """Bytes alive at the end above what was alive at the start (outputs, minus inputs that died inside)."""
        return self._extent(rounding)[1]

    def _extent(self, rounding: int) -> tuple[int, int]:
        key = ("extent", rounding)
        if key not in self._memo:
            live = peak = 0
            sizes = {-1 - k: num_bytes for k, num_bytes in enumerate(self.input_bytes)}
            for event in self.events:
                match event:
                    case (0, ident, num_bytes):
                        sizes[ident] = num_bytes
                        live += round_up(num_bytes, rounding)
                        peak = max(peak, live)
                    case (1, ident):
                        live -= round_up(sizes[ident], rounding)
                    case (2, op, _):
                        peak = max(peak, live + op.workspace_bytes)
                    case (3, child, _, outs, _):
                        child_peak, child_net = child._extent(rounding)
                        peak = max(peak, live + child_peak)
                        live += child_net
                        for theirs, ours in outs:
                            sizes[ours] = child.size_of(theirs)
            self._memo[key] = (peak, live)
        extent: tuple[int, int] = self._memo[key]
        return extent

    def size_of(self, ident: int) -> int:
        """Bytes of the storage `ident`, which this trace or one of its children allocated, or which is an input."""
        if ident < 0:
            return self.input_bytes[-1 - ident]
        if "sizes" not in self._memo:
            sizes: dict[int, int] = {}
            for event in self.events:
                if event[0] == ALLOC:
                    sizes[event[1]] = event[2]
                elif event[0] == ENTER:
                    for theirs, ours in event[3]:
                        sizes[ours] = event[1].size_of(theirs)
            self._memo["sizes"] = sizes
        size: int = self._memo["sizes"][ident]
        return size

    def freed_inputs(self) -> frozenset[int]:
        """Positions of the input storages that die inside (a cache that the call replaces)."""
        if "freed" not in self._memo:
            freed = {-1 - event[1] for event in self.events if event[0] == FREE and event[1] < 0}
            for event in self.events:
                if event[0] == ENTER:
                    bound = (event[2][k] for k in event[1].freed_inputs())
                    freed |= {-1 - ident for ident in bound if ident is not None and ident < 0}
            self._memo["freed"] = frozenset(freed)
        found: frozenset[int] = self._memo["freed"]
        return found

    def memory_events(self) -> list[tuple[Any, ...]]:
        """The events without the ops that take no scratch memory: most of them, and nothing to an allocator."""
        if "memory" not in self._memo:
            self._memo["memory"] = [e for e in self.events if e[0] != RUN or e[1].workspace_bytes]
        found: list[tuple[Any, ...]] = self._memo["memory"]
        return found

    def passes(self) -> int:
        """How often the busiest module called directly from here runs."""
        entered = Counter(event[4] for event in self.events if event[0] == ENTER)
        return max(entered.values(), default=1)

    def op_counts(self) -> Counter[Op]:
        """How often each distinct op runs, children included."""
        if "ops" not in self._memo:
            counts: Counter[Op] = Counter()
            entered: Counter[Trace] = Counter()
            for event in self.events:
                if event[0] == RUN:
                    counts[event[1]] += 1
                elif event[0] == ENTER:
                    entered[event[1]] += 1
            for child, times in entered.items():
                for op, count in child.op_counts().items():
                    counts[op] += times * count
            self._memo["ops"] = counts
        total: Counter[Op] = self._memo["ops"]
        return total

    @property
    def flops(self) -> int:
        """All multiplications and additions of the call."""
        return sum(op.flops * count for op, count in self.op_counts().items())

    @property
    def num_ops(self) -> int:
        """Ops that run, views included."""
        return sum(self.op_counts().values())

    def walk(self, path: str = "") -> Iterator[tuple[str, Op, int]]:
        """Spells the trace out: for every op that runs, its module path, the op, and the unrounded live bytes after it."""
        yield from _walk(self, path, [0])

    def argpeak(self, rounding: int = BLOCK_BYTES, path: str = "") -> tuple[str, str]:
        """Where the peak is: (module path, op name) of the first op at which it is reached."""
        live = 0
        peak = self.peak(rounding)
        sizes = {-1 - k: num_bytes for k, num_bytes in enumerate(self.input_bytes)}
        reached: str | None = None
        for event in self.events:
            match event:
                case (0, ident, num_bytes):
                    sizes[ident] = num_bytes
                    live += round_up(num_bytes, rounding)
                    reached = "" if live >= peak else reached
                case (1, ident):
                    live -= round_up(sizes[ident], rounding)
                case (2, op, where):
                    if reached is not None or live + op.workspace_bytes >= peak:
                        return _join(path, where), op.name
                case (3, child, _, outs, where):
                    if live + child.peak(rounding) >= peak:
                        found: tuple[str, str] = child.argpeak(rounding, _join(path, where))
                        return found
                    live += child.net(rounding)
                    for theirs, ours in outs:
                        sizes[ours] = child.size_of(theirs)
        return path, ""


def _join(prefix: str, suffix: str) -> str:
    return f"{prefix}.{suffix}" if prefix and suffix else prefix or suffix


def _walk(trace: Trace, path: str, live: list[int]) -> Iterator[tuple[str, Op, int]]:
    for event in trace.events:
        match event:
            case (0, _, num_bytes):
                live[0] += num_bytes
            case (1, ident):
                live[0] -= trace.size_of(ident)
            case (2, op, where):
                yield _join(path, where), op, live[0]
            case (3, child, _, _, where):
                yield from _walk(child, _join(path, where), live)
