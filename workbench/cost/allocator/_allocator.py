"""The allocator itself. The rules are those of c10/cuda/CUDACachingAllocator.cpp (PyTorch 2.13), step by step in the same order:

- A request is rounded up to 512 bytes; up to 1 MiB it comes from the small pool, else from the large one. Streams have pools of their own.
- It takes the smallest cached block of its pool that is large enough. What is left over becomes a cached block, in the small pool from
  512 bytes on, in the large one from more than 1 MiB on. Freed neighbours merge.
- If there is none, a segment is taken from the device: 2 MiB, 20 MiB for requests below 10 MiB, else the request rounded up to 2 MiB.
- If the device refuses, every segment that is wholly free is given back, and it is tried once more.

With expandable segments there is one segment per pool, with address space for more than the device has. It grows by pages of 2 MiB (small
pool) or 20 MiB (large one) at the lowest address where the request fits, using a cached block that lies before the new pages. Remainders
are split off from 512 bytes on in both pools. Giving back means unmapping the pages that are wholly free.

With a `max_split_size`, larger cached blocks are neither split nor given to smaller requests, and to larger ones only if less than 20 MiB
would be wasted; when the device refuses, they are given back first. With a garbage collection threshold and a limit by
`set_per_process_memory_fraction`, whole segments that lie longer than the average are given back before a new one is taken.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from workbench.cost._trace import BLOCK_BYTES, round_up
from workbench.cost.allocator._blocks import (
    LARGE_SEGMENT_BYTES,
    SMALL_BYTES,
    Block,
    OutOfMemory,
    Pool,
    rounded,
    segment_bytes,
)
from workbench.cost.allocator._options import DEFAULT_OPTIONS, AllocatorOptions

_ADDRESS_SPACE_BYTES = 1 << 60
"""Of an expandable segment. The real one has 9/8 of the device's memory, which only a badly fragmented one runs out of."""


