"""The fit, on samples made from rates that are known."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from workbench import devices
from workbench._errors import InputError
from workbench.calibration import Sample, fitted
from workbench.cost._trace import Op
from workbench.cost.roofline import compute_seconds
from workbench.devices import Device, Table, TimeBand

SOURCE = "synthetic samples"
FIXED_S = 4e-6


def machine(peak: float = 1e11, bandwidth: float = 5e10) -> list[Sample]:
    """Samples of a machine with a fixed time per op, a rate that falls for narrow products, and a cache three times as fast as memory."""
    smallest = [
        Sample(group="matmul", dtype="fp32", work=1e3, width=8, seconds=FIXED_S),
        Sample(group="memory.elementwise", dtype="fp32", work=6e3, width=1, seconds=FIXED_S),
    ]
    products = [
        Sample(
            group="matmul",
            dtype="fp32",
            work=flops,
            width=width,
            seconds=FIXED_S + flops / (peak * width / 1024),
        )
        for flops, width in itertools.product((1e7, 1e8, 1e9), (64, 256, 1024))
    ]
    moves = [
        Sample(
            group="memory.elementwise",
            dtype="fp32",
            work=size,
            width=1,
            seconds=FIXED_S + size / (3 * bandwidth if size < 1e7 else bandwidth),
        )
        for size in (1e6, 4e6, 1e8, 4e8)
    ]
    return smallest + products + moves


@pytest.fixture
def fit() -> Device:
    return fitted(devices.cpu(), machine(), launch_s=7e-6, source=SOURCE)


def product(m: int, width: int, dtype: str = "fp32") -> Op:
    num_bytes = 4 * (2 * m * width + width * width)
    return Op(
        "aten.addmm.default", "matmul", dtype, 2 * m * width * width, num_bytes, 0, (1, m, width, width)
    )


def add(num_bytes: int) -> Op:
    return Op("aten.add.Tensor", "memory", "fp32", 0, num_bytes, 0)


def test_a_sample_is_predicted_as_it_was_measured(fit: Device) -> None:
    for m, width in ((12_207, 64), (762, 256), (4_768, 1024)):
        op = product(m, width)
        expected = FIXED_S + op.flops / (1e11 * width / 1024) + 7e-6
        assert compute_seconds(((op, 1),), fit).expected == pytest.approx(expected, rel=0.01)
    for size, rate in ((4_000_000, 1.5e11), (400_000_000, 5e10)):
        expected = FIXED_S + size / rate + 7e-6
        assert compute_seconds(((add(size), 1),), fit).expected == pytest.approx(expected, rel=0.01)


def test_between_samples_the_rate_lies_between_theirs(fit: Device) -> None:
    slow, between, fast = (
        compute_seconds(((product(10**10 // (2 * w * w), w), 1),), fit).expected for w in (256, 512, 1024)
    )
    assert fast < between < slow
    assert between == pytest.approx(7e-6 + FIXED_S + 1e10 / 5e10, rel=0.03)


def test_many_small_ops_take_their_fixed_time_and_the_hosts(fit: Device) -> None:
    seconds = compute_seconds(((add(24), 1000),), fit)
    assert seconds.expected == pytest.approx(1000 * (FIXED_S + 7e-6), rel=0.01)
    assert seconds.by_kind[-1] == pytest.approx(1000 * 7e-6)


def test_the_highest_rates_seen_stand_for_a_cpus_theoretical_ones(fit: Device) -> None:
    assert fit.basis == "calibrated"
    assert fit.dense_flops == {"fp32": pytest.approx(1e11, rel=0.01)}
    assert fit.bandwidth_bytes_per_s == pytest.approx(1.5e11, rel=0.01)
    assert fit.efficiencies["memory"] == pytest.approx(1 / 3, rel=0.02)
    assert fit.efficiencies["matmul"] == pytest.approx(1, rel=0.01)
    assert {fit.sources[key] for key in ("calibration", "bandwidth_bytes_per_s", "dense_flops.fp32")} == {
        SOURCE
    }


def test_a_cards_data_sheet_stays_unless_more_was_measured() -> None:
    card = devices.get("rtx-3090")
    fit = fitted(
        card, machine(), launch_s=5e-6, links={"link_pinned": 2e10, "link_pageable": 9e9}, source=SOURCE
    )
    assert fit.dense_flops["bf16"] == card.dense_flops["bf16"]
    assert fit.dense_flops["fp32"] == pytest.approx(1e11 if card.dense_flops["fp32"] < 1e11 else 35.6e12)
    assert fit.bandwidth_bytes_per_s == card.bandwidth_bytes_per_s
    assert fit.efficiencies["link_pinned"] == pytest.approx(2e10 / card.link_bytes_per_s)
    assert fit.efficiencies["attention"] == card.efficiencies["attention"], "which was not measured"
    faster = fitted(card, machine(peak=4e13, bandwidth=1e12), launch_s=5e-6, source=SOURCE)
    assert faster.dense_flops["fp32"] == pytest.approx(4e13, rel=0.3)
    assert faster.bandwidth_bytes_per_s > card.bandwidth_bytes_per_s


def test_a_dtype_without_samples_takes_the_class_or_the_single_number(fit: Device) -> None:
    bf16 = compute_seconds(((product(4_768, 1024, "bf16"), 1),), fit).expected
    assert bf16 == pytest.approx(2 * 4_768 * 1024**2 / 1e11 + 7e-6, rel=0.02), (
        "computed in fp32, by the single number"
    )
    plain = dataclasses.replace(fit, tables={"matmul": fit.tables["matmul.fp32"]})
    assert compute_seconds(((product(4_768, 1024, "bf16"), 1),), plain).expected == pytest.approx(
        bf16 + FIXED_S, rel=0.01
    )


def test_a_fit_needs_products_and_elementwise_ops() -> None:
    with pytest.raises(InputError, match=r"needs samples of memory\.elementwise in fp32"):
        fitted(devices.cpu(), machine()[:1], launch_s=0.0, source=SOURCE)
    with pytest.raises(InputError, match="must be positive"):
        Sample(group="matmul", dtype="fp32", work=1.0, width=1.0, seconds=0.0)


def test_a_calibrated_device_survives_json(fit: Device) -> None:
    banded = dataclasses.replace(fit, band=TimeBand(ratio=1.2, coverage=0.9, num_checks=9))
    assert Device.from_json(banded.to_json()) == banded


def test_a_table_interpolates_by_logarithms_and_holds_at_its_ends() -> None:
    table = Table(sizes=(1e3, 1e5), widths=(4.0, 16.0), fractions=((0.1, 0.2), (0.4, 0.8)))
    assert table.fraction(1e4, 4) == pytest.approx((0.1 * 0.2) ** 0.5)
    assert table.fraction(1e3, 8) == pytest.approx(0.2)
    assert table.fraction(1, 1) == 0.1
    assert table.fraction(1e9, 1e9) == 0.8
    assert table.seconds(1e5, 16, 1e6) == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sizes": (2.0, 1.0), "fractions": ((0.5, 0.5),)},
            "sizes of a table must be positive and ascending",
        ),
        ({"sizes": (1.0,), "fractions": ((0.5, 0.5),)}, "fractions of a table must be 1 rows of 1"),
        ({"sizes": (1.0,), "fractions": ((1.5,),)}, "must be above 0 and at most 1, got 1.5"),
        ({"sizes": (1.0,), "fractions": ((1.0,),), "fixed_s": -1.0}, "fixed_s of a table must be seconds"),
    ],
)
def test_a_table_that_cannot_be_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Table(**fields)


def test_a_band_covers_as_much_as_its_number_of_checks_allows() -> None:
    nine = TimeBand.of([1.0] * 9, [1.0, 1.1, 0.9, 1.05, 1.0, 1.2, 1.0, 0.7, 1.0])
    assert (nine.ratio, nine.coverage, nine.num_checks) == (pytest.approx(1 / 0.7), pytest.approx(0.9), 9)
    three = TimeBand.of([1.0] * 3, [1.0, 1.1, 1.2])
    assert three.coverage == pytest.approx(0.75), "three checks cannot promise nine in ten"
    many = TimeBand.of([1.0] * 99, [1 + k / 100 for k in range(99)])
    assert many.ratio == pytest.approx(1.89)
    with pytest.raises(InputError, match="pairs of positive seconds"):
        TimeBand.of([], [])
