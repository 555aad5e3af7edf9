"""Recorded snapshots are replayed: one written by hand, and ones in the form of `torch.cuda.memory._snapshot` made by the model itself."""

from __future__ import annotations

import random
from typing import Any

import pytest

from workbench._errors import InputError
from workbench.cost.allocator import Allocator, AllocatorOptions, Block
from workbench.cost.allocator.snapshots import Record, compare

MIB = 2**20
SETTINGS = {
    "PYTORCH_CUDA_ALLOC_CONF": "",
    "max_split_size": -1,
    "garbage_collection_threshold": 0.0,
    "expandable_segments": False,
    "roundup_power2_divisions": {str(2**k): 0 for k in range(16)},
}


def entry(action: str, address: int, size: int, stream: int = 0) -> dict[str, Any]:
    return {"action": action, "addr": address, "size": size, "stream": stream, "frames": []}


def snapshot(events: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    return {"segments": [], "device_traces": [events], "allocator_settings": {**SETTINGS, **settings}}


def test_snapshot_written_by_hand() -> None:
    # a weight of 24 MiB is there, 6 of its 30 are cached; 4 are served from those, then 12 take a segment of their own
    before = [
        {
            "device": 0,
            "address": 0x1000_0000,
            "total_size": 30 * MIB,
            "stream": 0,
            "segment_type": "large",
            "blocks": [
                {"size": 24 * MIB, "state": "active_allocated"},
                {"size": 6 * MIB, "state": "inactive"},
            ],
        }
    ]
    first, second = 0x1000_0000 + 24 * MIB, 0x7000_0000
    events = [
        entry("alloc", first, 4 * MIB),
        entry("segment_alloc", second, 12 * MIB),
        entry("alloc", second, 12 * MIB - 100),
        entry("free_requested", second, 12 * MIB - 100),
        entry("free_completed", second, 12 * MIB - 100),
        entry("segment_free", second, 12 * MIB),  # empty_cache
        entry("free_requested", first, 4 * MIB),
        entry("free_completed", first, 4 * MIB),
        entry("snapshot", 0, 0),
    ]
    found = compare(Record.of_snapshot(snapshot(events), before))
    assert [num_bytes / MIB for num_bytes in found.recorded] == [30, 42, 42, 30]
    assert found.predicted == found.recorded
    assert (found.first_difference, found.share_equal, found.peak_error) == (None, 1.0, 0.0)


def test_difference_is_found_where_it_begins() -> None:
    events = [entry("alloc", 0x1000, 12 * MIB)]  # served although no segment was ever taken
    found = compare(Record.of_snapshot(snapshot(events)))
    assert (found.recorded, found.predicted, found.first_difference) == ((0,), (12 * MIB,), 0)


def test_memory_that_nobody_allocated_cannot_be_freed() -> None:
    events = [entry("free_completed", 0x1000, 512)]
    with pytest.raises(InputError, match=r"^the record frees 512 bytes that it never allocates$"):
        compare(Record.of_snapshot(snapshot(events)))


def test_options_are_read() -> None:
    found = Record.of_snapshot(
        snapshot([], max_split_size=128 * MIB, garbage_collection_threshold=0.8)
    ).options
    assert found == AllocatorOptions(max_split_size_mb=128, garbage_collection_threshold=0.8)
    assert Record.of_snapshot(snapshot([], max_split_size=2**63 - 1)).options == AllocatorOptions()
    with pytest.raises(InputError, match="roundup_power2_divisions that differ by size"):
        Record.of_snapshot(snapshot([], roundup_power2_divisions={"1": 4, "2": 8}))


class Recorded:
    """An allocator that notes what it does as PyTorch's does."""

    def __init__(self, options: AllocatorOptions) -> None:
        self.allocator = Allocator(options=options)
        self.events: list[dict[str, Any]] = []
        self.held: list[Block] = []

    def run(self, seed: int, num_events: int) -> None:
        dice = random.Random(seed)
        for _ in range(num_events):
            if self.held and dice.random() < 0.48:
                block = self.held.pop(dice.randrange(len(self.held)))
                address = self._address(block)
                self.allocator.free(block)
                self.events += [entry(name, address, 1) for name in ("free_requested", "free_completed")]
            elif dice.random() < 0.03:
                self._reserved(self.allocator.release_cached, "segment_free")
            else:
                size, stream = round(2 ** dice.uniform(8, 28)), dice.randrange(2)
                block = self._reserved(
                    lambda s=size, t=stream: self.allocator.allocate(s, t), "segment_alloc"
                )
                self.held.append(block)
                self.events.append(entry("alloc", self._address(block), size, stream))

    def segments(self) -> list[dict[str, Any]]:
        """As `_snapshot` lists them: stretches with memory, in order of address."""
        cached = [block for pool in self.allocator._pools.values() for *_, block in pool.keys]
        blocks = sorted([*cached, *self.held], key=self._address)
        found: list[dict[str, Any]] = []
        for block in blocks:
            if not found or found[-1]["last"] is not block.before:
                stream, is_small = next(k for k, pool in self.allocator._pools.items() if pool is block.pool)
                found.append(
                    {
                        "address": self._address(block),
                        "segment_type": "small" if is_small else "large",
                        "stream": stream,
                        "blocks": [],
                    }
                )
            found[-1]["last"] = block
            state = "inactive" if block.free else "active_allocated"
            found[-1]["blocks"].append({"size": block.size, "state": state})
        return found

    def _reserved(self, act: Any, name: str) -> Any:
        before = self.allocator.reserved
        result = act()
        change = self.allocator.reserved - before
        if change:
            kind = "segment_map" if change > 0 and self.allocator.options.expandable_segments else name
            self.events.append(entry(kind, 0, abs(change)))
        return result

    @staticmethod
    def _address(block: Block) -> int:
        return block.segment * 2**62 + block.start


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_expandable", [False, True])
def test_record_of_the_model_itself_is_replayed_exactly(is_expandable: bool, seed: int) -> None:
    recorded = Recorded(AllocatorOptions(expandable_segments=is_expandable))
    recorded.run(seed, 150)  # what is there when the recording begins
    before, recorded.events = recorded.segments(), []
    recorded.run(seed + 10, 300)
    found = compare(Record.of_snapshot(snapshot(recorded.events, expandable_segments=is_expandable), before))
    assert len(found.recorded) > 200
    assert found.first_difference is None, found.first_difference
    assert found.recorded[-1] == recorded.allocator.reserved
