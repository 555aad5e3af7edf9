"""Sequences worked out by hand from the rules of c10/cuda/CUDACachingAllocator.cpp."""

from __future__ import annotations

import pytest

from workbench.cost import CallSummary
from workbench.cost._trace import ALLOC, ENTER, FREE, RUN, Op, Trace
from workbench.cost.allocator import Allocator, OutOfMemory, given_bytes, needed_reserved, replay

KIB, MIB = 2**10, 2**20


def test_small_request_is_rounded_and_takes_a_2_mib_segment() -> None:
    allocator = Allocator()
    allocator.allocate(1)
    assert (allocator.allocated, allocator.reserved) == (512, 2 * MIB)


def test_small_requests_share_a_segment_until_it_is_full() -> None:
    allocator = Allocator()
    for _ in range(4):
        allocator.allocate(512 * KIB)
    assert allocator.reserved == 2 * MIB
    allocator.allocate(512)
    assert allocator.reserved == 4 * MIB


def test_requests_below_10_mib_share_a_20_mib_segment() -> None:
    allocator = Allocator()
    allocator.allocate(8 * MIB)
    allocator.allocate(8 * MIB)
    assert allocator.reserved == 20 * MIB
    allocator.allocate(8 * MIB)
    assert allocator.reserved == 40 * MIB


def test_large_request_gets_a_segment_rounded_to_2_mib() -> None:
    allocator = Allocator()
    allocator.allocate(11 * MIB + 1)
    assert allocator.reserved == 12 * MIB


def test_remainder_of_a_large_block_is_split_only_above_1_mib() -> None:
    allocator = Allocator()
    allocator.free(allocator.allocate(20 * MIB))
    block = allocator.allocate(19 * MIB)
    assert block.size == 20 * MIB  # a remainder of exactly 1 MiB stays with the block
    allocator.free(block)
    assert allocator.allocate(19 * MIB - 512).size == 19 * MIB - 512


def test_best_fit_takes_the_smallest_block_that_is_large_enough() -> None:
    allocator = Allocator()
    big, small = allocator.allocate(40 * MIB), allocator.allocate(30 * MIB)
    allocator.free(big)
    allocator.free(small)
    assert allocator.allocate(25 * MIB).segment == small.segment
    assert allocator.reserved == 70 * MIB


def test_freed_neighbours_merge_on_both_sides() -> None:
    allocator = Allocator()
    allocator.free(allocator.allocate(60 * MIB))
    parts = [allocator.allocate(20 * MIB) for _ in range(3)]
    assert allocator.reserved == 60 * MIB
    for part in (parts[0], parts[2], parts[1]):
        allocator.free(part)
    allocator.allocate(60 * MIB)
    assert (allocator.reserved, allocator.allocated) == (60 * MIB, 60 * MIB)


def test_limit_gives_cached_segments_back_before_it_fails() -> None:
    allocator = Allocator(limit=100 * MIB)
    allocator.free(allocator.allocate(60 * MIB))
    allocator.allocate(80 * MIB)
    assert allocator.reserved == 80 * MIB
    assert allocator.peak_reserved == 80 * MIB
    with pytest.raises(OutOfMemory):
        allocator.allocate(40 * MIB)


def op(workspace_bytes: int = 0) -> Op:
    return Op("aten.add.Tensor", "memory", "fp32", 0, 1, 1, (), workspace_bytes)


def test_replay_counts_workspace_while_the_op_runs() -> None:
    trace = Trace("call", [(ALLOC, 0, 30 * MIB), (RUN, op(50 * MIB), ""), (FREE, 0)])
    allocator = replay(trace)
    assert (allocator.peak_reserved, allocator.allocated) == (80 * MIB, 0)
    assert trace.peak() == 80 * MIB


def test_replay_binds_a_childs_storages_to_the_parents() -> None:
    # the child frees its input and returns a new storage
    child = Trace("child", [(ALLOC, 0, 20 * MIB), (RUN, op(), ""), (FREE, -1)], (30 * MIB,))
    parent = Trace(
        "parent",
        [
            (ALLOC, 0, 30 * MIB),
            (ENTER, child, (0,), ((0, 1),), "child"),
            (ALLOC, 2, 30 * MIB),
            (FREE, 1),
            (FREE, 2),
        ],
    )
    allocator = replay(parent)
    assert (allocator.peak_reserved, allocator.allocated) == (50 * MIB, 0)
    assert parent.peak() == 50 * MIB
    assert child.freed_inputs() == frozenset({0})


def test_replay_of_repeated_calls_that_keep_features_notices_when_they_no_longer_fit() -> None:
    # each child needs 100 MiB for a while and leaves 20 MiB behind: the 300 MiB freed before are enough for the first ten
    child = Trace("child", [(ALLOC, 0, 100 * MIB), (ALLOC, 1, 20 * MIB), (FREE, 0)])
    calls = [(ENTER, child, (), ((1, 1 + k),), "child") for k in range(14)]
    parent = Trace("parent", [(ALLOC, 0, 300 * MIB), (FREE, 0), *calls])
    assert parent.peak() == 380 * MIB
    allocator = replay(parent)
    assert allocator.allocated == 280 * MIB
    assert allocator.peak_reserved >= parent.peak()


def test_features_that_replace_those_of_the_step_before_take_their_room() -> None:
    trace = Trace(
        "call", [(FREE, -1), (ALLOC, 0, 30 * MIB), (FREE, -2), (ALLOC, 1, 30 * MIB)], (30 * MIB,) * 3
    )
    assert trace.peak() == 0
    assert given_bytes(trace) == 60 * MIB  # the third input stays, and nothing takes its room
    assert replay(trace).peak_reserved == 60 * MIB
    summary = CallSummary.of(trace)
    assert (summary.peak_bytes, summary.reserved_bytes, summary.needed_bytes) == (0, 0, 0)


def test_needed_lies_between_the_live_peak_and_the_unlimited_reserve() -> None:
    # 100 MiB freed in one piece serve 60, the next 60 need a segment of their own although 40 are free
    events = [
        (ALLOC, 0, 100 * MIB),
        (FREE, 0),
        (ALLOC, 1, 60 * MIB),
        (ALLOC, 2, 90 * MIB),
        (FREE, 1),
        (FREE, 2),
    ]
    trace = Trace("call", events)
    unlimited = replay(trace).peak_reserved
    assert unlimited == 190 * MIB
    needed = needed_reserved(trace, unlimited)
    assert trace.peak() == 150 * MIB <= needed <= unlimited
    assert replay(trace, Allocator(limit=needed)).peak_reserved <= needed
