"""Options of the allocator, on sequences worked out by hand from the rules of c10/cuda/CUDACachingAllocator.cpp; sizes in MiB."""

from __future__ import annotations

import re
from typing import Any

import pytest

from workbench._errors import SettingsError
from workbench.cost.allocator import Allocator, AllocatorOptions, Block, OutOfMemory

KIB, MIB = 2**10, 2**20


def expandable(limit_mib: int | None = None, **more: Any) -> Allocator:
    options = AllocatorOptions(expandable_segments=True)
    return Allocator(limit=None if limit_mib is None else limit_mib * MIB, options=options, **more)


def take(allocator: Allocator, *sizes_mib: float) -> list[Block]:
    return [allocator.allocate(round(size * MIB)) for size in sizes_mib]


def reserved(allocator: Allocator) -> float:
    return allocator.reserved / MIB


# --- expandable segments ------------------------------------------------------------------------------------------------


def test_large_pool_grows_by_pages_of_20_mib_and_small_pool_by_pages_of_2() -> None:
    allocator = expandable()
    take(allocator, 30)
    assert reserved(allocator) == 40
    take(allocator, 5)  # of the 10 that are mapped and free
    assert reserved(allocator) == 40
    take(allocator, 10)  # the 5 left over and one more page
    assert reserved(allocator) == 60
    allocator.allocate(1)
    assert reserved(allocator) == 62


def test_requests_lie_next_to_each_other_in_one_segment() -> None:
    allocator = expandable()
    blocks = take(allocator, 3, 30, 11)
    assert [block.start / MIB for block in blocks] == [0, 3, 33]
    assert len({block.segment for block in blocks}) == 1


def test_expandable_remainders_are_split_off_from_512_bytes_on() -> None:
    allocator = expandable()
    block = allocator.allocate(20 * MIB - 512)
    assert block.size == 20 * MIB - 512
    assert block.after is not None and block.after.size == 512


def test_block_that_could_grow_is_kept_for_larger_requests() -> None:
    allocator = expandable()
    first, *_ = take(allocator, 12, 4, 4, 10)  # 10 are left at the end, with address space behind them
    allocator.free(first)
    (block,) = take(allocator, 8)
    assert block.start == 0  # best fit would be the 10 at the end


def test_only_pages_that_are_wholly_free_are_given_back() -> None:
    allocator = expandable()
    blocks = take(allocator, 12, 4, 4, 30)
    assert reserved(allocator) == 60
    for block in (blocks[0], blocks[2], blocks[3]):
        allocator.free(block)
    allocator.release_cached()
    assert reserved(allocator) == 20  # the page that the second request lies in
    allocator.free(blocks[1])
    allocator.release_cached()
    assert reserved(allocator) == 0


def test_gap_is_filled_again_where_the_request_fits_in_it() -> None:
    allocator = expandable()
    first, *_ = take(allocator, 20, 20, 20)
    allocator.free(first)
    allocator.release_cached()
    assert reserved(allocator) == 40
    (large,) = take(allocator, 30)  # the gap of 20 is too small: at the end
    assert (large.start / MIB, reserved(allocator)) == (60, 80)
    (small,) = take(allocator, 15)  # more than the 10 at the end: the lowest address is in the gap
    assert (small.start / MIB, reserved(allocator)) == (0, 100)


def test_free_block_before_a_gap_is_used_together_with_it() -> None:
    allocator = expandable()
    first, second, _ = take(allocator, 30, 30, 20)
    allocator.free(second)  # 30 to 60
    allocator.release_cached()
    assert (
        reserved(allocator) == 60
    )  # the page from 40 to 60 is gone, 30 to 40 shares one with the first request
    (block,) = take(allocator, 25)
    assert (block.start / MIB, reserved(allocator)) == (30, 80)
    assert first.after is block


def test_expandable_segment_gives_pages_back_before_it_fails() -> None:
    allocator = expandable(64)
    (large,) = take(allocator, 30)
    allocator.allocate(1)
    allocator.free(large)
    take(allocator, 50)  # one page more than 40 fits: 62
    assert reserved(allocator) == 62
    with pytest.raises(OutOfMemory):
        take(allocator, 20)
    assert reserved(allocator) == 62


def test_memory_fraction_is_held_against_the_whole_request() -> None:
    device, fraction = expandable(100), expandable(100, is_fraction=True)
    for allocator in (device, fraction):
        take(allocator, 30)
    take(device, 70)  # 10 are there, three pages more
    assert reserved(device) == 100
    with pytest.raises(OutOfMemory):  # 40 + 70 are over 100
        take(fraction, 70)


# --- max_split_size -----------------------------------------------------------------------------------------------------


