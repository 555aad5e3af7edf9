"""What holds for the allocator whatever is asked of it."""

from __future__ import annotations

import itertools
import random

import pytest

from workbench.cost.allocator import Allocator, AllocatorOptions, Block, OutOfMemory

MIB = 2**20
OPTIONS = {
    "default": AllocatorOptions(),
    "expandable": AllocatorOptions(expandable_segments=True),
    "max split 20": AllocatorOptions(max_split_size_mb=20),
    "expandable, max split 200": AllocatorOptions(expandable_segments=True, max_split_size_mb=200),
    "divisions": AllocatorOptions(roundup_power2_divisions=8),
    "collecting": AllocatorOptions(garbage_collection_threshold=0.5),
}


def run(allocator: Allocator, seed: int, num_events: int = 400) -> list[Block]:
    """Random requests of 256 B to 256 MiB, freed in random order; what runs out is not served. Returns what is still held."""
    dice = random.Random(seed)
    held: list[Block] = []
    asked = 0
    for _ in range(num_events):
        if held and dice.random() < 0.48:
            asked -= (block := held.pop(dice.randrange(len(held)))).size
            allocator.free(block)
        elif dice.random() < 0.02:
            allocator.release_cached()
        else:
            try:
                block = allocator.allocate(round(2 ** dice.uniform(8, 28)), stream=dice.randrange(2))
            except OutOfMemory:
                continue
            held.append(block)
            asked += block.size
        assert allocator.allocated == asked <= allocator.reserved <= allocator.peak_reserved
    return held


def segments(allocator: Allocator, held: list[Block]) -> dict[int, list[Block]]:
    """Every segment's blocks in order of address, found from the cached and the held ones."""
    cached = [block for pool in allocator._pools.values() for _, _, _, block in pool.keys]
    found: dict[int, list[Block]] = {}
    for block in [*cached, *held]:
        while block.before is not None:
            block = block.before
        chain = [block]
        while (after := chain[-1].after) is not None:
            chain.append(after)
        found[block.segment] = chain
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit_mib", [None, 700])
@pytest.mark.parametrize("name", OPTIONS)
def test_memory_is_conserved(name: str, limit_mib: int | None, seed: int) -> None:
    limit = None if limit_mib is None else limit_mib * MIB
    is_fraction = name == "collecting"
    allocator = Allocator(limit=limit, options=OPTIONS[name], is_fraction=is_fraction)
    held = run(allocator, seed)
    chains = segments(allocator, held)
    assert sum(b.size for chain in chains.values() for b in chain if b.mapped) == allocator.reserved
    assert sum(b.size for chain in chains.values() for b in chain if not b.free) == allocator.allocated
    for chain in chains.values():
        assert chain[0].start == 0
        for left, right in itertools.pairwise(chain):
            assert left.start + left.size == right.start
            assert right.before is left
            assert not (left.free and right.free and left.mapped is right.mapped), "unmerged neighbours"
    if limit is not None and not allocator.options.expandable_segments:
        assert allocator.peak_reserved <= limit
    for block in held:
        allocator.free(block)
    allocator.release_cached()
    assert (allocator.allocated, allocator.reserved) == (0, 0)


@pytest.mark.parametrize("seed", range(6))
def test_expandable_segments_waste_less_where_sizes_keep_changing(seed: int) -> None:
    default, growing = Allocator(), Allocator(options=OPTIONS["expandable"])
    run(default, seed)
    run(growing, seed)
    assert growing.peak_reserved <= default.peak_reserved


@pytest.mark.parametrize("name", ["default", "expandable"])
def test_same_requests_again_reserve_nothing_new(name: str) -> None:
    dice = random.Random(5)
    sizes = [round(2 ** dice.uniform(8, 28)) for _ in range(40)]
    allocator = Allocator(options=OPTIONS[name])

    def once() -> int:
        for block in [allocator.allocate(size) for size in sizes]:
            allocator.free(block)
        return allocator.reserved

    assert once() == once() == once()


def test_unlimited_and_just_enough_reserve_the_same() -> None:
    free, tight = Allocator(), Allocator()
    run(free, 3)
    tight.limit = free.peak_reserved
    run(tight, 3)
    assert tight.peak_reserved == free.peak_reserved
