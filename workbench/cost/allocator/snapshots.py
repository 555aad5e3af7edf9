"""Replays what a GPU's allocator was recorded to do, and compares what the model reserves with what the GPU did, step by step.

A record is what `torch.cuda.memory._snapshot()` returns after `torch.cuda.memory._record_memory_history(context=None)`, or the compact
form that studies/gpu_validation keeps of it. Requests and frees are replayed; segments that were taken are compared with the model's own;
where segments were given back (`empty_cache`, or short of memory), the model gives back what it has cached.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench._errors import InputError
from workbench.cost.allocator._allocator import Allocator
from workbench.cost.allocator._blocks import Block
from workbench.cost.allocator._options import DEFAULT_OPTIONS, AllocatorOptions

_MIB = 2**20
_TAKEN = {"segment_alloc": 1, "segment_map": 1, "segment_free": -1, "segment_unmap": -1}
"""What an event does to the reserved bytes."""
_USED = "active"
"""How the states of blocks begin that are no longer or not yet free (`active_allocated`, `active_awaiting_free`, in older ones
`active_pending_free`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A segment that was there when the recording began; of expandable ones, each stretch that has memory counts as one."""

    address: int
    is_small: bool
    stream: int
    blocks: tuple[tuple[int, bool], ...]
    """Bytes of each block in order of address, and whether it is in use."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that the allocator did, by the names of `torch.cuda.memory._snapshot`."""

    action: str
    address: int
    num_bytes: int
    stream: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What happened on one device, and the options it happened under."""

    segments: tuple[Segment, ...]
    events: tuple[Event, ...]
    options: AllocatorOptions = DEFAULT_OPTIONS

    @classmethod
    def of_snapshot(
        cls, snapshot: Mapping[str, Any], before: Iterable[Mapping[str, Any]] = (), *, device: int = 0
    ) -> Record:
        """From `torch.cuda.memory._snapshot()`.

        Args:
            before: the `segments` of a snapshot that was taken when the recording began; none if nothing was reserved then.

        Raises:
            InputError: options that the model does not have.
        """
        events = [
            Event(entry["action"], entry.get("addr", 0), entry["size"], entry.get("stream", 0))
            for entry in snapshot["device_traces"][device]
            if entry["action"] != "snapshot"
        ]
        segments = [
            _segment(
                found["address"],
                found["segment_type"],
                found["stream"],
                [(block["size"], block["state"]) for block in found["blocks"]],
            )
            for found in before
            if found.get("device", device) == device
        ]
        return cls(
            segments=tuple(segments),
            events=tuple(events),
            options=_options(snapshot.get("allocator_settings", {})),
        )

    @classmethod
    def load(cls, path: Path) -> Record:
        """From a gzipped file of studies/gpu_validation (`watch.compact`).

        Raises:
            InputError: the recording was longer than its buffer, so that its beginning is missing; or options that the model does not
                have.
        """
        data = json.loads(gzip.decompress(path.read_bytes()))
        if data["cut"]:
            raise InputError(f"{path} is not whole: the recording was longer than its buffer")
        actions = data["actions"]
        segments = [
            _segment(found["address"], found["pool"], found["stream"], found["blocks"])
            for found in data["segments_at_start"]
        ]
        return cls(
            segments=tuple(segments),
            events=tuple(Event(actions[row[0]], *row[1:]) for row in data["events"]),
            options=_options(data["allocator_settings"]),
        )


def _segment(address: int, pool: str, stream: int, blocks: Iterable[tuple[int, str]]) -> Segment:
    return Segment(
        address=address,
        is_small=pool == "small",
        stream=stream,
        blocks=tuple((size, state.startswith(_USED)) for size, state in blocks),
    )


def _options(settings: Mapping[str, Any]) -> AllocatorOptions:
    """From a snapshot's `allocator_settings`; an unlimited `max_split_size` is -1 there, a threshold that is not set 0."""
    split, threshold = settings.get("max_split_size", -1), settings.get("garbage_collection_threshold", 0.0)
    divisions = {int(value) for value in settings.get("roundup_power2_divisions", {}).values()} - {0}
    if len(divisions) > 1:
        raise InputError(
            f"roundup_power2_divisions that differ by size are not modelled: {sorted(divisions)}"
        )
    return AllocatorOptions(
        expandable_segments=bool(settings.get("expandable_segments", False)),
        max_split_size_mb=int(split) // _MIB if 0 < int(split) < 2**62 else None,
        garbage_collection_threshold=float(threshold) or None,
        roundup_power2_divisions=divisions.pop() if divisions else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Reserved bytes after each request and each free that was replayed."""

    recorded: tuple[int, ...]
    predicted: tuple[int, ...]

    @property
    def peak_error(self) -> float:
        """Of the highest predicted value against the highest recorded one, as a fraction."""
        most = max(self.recorded, default=0)
        return max(self.predicted, default=0) / most - 1.0 if most else 0.0

    @property
    def first_difference(self) -> int | None:
        """The first step at which they are not equal."""
        pairs = enumerate(zip(self.recorded, self.predicted, strict=True))
        return next((k for k, (recorded, predicted) in pairs if recorded != predicted), None)

    @property
    def share_equal(self) -> float:
        """The share of steps at which they are equal."""
        equal = sum(a == b for a, b in zip(self.recorded, self.predicted, strict=True))
        return equal / len(self.recorded) if self.recorded else 1.0


def compare(record: Record) -> Comparison:
    """Replays a record through the model.

    Raises:
        InputError: memory is freed that was neither requested nor there at the start.
    """
    allocator = Allocator(options=record.options)
    live = dict(_adopted(record.segments, allocator))
    reserved = allocator.reserved
    recorded, predicted = [], []
    was_given_back = False
    for event in record.events:
        sign = _TAKEN.get(event.action)
        if sign is not None:
            reserved += sign * event.num_bytes
            if sign < 0 and not was_given_back:  # the first of several
                allocator.release_cached()
            was_given_back = sign < 0
            continue
        was_given_back = False
        if event.action == "alloc":
            live[event.address] = allocator.allocate(event.num_bytes, event.stream)
        elif event.action == "free_completed":
            if event.address not in live:
                raise InputError(f"the record frees {event.num_bytes} bytes that it never allocates")
            allocator.free(live.pop(event.address))
        else:  # a free that waits for other streams, or a request that failed
            continue
        recorded.append(reserved)
        predicted.append(allocator.reserved)
    return Comparison(recorded=tuple(recorded), predicted=tuple(predicted))


def _adopted(segments: Iterable[Segment], allocator: Allocator) -> Iterator[tuple[int, Block]]:
    """Puts the segments into an empty allocator; yields the blocks in use by their addresses."""
    chains: dict[object, list[Segment]] = {}
    for segment in sorted(segments, key=lambda segment: segment.address):
        # stretches of an expandable segment belong together
        key = (segment.is_small, segment.stream) if allocator.options.expandable_segments else segment.address
        chains.setdefault(key, []).append(segment)
    for chain in chains.values():
        parts: list[tuple[int, str]] = []
        addresses = []
        end = chain[0].address
        for segment in chain:
            if segment.address > end:
                parts.append((segment.address - end, "unmapped"))
            end = segment.address
            for size, is_used in segment.blocks:
                if is_used:
                    addresses.append(end)
                parts.append((size, "used" if is_used else "cached"))
                end += size
        blocks = allocator.adopt(parts, is_small=chain[0].is_small, stream=chain[0].stream)
        yield from zip(addresses, blocks, strict=True)
