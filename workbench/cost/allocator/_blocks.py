"""Blocks, the pools they wait in, and how requests are rounded. Sizes and names of constants are those of c10/core/AllocatorConfig.h."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from workbench._units import MIB
from workbench.cost._trace import BLOCK_BYTES, round_up

SMALL_BYTES = 1 * MIB
"""`kSmallSize`: the largest request that the small pool serves."""
SMALL_SEGMENT_BYTES = 2 * MIB
"""`kSmallBuffer`: a segment of the small pool, and its page in an expandable segment."""
LARGE_SEGMENT_BYTES = 20 * MIB
"""`kLargeBuffer`, `large_segment_size`: the segment for requests between the small pool's and `MIN_OWN_SEGMENT_BYTES`, and the large
pool's page in an expandable segment."""
MIN_OWN_SEGMENT_BYTES = 10 * MIB
"""`kMinLargeAlloc`: from here on a request gets a segment of its own."""
ROUND_LARGE_BYTES = 2 * MIB
"""`kRoundLarge`."""


class OutOfMemory(Exception):
    """A request that the limit leaves no room for, even with every cached segment given back."""


@dataclass(slots=True, eq=False)
class Block:
    """A stretch of a segment: in use, cached, or (in an expandable segment) address space without memory behind it."""

    segment: int
    start: int
    """Offset in the segment, bytes."""
    size: int
    pool: Pool
    free: bool = True
    expandable: bool = False
    mapped: bool = True
    """Whether memory is behind it; always, outside of expandable segments."""
    before: Block | None = None
    after: Block | None = None
    request: int = 0
    """Which of the noted requests it serves."""
    cached_at: int = 0
    """How many searches its pool had seen when it was last put there."""

    @property
    def is_split(self) -> bool:
        """Whether it is a part of a segment only."""
        return self.before is not None or self.after is not None

    @property
    def room(self) -> int:
        """What it could hold if the address space behind it were mapped."""
        after = self.after
        return self.size + (after.size if after is not None and not after.mapped else 0)


_Key = tuple[int, int, int, Block]
"""(bytes, segment, start, block): the order of a search for the best fit. Segment and start are unique, so blocks are never compared."""


@dataclass(slots=True, eq=False)
class Pool:
    """The cached blocks of one size class and stream."""

    is_small: bool
    keys: list[_Key] = field(default_factory=list)
    """Blocks that are free and mapped, sorted."""
    unmapped: list[Block] = field(default_factory=list)
    """Address space without memory, by address."""
    searches: int = 0
    segments: dict[int, int] = field(default_factory=dict)
    """Bytes on the device of each segment, by its number."""

    @property
    def page_bytes(self) -> int:
        """What an expandable segment of this pool grows by."""
        return SMALL_SEGMENT_BYTES if self.is_small else LARGE_SEGMENT_BYTES

    def put(self, block: Block) -> None:
        """Notes a free block: as cached, or as address space without memory."""
        if block.mapped:
            block.cached_at = self.searches
            bisect.insort(self.keys, (block.size, block.segment, block.start, block))
        else:
            bisect.insort(self.unmapped, block, key=_address)

    def take(self, block: Block) -> None:
        """Takes a free block out again."""
        if block.mapped:
            del self.keys[bisect.bisect_left(self.keys, (block.size, block.segment, block.start))]
        else:
            del self.unmapped[bisect.bisect_left(self.unmapped, _address(block), key=_address)]


def _address(block: Block) -> tuple[int, int]:
    return block.segment, block.start


def rounded(num_bytes: int, divisions: int | None) -> int:
    """A request as it is served (`round_size`)."""
    if divisions is not None and divisions > 1 and num_bytes > BLOCK_BYTES * divisions:
        step = (1 << (num_bytes.bit_length() - 1)) // divisions
        return round_up(num_bytes, step)
    return round_up(num_bytes) or BLOCK_BYTES


def segment_bytes(size: int) -> int:
    """The segment that is taken from the device for a request of `size` (`get_allocation_size`)."""
    if size <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    return LARGE_SEGMENT_BYTES if size < MIN_OWN_SEGMENT_BYTES else round_up(size, ROUND_LARGE_BYTES)
