"""What remains of a call's ops when a compiler fuses them: pure bookkeeping over a trace with USE events, no torch here.

Inductor generates element-wise ops, copies, casts and reductions over rows itself, and calls libraries for products, convolutions and
attention (`torch/_inductor`: `lowering.py`, `scheduler.py`; no epilogue is fused into a library's product). So between library calls,
whatever hangs together becomes one kernel, which reads its inputs from outside once and writes only what somebody outside reads. An op's
depth is the number of library calls before it on its longest path; ops of one depth never have a library call between them, so that
fusing those that hang together is always possible.

What this leaves out: inductor's limits on a kernel's size (64 nodes; parts of a larger one are written and read once more), and that
kernels which only share an input are sometimes fused too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from workbench.cost._trace import ENTER, FREE, RUN, USE, Op, Trace

Extent = tuple[int | None, int, int]
"""(storage, where in it, bytes)."""

FUSED = "inductor.fused.default"
"""Name of a fused kernel's `Op`."""


@dataclass(eq=False, slots=True)
class _Node:
    """One op, or the call of a block."""

    op: Op | None
    """None for the call of a block."""
    writes: tuple[Extent, ...]
    fuses: bool
    reads: list[tuple[Extent, tuple[_Node, ...]]] = field(default_factory=list)
    """What is read, and who wrote it; nobody if it is a weight or was there before."""
    readers: list[_Node] = field(default_factory=list)
    depth: int = 0
    leader: _Node | None = None
    """Another node of the same kernel; None for the one that stands for it."""

    @property
    def is_fill(self) -> bool:
        """Whether it is made from nothing, so that each kernel that needs it makes it itself."""
        return self.fuses and not self.reads

    def kernel(self) -> _Node:
        node = self
        while node.leader is not None:
            node = node.leader
        return node


def fused_counts(trace: Trace, *, whole: bool) -> Counter[Op]:
    """How often each distinct op and fused kernel runs, the blocks that the trace enters included.

    Args:
        whole: fuse what the trace itself runs too; otherwise only what the blocks that it enters run.
    """
    key = ("fused", whole)
    if key not in trace._memo:
        counts = _fused(trace) if whole else Counter(event[1] for event in trace.events if event[0] == RUN)
        for child, times in Counter(event[1] for event in trace.events if event[0] == ENTER).items():
            for op, count in fused_counts(child, whole=True).items():
                counts[op] += times * count
        trace._memo[key] = counts
    found: Counter[Op] = trace._memo[key]
    return found


def _fused(trace: Trace) -> Counter[Op]:
    nodes, last_writers = _graph(trace)
    freed = {event[1] for event in trace.events if event[0] == FREE}
    kernels: dict[int, list[_Node]] = {}
    counts: Counter[Op] = Counter()
    for node in nodes:
        if node.fuses:
            kernels.setdefault(id(node.kernel()), []).append(node)
        elif node.op is not None:
            counts[node.op] += 1
    for members in kernels.values():
        op = _as_one(members, trace, freed, last_writers)
        if op is not None:
            counts[op] += 1
    return counts


def _graph(trace: Trace) -> tuple[list[_Node], dict[int, list[_Node]]]:
    """The ops in order, joined into kernels; and who wrote each storage last."""
    nodes: list[_Node] = []
    writers: dict[int, list[_Node]] = {}
    for event in trace.events:
        if event[0] == USE:
            _, op, reads, writes, fuses = event
            node = _Node(op, writes, fuses)
        elif event[0] == ENTER:
            _, child, ins, outs, _ = event
            reads = [(ident, 0, trace.size_of(ident)) for ident in ins if ident is not None]
            node = _Node(None, tuple((ours, 0, child.size_of(theirs)) for theirs, ours in outs), False)
        else:
            continue
        _connect(node, reads, writers)
        for extent in node.writes:
            ident, _, num_bytes = extent
            if ident is not None:
                is_all = num_bytes >= trace.size_of(ident)
                writers[ident] = [node] if is_all else [*writers.get(ident, ()), node]
        nodes.append(node)
    return nodes, writers


def _connect(node: _Node, reads: Iterable[Extent], writers: dict[int, list[_Node]]) -> None:
    sources: dict[int, _Node] = {}
    for extent in reads:
        wrote = tuple(writers.get(extent[0], ())) if extent[0] is not None else ()
        node.reads.append((extent, wrote))
        sources.update({id(source): source for source in wrote})
    for source in sources.values():
        source.readers.append(node)
    node.depth = max((source.depth for source in sources.values()), default=0) + (not node.fuses)
    if node.fuses:
        for source in sources.values():
            if source.fuses and source.depth == node.depth and source.kernel() is not node.kernel():
                source.kernel().leader = node.kernel()


def _as_one(
    members: list[_Node], trace: Trace, freed: set[int], last_writers: dict[int, list[_Node]]
) -> Op | None:
    """The kernel of some nodes; None if nobody reads what it writes (statistics of a norm, for a backward pass)."""
    kernel = members[0].kernel()
    read: set[Extent] = set()
    written: set[Extent] = set()
    unnamed = 0  # weights: each is read by one op
    for node in members:
        for extent, wrote in node.reads:
            if extent[0] is None:
                unnamed += extent[2]
            elif not wrote or any(source.kernel() is not kernel and not source.is_fill for source in wrote):
                read.add(extent)
        is_read = any(
            not reader.fuses if node.is_fill else reader.kernel() is not kernel for reader in node.readers
        )
        for extent in node.writes:
            ident = extent[0]
            stays = ident is None or (ident not in freed and node in last_writers[ident])
            if is_read or stays:
                written.add(extent)
    if not written:
        return None
    largest = max(members, key=lambda node: sum(extent[2] for extent in node.writes))
    assert largest.op is not None
    return Op(FUSED, "memory", largest.op.dtype, 0, _bytes(read, trace) + unnamed, _bytes(written, trace))


def _bytes(extents: Iterable[Extent], trace: Trace) -> int:
    """Bytes of distinct parts of storages; parts that overlap count no more than the storage has."""
    by_storage: Counter[int | None] = Counter()
    for ident, _, num_bytes in extents:
        by_storage[ident] += num_bytes
    return sum(
        num_bytes if ident is None else min(num_bytes, trace.size_of(ident))
        for ident, num_bytes in by_storage.items()
    )
