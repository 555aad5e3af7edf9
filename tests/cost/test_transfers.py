"""Waiting for weights: the simulation of a pass, and what each way of moving them adds up to."""

from __future__ import annotations

import dataclasses

import pytest

from workbench.cost import Placement, Residency
from workbench.cost.host import PROCESS_RAM_BYTES, host_ram, waiting
from workbench.cost.roofline import KINDS, Seconds
from workbench.cost.transfers import DISK_BYTES_PER_S, Rates, pass_seconds, stalls

GIB = 2**30
BLOCKS = 8


@pytest.fixture
def model(weights):
    """8 blocks of 1 GiB and 1 GiB around them."""
    return weights(9 * GIB, blocks=(GIB,) * BLOCKS, leaf=GIB // 8)


def compute(seconds, low=None, attention=0.0):
    by_kind = [0.0] * len(KINDS)
    by_kind[KINDS.index("matmul")] = seconds * (1 - attention)
    by_kind[KINDS.index("attention")] = seconds * attention
    return Seconds(by_kind=tuple(by_kind), low=seconds if low is None else low)


def wait(model, placement, once, device, *, passes=1, count=1, is_first=False):
    return stalls(model, placement, once, passes, count, is_first, device)[0]


@pytest.mark.parametrize(
    ("fetches", "computes", "preparing", "seconds"),
    [
        ([], [], [], 0),
        ([2], [3], [0], 5),
        ([1, 1, 1], [5, 5, 5], [0, 0, 0], 1 + 15),  # compute hides all fetches but the first
        ([5, 5, 5], [1, 1, 1], [0, 0, 0], 15 + 1),  # fetches hide all compute but the last
        ([1, 9, 1], [4, 4, 4], [0, 0, 0], 1 + 9 + 4 + 4),  # one long fetch beside one compute
        ([1, 1, 1], [5, 5, 5], [2, 2, 2], 6 + 1 + 15),  # the CPU's part hides behind nothing
    ],
)
def test_a_pass_worked_out_by_hand(fetches, computes, preparing, seconds):
    assert pass_seconds(fetches, computes, preparing) == seconds


def test_a_stream_has_a_knee_where_a_block_computes_as_long_as_it_travels(model, device):
    streamed = Placement(mode="blocks", stream=True)
    travel = GIB / Rates.expected(device).pinned
    around = 2 * GIB / Rates.expected(device).pageable
    waits = [wait(model, streamed, compute(BLOCKS * travel * k), device) - around for k in (0, 0.5, 1, 2, 4)]
    assert waits[0] == pytest.approx(BLOCKS * travel)
    assert waits[1] == pytest.approx((BLOCKS + 0.5 - BLOCKS / 2) * travel)
    assert waits[2:] == pytest.approx([travel] * 3)  # only the first block's


def test_blocks_that_stay_give_the_others_more_time(model, device):
    travel = GIB / Rates.expected(device).pinned
    once = compute(BLOCKS * travel / 2)
    waits = [
        wait(model, Placement(mode="blocks", stream=True, resident_blocks=k), once, device)
        for k in range(BLOCKS + 1)
    ]
    assert waits == sorted(waits, reverse=True)
    # with every second block there, a fetch hides behind two blocks' compute, which take as long
    assert waits[BLOCKS // 2] == pytest.approx(travel)
    assert waits[BLOCKS] == 0


def test_without_a_stream_everything_goes_in_and_out(model, device):
    rate = Rates.expected(device).pageable
    once = compute(100)
    assert wait(model, Placement(mode="blocks"), once, device, count=3) == pytest.approx(
        3 * 2 * 9 * GIB / rate
    )
    swapped = Placement(mode="blocks", resident_blocks=6)
    assert wait(model, swapped, once, device) == pytest.approx(2 * 2 * GIB / rate)
    assert wait(model, Placement(mode="leaves"), once, device, passes=2) == pytest.approx(2 * 9 * GIB / rate)


def test_the_first_pass_fetches_nothing_ahead(model, device):
    streamed = Placement(mode="blocks", stream=True)
    travel = GIB / Rates.expected(device).pinned
    once = compute(2 * BLOCKS * travel)
    later = wait(model, streamed, once, device)
    assert wait(model, streamed, once, device, count=3, is_first=True) == pytest.approx(
        3 * later + (BLOCKS - 1) * travel
    )


def test_pinning_late_and_reading_files_hide_behind_nothing(model, device):
    rates = Rates.expected(device)
    once = compute(100)
    ready = wait(model, Placement(mode="blocks", stream=True), once, device)
    late = wait(model, Placement(mode="blocks", stream=True, pins_late=True), once, device)
    assert late - ready == pytest.approx(BLOCKS * GIB / rates.pinning)
    files = wait(model, Placement(mode="blocks", on_disk=True), once, device)
    assert files == pytest.approx(9 * GIB * (1 / rates.disk + 1 / rates.pageable))
    assert rates.disk == DISK_BYTES_PER_S
    slow = dataclasses.replace(device, disk_bytes_per_s=1e8)
    assert wait(model, Placement(mode="blocks", on_disk=True), once, slow) > 9 * GIB / 1e8


def test_attention_between_layers_hides_one_layer_only(model, device):
    layers = dataclasses.replace(model, layers=(9 * GIB // 64,) * 64)
    placement = Placement(mode="layers", stream=True)
    travel = 9 * GIB / Rates.expected(device).pinned
    dense, mixed = (wait(layers, placement, compute(travel, attention=share), device) for share in (0.0, 0.9))
    assert dense == pytest.approx(travel / 64)
    assert dense < mixed < travel


def test_a_large_layer_behind_a_small_one_is_waited_for(model, device):
    small, large = GIB // 100, GIB
    placement = Placement(mode="layers", stream=True)
    uneven = dataclasses.replace(model, layers=(small, large) * 9)
    even = dataclasses.replace(model, layers=((small + large) // 2,) * 18)
    pinned = Rates.expected(device).pinned
    once = compute(9 * (small + large) / pinned)  # as long as all fetches together
    assert wait(even, placement, once, device) == pytest.approx((small + large) / 2 / pinned)
    # each large one hides but the fetch of the small one behind it
    assert wait(uneven, placement, once, device) == pytest.approx((small + 9 * (large - small)) / pinned)


def test_the_low_bound_is_the_link_itself(model, device):
    for placement in (
        Placement(mode="leaves"),
        Placement(mode="blocks"),
        Placement(mode="blocks", stream=True, pins_late=True),
        Placement(mode="layers", stream=True, on_disk=True),
    ):
        expected, low = stalls(model, placement, compute(1.0, low=0.5), 1, 2, True, device)
        assert 0 < low <= expected


# --- host RAM -------------------------------------------------------------------------------------------------------------


def test_where_weights_wait(model):
    places = {
        name: waiting(model, placement)
        for name, placement in {
            "resident": Placement(),
            "moved": Placement(mode="blocks"),
            "pinned": Placement(mode="blocks", stream=True),
            "late": Placement(mode="blocks", stream=True, pins_late=True),
            "files": Placement(mode="blocks", on_disk=True),
            "swapped": Placement(mode="blocks", stream=True, resident_blocks=6),
        }.items()
    }
    gib = {name: (place.ram // GIB, place.pinned // GIB, place.disk // GIB) for name, place in places.items()}
    assert gib == {
        "resident": (0, 0, 0),
        "moved": (9, 0, 0),
        "pinned": (
            1,
            16,
            0,
        ),  # what is around the blocks is not pinned; pinned blocks are rounded up, here to twice
        "late": (9, 2, 0),
        "files": (0, 0, 9),
        "swapped": (0, 4, 0),
    }


def test_streams_are_set_up_one_component_after_the_other(model):
    def peak(**placements):
        return (
            host_ram(dict.fromkeys(placements, model), Residency(placements=placements)) - PROCESS_RAM_BYTES
        ) // GIB

    streamed = Placement(mode="blocks", stream=True)
    assert peak(a=streamed) == 9 + 16
    # the second one's copies are made when the first one's originals are gone
    assert peak(a=streamed, b=streamed) == 17 + 9 + 16
    assert peak(a=Placement(mode="layers", stream=True)) == 18
    assert peak(a=Placement(mode="blocks", on_disk=True)) == 0  # it was loaded before, which is priced apart