def splitting(limit_mib: int | None = None) -> Allocator:
    return Allocator(
        limit=None if limit_mib is None else limit_mib * MIB, options=AllocatorOptions(max_split_size_mb=128)
    )


def test_larger_blocks_serve_no_smaller_requests() -> None:
    allocator = splitting()
    (block,) = take(allocator, 200)
    allocator.free(block)
    take(allocator, 100)
    assert reserved(allocator) == 300


def test_larger_blocks_serve_large_requests_whole_if_less_than_20_mib_is_wasted() -> None:
    allocator = splitting()
    (block,) = take(allocator, 200)
    allocator.free(block)
    take(allocator, 180)
    assert reserved(allocator) == 380
    (block,) = take(allocator, 180.5)
    assert (block.size / MIB, reserved(allocator)) == (200, 380)


def test_smaller_blocks_are_split_as_ever() -> None:
    allocator = splitting()
    (block,) = take(allocator, 100)
    allocator.free(block)
    take(allocator, 30, 30)
    assert reserved(allocator) == 100


def test_oversize_blocks_are_given_back_first() -> None:
    allocator = splitting(360)
    first, second, _ = take(allocator, 200, 40, 100)
    allocator.free(first)
    allocator.free(second)
    take(allocator, 60)
    assert reserved(allocator) == 200  # 200 went, the cached 40 stayed


def test_several_oversize_blocks_are_given_back_from_the_largest_on() -> None:
    allocator = splitting(680)
    blocks = take(allocator, 130, 150, 160, 150, 40)
    for block in (blocks[0], blocks[1], blocks[2], blocks[4]):
        allocator.free(block)
    take(allocator, 250)  # none is enough alone: 160 and 150 go
    assert reserved(allocator) == 130 + 150 + 40 + 250


# --- garbage collection, rounding, streams ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_fraction", [True, False])
def test_old_segments_are_given_back_beyond_the_threshold_of_a_fraction(is_fraction: bool) -> None:
    allocator = Allocator(
        limit=200 * MIB, options=AllocatorOptions(garbage_collection_threshold=0.5), is_fraction=is_fraction
    )
    first, second = take(allocator, 40, 50)
    allocator.free(first)
    take(allocator, 46)  # 90 reserved are no more than 100
    assert reserved(allocator) == 136
    allocator.free(second)
    take(allocator, 60)  # of the two free ones, 40 lies longer than the average
    assert reserved(allocator) == (156 if is_fraction else 196)


def test_requests_are_rounded_to_divisions_of_powers_of_two() -> None:
    allocator = Allocator(options=AllocatorOptions(roundup_power2_divisions=4))
    for asked, served in ((1200 * KIB, 1280 * KIB), (1024 * KIB, 1024 * KIB), (1200, 1536)):
        before = allocator.allocated
        allocator.allocate(asked)
        assert allocator.allocated - before == served


def test_streams_do_not_share_cached_blocks() -> None:
    allocator = Allocator()
    allocator.free(allocator.allocate(40 * MIB, stream=1))
    allocator.allocate(40 * MIB)
    assert reserved(allocator) == 80
    allocator.allocate(40 * MIB, stream=1)
    assert reserved(allocator) == 80


# --- the options themselves ---------------------------------------------------------------------------------------------


def test_conf_is_what_the_environment_variable_takes() -> None:
    assert AllocatorOptions().conf() == ""
    options = AllocatorOptions(
        expandable_segments=True, max_split_size_mb=128, garbage_collection_threshold=0.8
    )
    assert options.conf() == "expandable_segments:True,max_split_size_mb:128,garbage_collection_threshold:0.8"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"expandable_segments": 1}, "allocator expandable_segments must be true or false, got 1"),
        (
            {"max_split_size_mb": 19},
            "allocator max_split_size_mb must be a whole number of MiB of at least 20, got 19",
        ),
        (
            {"garbage_collection_threshold": 1.0},
            "allocator garbage_collection_threshold must be between 0 and 1 and neither of them, got 1.0",
        ),
        ({"roundup_power2_divisions": 3}, "allocator roundup_power2_divisions must be a power of two, got 3"),
    ],
)
def test_what_pytorch_refuses_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        AllocatorOptions(**given)


def test_pytorch_takes_every_conf() -> None:
    torch = pytest.importorskip("torch")
    before = torch._C._accelerator_getAllocatorSettings()
    options = AllocatorOptions(
        expandable_segments=True,
        max_split_size_mb=20,
        garbage_collection_threshold=0.5,
        roundup_power2_divisions=4,
    )
    try:
        torch._C._accelerator_setAllocatorSettings(options.conf())
        assert torch._C._accelerator_getAllocatorSettings() == options.conf()
    finally:
        torch._C._accelerator_setAllocatorSettings(before)