@dataclass(slots=True)
class Allocator:
    """An allocator that starts empty. `reserved` is what it has taken from the device, `peak_reserved` the most it had."""

    limit: int | None = None
    """Bytes that the device has for it; None for no limit."""
    options: AllocatorOptions = DEFAULT_OPTIONS
    is_fraction: bool = False
    """Whether the limit was set with `set_per_process_memory_fraction`. It is then held against a whole new segment, even where an
    expandable one needs only some pages; and the garbage collection threshold is a share of it."""
    requests: list[int] | None = None
    """If a list, what is asked of the large pools is noted there: bytes, or `-1 - k` where the k-th of these requests is freed."""
    reserved: int = 0
    allocated: int = 0
    peak_reserved: int = 0
    _num_requests: int = 0
    _segments: int = 0
    _pools: dict[tuple[int, bool], Pool] = field(default_factory=dict)
    _most: int | None = field(init=False)
    """`max_split_size` in bytes; the options are looked at for every request, so they are kept at hand."""
    _is_expandable: bool = field(init=False)
    _divisions: int | None = field(init=False)

    def __post_init__(self) -> None:
        self._most = self.options.max_split_bytes
        self._is_expandable = self.options.expandable_segments
        self._divisions = self.options.roundup_power2_divisions

    def allocate(self, num_bytes: int, stream: int = 0) -> Block:
        """Serves a request; the block is the receipt to `free` it with.

        Raises:
            OutOfMemory: the limit leaves no room.
        """
        size = rounded(num_bytes, self._divisions)
        is_small = size <= SMALL_BYTES
        pool = self._pools.get((stream, is_small))
        if pool is None:
            pool = self._pools[stream, is_small] = Pool(is_small)
        block = self._cached(size, pool) or self._new(size, pool)
        rest = block.size - size
        if rest >= BLOCK_BYTES and (is_small or self._is_expandable or self._splits(size, rest)):
            pool.put(_cut(block, size))
        block.free = False
        self.allocated += block.size
        if self.requests is not None and not is_small:
            self.requests.append(num_bytes)
            block.request = self._num_requests
            self._num_requests += 1
        return block

    def free(self, block: Block) -> None:
        """Takes a block back and merges it with free neighbours."""
        self.allocated -= block.size
        if self.requests is not None and not block.pool.is_small:
            self.requests.append(-1 - block.request)
        block.free = True
        self._cache(block)

    @property
    def small_bytes(self) -> int:
        """What the small pools hold."""
        return sum(sum(pool.segments.values()) for pool in self._pools.values() if pool.is_small)

    @property
    def large_segments(self) -> dict[int, int]:
        """Bytes of each segment of the large pools, by its number."""
        return {
            n: held for pool in self._in_order() if not pool.is_small for n, held in pool.segments.items()
        }

    def release_cached(self) -> None:
        """Gives everything that is wholly free back to the device (`torch.cuda.empty_cache`): segments, or pages of expandable ones."""
        for pool in self._in_order():
            for _, _, _, block in list(pool.keys):
                if block.expandable:
                    self._unmap(block)
                elif not block.is_split:
                    self._give_back(block)

    def adopt(self, parts: Iterable[tuple[int, str]], *, is_small: bool, stream: int = 0) -> list[Block]:
        """Takes over a segment as it was found on a device.

        Args:
            parts: bytes of each part in order of address, and whether it is `used`, `cached` or (in an expandable one) `unmapped`.

        Returns:
            The blocks of the parts that are used.
        """
        pool = self._pools.setdefault((stream, is_small), Pool(is_small))
        self._segments += 1
        used: list[Block] = []
        before: Block | None = None
        start = 0
        for size, state in (*parts, *([(_ADDRESS_SPACE_BYTES, "unmapped")] if self._is_expandable else [])):
            block = Block(
                self._segments,
                start,
                size,
                pool,
                state != "used",
                self._is_expandable,
                state != "unmapped",
                before,
            )
            if before is not None:
                before.after = block
            before, start = block, start + size
            if block.mapped:
                self._reserve(size, pool, self._segments)
            if block.free:
                pool.put(block)
            else:
                self.allocated += size
                used.append(block)
        return used

    # --- cached blocks ----------------------------------------------------------------------------------------------

    def _cached(self, size: int, pool: Pool) -> Block | None:
        """The best fit among the cached blocks, taken out of its pool (`get_free_block`)."""
        pool.searches += 1
        keys = pool.keys
        position = bisect.bisect_left(keys, (size,))
        if position == len(keys):
            return None
        block = keys[position][3]
        if block.expandable:
            # a block that could grow counts with the room behind it, so that it is kept for larger requests
            while position + 1 < len(keys) and keys[position + 1][3].room < block.room:
                position += 1
                block = keys[position][3]
        most = self._most
        if (
            most is not None
            and block.size >= most
            and (size < most or block.size - size >= LARGE_SEGMENT_BYTES)
        ):
            return None
        del keys[position]
        return block

    def _splits(self, size: int, rest: int) -> bool:
        """Whether a remainder in the large pool becomes a block of its own (`should_split`)."""
        return rest > SMALL_BYTES and (self._most is None or size < self._most)

    def _cache(self, block: Block) -> None:
        """Merges a free block that is in no list with its neighbours of the same kind, and puts it where it belongs."""
        pool, mapped, after, before = block.pool, block.mapped, block.after, block.before
        if after is not None and after.free and after.mapped is mapped:
            pool.take(after)
            _merge(block, after)
        if before is not None and before.free and before.mapped is mapped:
            pool.take(before)
            _merge(before, block)
            block = before
        pool.put(block)

    # --- the device -------------------------------------------------------------------------------------------------

    def _new(self, size: int, pool: Pool) -> Block:
        """A block with new memory behind it."""
        if self.is_fraction and self.options.garbage_collection_threshold is not None:
            self._collect_garbage()
        block = self._from_device(size, pool)
        if block is None and self._release_oversize(size, pool):
            block = self._from_device(size, pool)
        if block is None:
            self.release_cached()
            block = self._from_device(size, pool)
        if block is None:
            raise OutOfMemory
        return block

    def _from_device(self, size: int, pool: Pool) -> Block | None:
        """A new segment, or more pages of an expandable one; None if the limit is in the way (`alloc_block`)."""
        wanted = segment_bytes(size)
        if (self.is_fraction or not self._is_expandable) and not self._has(wanted):
            return None
        if self._is_expandable:
            return self._expanded(size, pool)
        self._segments += 1
        self._reserve(wanted, pool, self._segments)
        return Block(self._segments, 0, wanted, pool)

    def _has(self, num_bytes: int) -> bool:
        return self.limit is None or self.reserved + num_bytes <= self.limit

    def _reserve(self, num_bytes: int, pool: Pool, segment: int) -> None:
        pool.segments[segment] = pool.segments.get(segment, 0) + num_bytes
        self.reserved += num_bytes
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def _give_back(self, block: Block) -> None:
        block.pool.take(block)
        del block.pool.segments[block.segment]
        self.reserved -= block.size

    def _in_order(self) -> Iterator[Pool]:
        """Large pools first, as they are given back."""
        for small in (False, True):
            yield from (pool for (_, is_small), pool in self._pools.items() if is_small is small)

    def _release_oversize(self, size: int, pool: Pool) -> bool:
        """Gives back the smallest cached block beyond `max_split_size` that is enough, or the largest ones until they are
        (`release_available_cached_blocks`); says whether it was enough."""
        most = self._most
        if most is None:
            return False
        wanted = max(size, most)
        position = bisect.bisect_left(pool.keys, (wanted,))
        if position < len(pool.keys) and not pool.keys[position][3].expandable:
            self._give_back(pool.keys[position][3])
            return True
        released = 0
        for num_bytes, _, _, block in reversed(pool.keys[:position]):
            if released >= wanted or num_bytes < most:
                break
            if not block.expandable:
                released += num_bytes
                self._give_back(block)
        return released >= wanted

    def _collect_garbage(self) -> None:
        """Gives back whole segments of the large pools, the longest unused first (`garbage_collect_cached_blocks`)."""
        threshold = self.options.garbage_collection_threshold
        assert threshold is not None
        if self.limit is None or self.reserved <= int(threshold * self.limit):
            return
        target = self.reserved - int(threshold * self.limit)
        whole = [
            block
            for pool in self._in_order()
            if not pool.is_small
            for _, _, _, block in pool.keys
            if not block.is_split and not block.expandable
        ]
        ages = {id(block): block.pool.searches - block.cached_at for block in whole}
        reclaimed = 0
        while whole and reclaimed < target:
            oldest_from = sum(ages[id(block)] for block in whole) / len(whole)
            kept = []
            for block in whole:
                if ages[id(block)] >= oldest_from:
                    reclaimed += block.size
                    self._give_back(block)
                else:
                    kept.append(block)
            whole = kept

    # --- expandable segments ----------------------------------------------------------------------------------------

    def _expanded(self, size: int, pool: Pool) -> Block | None:
        """A block at the lowest address where cached and new pages together are enough (`try_allocate_expandable_block`)."""
        block = self._lowest(size, pool)
        if not block.mapped and not self._map(block, min(block.size, size)):
            return None
        while block.size < size:
            following = block.after  # address space without memory, by the choice of the block
            assert following is not None
            if not self._map(following, min(size - block.size, following.size)):
                return None
        pool.take(block)
        return block

    def _lowest(self, size: int, pool: Pool) -> Block:
        """Where enough free address space begins; the last stretch of a segment is always enough (`find_expandable_block`)."""
        for space in pool.unmapped:
            start = space.before if space.before is not None and space.before.free else space
            found, block = 0, start
            while found < size and block is not None and block.free:
                found += block.size
                block = block.after  # type: ignore[assignment]
            if found >= size:
                return start
        self._segments += 1
        space = Block(self._segments, 0, _ADDRESS_SPACE_BYTES, pool, expandable=True, mapped=False)
        pool.put(space)
        return space

    def _map(self, space: Block, size: int) -> bool:
        """Puts memory behind the first pages of a stretch and merges them with cached neighbours; False if the limit is in the way."""
        pool = space.pool
        mapped = round_up(size, pool.page_bytes)
        if not self.is_fraction and not self._has(mapped):
            return False
        self._reserve(mapped, pool, space.segment)
        pool.take(space)
        if mapped < space.size:
            pool.put(_cut(space, mapped))
        space.mapped = True
        self._cache(space)
        return True

    def _unmap(self, block: Block) -> None:
        """Gives back the pages that lie wholly in a cached block (`unmap_block`)."""
        pool, page = block.pool, block.pool.page_bytes
        begin, end = round_up(block.start, page), (block.start + block.size) // page * page
        if begin >= end:
            return
        pool.take(block)
        if end < block.start + block.size:
            pool.put(_cut(block, end - block.start))
        if begin > block.start:
            head, block = block, _cut(block, begin - block.start)
            pool.put(head)
        self.reserved -= block.size
        pool.segments[block.segment] -= block.size
        block.mapped = False
        self._cache(block)


def _cut(block: Block, size: int) -> Block:
    """Shortens a block to `size`; what is cut off follows it and is in no list yet."""
    after = block.after
    rest = Block(
        block.segment,
        block.start + size,
        block.size - size,
        block.pool,
        True,
        block.expandable,
        block.mapped,
        block,
        after,
    )
    if after is not None:
        after.before = rest
    block.after, block.size = rest, size
    return rest


def _merge(first: Block, second: Block) -> None:
    first.size += second.size
    first.after = second.after
    if second.after is not None:
        second.after.before = first
