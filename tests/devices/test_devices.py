"""The device catalogue: every number has a source, the rates are dense and sane, and wrong input is told so in full."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from workbench import devices
from workbench._errors import CapError, UnknownNameError
from workbench._units import GIB, MIB
from workbench.devices import Device

ALL = tuple(devices.get(name) for name in devices.names())
GPUS = pytest.mark.parametrize("device", ALL, ids=devices.names())

WANTED = {
    "rtx-3050-8gb",
    "rtx-4060-laptop-8gb",
    "rtx-4070-laptop-8gb",
    "rtx-5060-8gb",
    "rtx-5070",
    "rtx-3060-ti-8gb",
    "rtx-3080-ti",
    "rtx-3090-ti",
    "rtx-4070-ti",
    "rtx-4070-ti-super",
    "rtx-5060-ti-16gb",
    "rtx-5080",
    "rtx-a5000",
    "l40",
    "rtx-2080-ti",
    "rtx-3060-12gb",
    "rtx-3070",
    "rtx-3080-10gb",
    "rtx-3090",
    "rtx-4060-8gb",
    "rtx-4060-ti-16gb",
    "rtx-4070",
    "rtx-4080",
    "rtx-4090",
    "rtx-5070-ti",
    "rtx-5090",
    "rtx-a4000",
    "rtx-a6000",
    "rtx-6000-ada",
    "gtx-1660-super",
    "rtx-2060-6gb",
    "l4",
    "l40s",
    "t4",
    "v100-16gb",
    "v100-32gb",
    "a10g",
    "a100-40gb",
    "a100-80gb",
    "h100-80gb",
    "h200",
    "b200",
    "h20",
    "l20",
    "rtx-pro-6000",
}


def says(text: str) -> str:
    return f"^{re.escape(text)}$"


def test_the_catalogue_has_the_cards_that_people_own_or_rent() -> None:
    assert set(devices.names()) >= WANTED
    assert len(devices.names()) >= 30
    assert len(set(devices.names())) == len(devices.names())


@GPUS
def test_every_number_has_a_source(device: Device) -> None:
    numbers = {
        "memory_bytes",
        "bandwidth_bytes_per_s",
        "link_bytes_per_s",
        "context_bytes",
        "unavailable_bytes",
        "desktop_bytes",
    }
    numbers |= {f"dense_flops.{dtype}" for dtype in device.dense_flops}
    numbers |= {f"efficiencies.{key}" for key in device.efficiencies}
    numbers |= {f"tables.{key}" for key in device.tables}
    assert {name for name in numbers if len(device.sources.get(name, "")) < 20} == set()
    assert set(device.sources) <= numbers | {"compute_capability", "rent_usd_per_hour"}


@GPUS
def test_a_rent_has_an_offer_and_a_date(device: Device) -> None:
    source = device.sources.get("rent_usd_per_hour", "")
    assert (device.rent_usd_per_hour is None) == (not source)
    if source:
        assert device.rent_usd_per_hour is not None
        assert 0.05 < device.rent_usd_per_hour < 20
        assert re.search(r"20\d\d-\d\d-\d\d", source)


def test_rents_are_of_cards_that_are_in_the_catalogue() -> None:
    from workbench.devices._rents import RENTS

    assert set(RENTS) <= set(devices.names())


@GPUS
def test_an_efficiency_of_the_catalogue_says_that_it_is_no_measurement_of_ours(device: Device) -> None:
    assert device.basis == "catalogue"
    for key in device.efficiencies:
        assert re.match("uncalibrated|assumption", device.sources[f"efficiencies.{key}"])
    for key in device.tables:
        assert re.match("uncalibrated|fitted to", device.sources[f"tables.{key}"])


@GPUS
def test_what_works_out_addresses_is_never_faster_than_what_does_not(device: Device) -> None:
    scattered = device.tables["memory.scattered"].fraction(1e9)
    assert 0 < scattered <= device.efficiencies["memory"]
    if "matmul.int4" in device.tables:
        assert 0 < device.tables["matmul.int4"].fraction(1e12) < device.efficiencies["matmul"]


@GPUS
def test_units_exist_from_the_architecture_that_brought_them(device: Device) -> None:
    capability = device.compute_capability
    assert capability is not None
    tensor_cores = device.name != "gtx-1660-super"
    assert ("fp16" in device.dense_flops) == tensor_cores
    assert ("bf16" in device.dense_flops) == (capability >= (8, 0))
    assert ("tf32" in device.dense_flops) == (capability >= (8, 0))
    assert ("fp8" in device.dense_flops) == (capability >= (8, 9))
    assert ("fp4" in device.dense_flops) == (capability >= (10, 0))
    assert ("int8" in device.dense_flops) == (tensor_cores and capability >= (7, 5))


@GPUS
def test_architecture_and_compute_capability_agree(device: Device) -> None:
    families = {
        "volta": {(7, 0)},
        "turing": {(7, 5)},
        "ampere": {(8, 0), (8, 6)},
        "ada": {(8, 9)},
        "hopper": {(9, 0)},
        "blackwell": {(10, 0), (12, 0)},
    }
    assert device.compute_capability in families[device.architecture]


@GPUS
def test_narrower_types_are_faster_by_the_ratios_of_tensor_cores(device: Device) -> None:
    """A sparse figure, or an FP16-accumulate one, among dense FP32-accumulate ones breaks one of these ratios."""
    rates = device.dense_flops
    if "fp16" in rates:
        assert rates["fp16"] >= 1.9 * rates["fp32"]
    if "bf16" in rates:
        assert rates["bf16"] == rates["fp16"]
        assert rates["fp16"] / rates["tf32"] == pytest.approx(2, rel=0.03)
    if "fp8" in rates:
        assert rates["fp8"] / rates["fp16"] == pytest.approx(2, rel=0.03)
    if "int8" in rates:
        assert rates["int8"] / rates["fp16"] == pytest.approx(4 if "GeForce" in device.title else 2, rel=0.03)


@pytest.mark.parametrize(
    ("name", "sms", "boost_mhz", "flops_per_sm_and_clock"),
    [
        ("rtx-2080-ti", 68, 1545, 512),
        ("rtx-3060-12gb", 28, 1777, 512),
        ("rtx-3070", 46, 1725, 512),
        ("rtx-3080-10gb", 68, 1710, 512),
        ("rtx-3090", 82, 1695, 512),
        ("rtx-a4000", 48, 1560, 1024),
        ("rtx-a6000", 84, 1800, 1024),
        ("rtx-4060-8gb", 24, 2460, 512),
        ("rtx-4060-ti-16gb", 34, 2535, 512),
        ("rtx-4070", 46, 2475, 512),
        ("rtx-4080", 76, 2505, 512),
        ("rtx-3060-ti-8gb", 38, 1665, 512),
        ("rtx-3080-ti", 80, 1665, 512),
        ("rtx-3090-ti", 84, 1860, 512),
        ("rtx-4070-ti", 60, 2610, 512),
        ("rtx-4070-ti-super", 66, 2610, 512),
        ("rtx-5060-ti-16gb", 36, 2572, 512),
        ("rtx-5080", 84, 2617, 512),
        ("rtx-a5000", 64, 1695, 1024),
        ("l40", 142, 2490, 512),
        ("rtx-4090", 128, 2520, 512),
        ("rtx-6000-ada", 142, 2505, 1024),
        ("l40s", 142, 2520, 1024),
        ("l4", 58, 2040, 1024),
        ("l20", 92, 2520, 512),
        ("rtx-pro-6000", 188, 2617, 1024),
        ("rtx-5070-ti", 70, 2452, 512),
        ("rtx-5090", 170, 2407, 512),
        ("t4", 40, 1590, 1024),
        ("v100-16gb", 80, 1530, 1024),
        ("a100-80gb", 108, 1410, 2048),
        ("h100-80gb", 132, 1830, 4096),
    ],
)
def test_the_fp16_rate_is_what_the_chip_can_issue(
    name: str, sms: int, boost_mhz: float, flops_per_sm_and_clock: int
) -> None:
    """An independent number: multiprocessors x boost clock x what one of them issues per clock with FP32 accumulate."""
    expected = sms * boost_mhz * 1e6 * flops_per_sm_and_clock
    assert devices.get(name).dense_flops["fp16"] == pytest.approx(expected, rel=0.025)


@GPUS
def test_memory_that_can_be_filled_is_below_what_the_box_says(device: Device) -> None:
    assert device.memory_bytes % GIB == 0
    assert 0 < device.unavailable_bytes < 0.1 * device.memory_bytes
    assert 400 * MIB <= device.context_bytes - device.unavailable_bytes <= 600 * MIB
    assert device.ram_bytes is None


@GPUS
def test_the_link_is_the_rate_that_its_label_names(device: Device) -> None:
    match = re.fullmatch(r"PCIe ([345])\.0 x(8|16)", device.link_label)
    assert match is not None
    per_lane = {"3": 0.985e9, "4": 1.969e9, "5": 3.938e9}[match[1]]
    assert device.link_bytes_per_s == pytest.approx(per_lane * int(match[2]), rel=0.001)
    assert device.efficiencies["link_pageable"] <= device.efficiencies["link_pinned"] / 2


def test_consumer_cards_list_the_rate_with_fp32_accumulate() -> None:
    assert devices.get("rtx-3060-12gb").dense_flops["bf16"] == 25.5e12
    assert devices.get("rtx-3090").dense_flops["bf16"] == 71e12
    assert devices.get("rtx-4090").dense_flops["bf16"] == 165.2e12
    assert devices.get("rtx-a6000").dense_flops["bf16"] == 154.8e12


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        ("rtx-3060", "rtx-3060-12gb, rtx-3060-ti-8gb"),
        ("A100", "a100-40gb, a100-80gb"),
        ("rtx-4900", "rtx-4090, rtx-4080, rtx-4070"),
    ],
)
def test_an_unknown_name_offers_what_it_may_be_short_for_and_then_the_nearest(
    asked: str, offered: str
) -> None:
    message = f"unknown device {asked!r}: did you mean {offered}? ({len(devices.names())} are known)"
    with pytest.raises(UnknownNameError, match=says(message)):
        devices.get(asked)


@pytest.mark.parametrize(
    "name", ["mi300x", "MI300X", "AMD Instinct MI300X", "radeon-rx-7900-xtx", "rx 7900 xtx"]
)
def test_cards_of_amd_are_refused_with_a_reason(name: str) -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"AMD cards cannot be priced: memory and time are traced with PyTorch's CUDA kernels",
    ):
        devices.get(name)


@pytest.mark.parametrize("name", ["m60", "quadro-m4000", "m4000"])
def test_cards_whose_names_begin_like_apples_are_only_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown device '[^']+': (?!Apple|AMD)"):
        devices.get(name)


@pytest.mark.parametrize("name", ["m3-max", "Apple M2 Ultra", "mps", "m4"])
def test_apple_silicon_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(UnknownNameError, match="Apple silicon cannot be priced"):
        devices.get(name)


def test_a_name_that_is_no_text_is_unknown() -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown device 12: "):
        devices.get(12)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vram_gb", "name"),
    [
        (6, "rtx-2060-6gb"),
        (8, "rtx-4060-8gb"),
        (10, "rtx-3080-10gb"),
        (12, "rtx-3060-12gb"),
        (16, "rtx-4060-ti-16gb"),
        (24, "rtx-4090"),
        (32, "rtx-5090"),
        (40, "a100-40gb"),
        (48, "l40s"),
        (80, "h100-80gb"),
        (141, "h200"),
        (180, "b200"),
    ],
)
def test_typical_gives_the_common_card_of_that_size_as_it_is(vram_gb: float, name: str) -> None:
    assert devices.typical(vram_gb) == devices.get(name)


@pytest.mark.parametrize(
    ("vram_gb", "name"),
    [
        (0.5, "rtx-2060-6gb"),
        (2, "rtx-2060-6gb"),
        (11, "rtx-3060-12gb"),
        (11.5, "rtx-3060-12gb"),
        (64, "h100-80gb"),
    ],
)
def test_typical_caps_the_next_larger_card_between_two_sizes(vram_gb: float, name: str) -> None:
    device = devices.typical(vram_gb)
    assert device.name == name
    assert device.memory_bytes == vram_gb * GIB
    assert device.sources["memory_bytes"].startswith("capped to ")


def test_typical_is_monotone_in_memory_and_in_what_can_be_filled() -> None:
    found = [devices.typical(tenths / 10) for tenths in range(5, 1801)]
    memory = [device.memory_bytes for device in found]
    assert memory == sorted(memory)
    # Over sizes of one card only: ECC and the driver take more on some cards than on the next smaller one.
    for name in {device.name for device in found}:
        fill = [device.memory_bytes - device.context_bytes for device in found if device.name == name]
        assert fill == sorted(fill)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, -math.inf, "12", None, True])
def test_typical_refuses_what_is_no_size(bad: Any) -> None:
    with pytest.raises(CapError, match=says(f"vram_gb must be a positive number of GiB, got {bad!r}")):
        devices.typical(bad)


def test_typical_refuses_more_than_the_largest_card_and_less_than_a_byte() -> None:
    message = "vram_gb=200 is above the 180 GiB of b200, the largest card in the catalogue"
    with pytest.raises(CapError, match=says(message)):
        devices.typical(200)
    with pytest.raises(CapError, match=says("vram_gb must be at least one byte, got 1e-12 GiB")):
        devices.typical(1e-12)


@pytest.mark.parametrize(
    "name, device",
    [
        ("RTX 4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 3060 12 GB", "rtx-3060-12gb"),
        ("H100 80GB", "h100-80gb"),
    ],
)
def test_a_card_is_known_however_its_name_is_spelled(name: str, device: str) -> None:
    assert devices.get(name).name == device


def test_no_two_cards_are_spelled_alike() -> None:
    assert all(devices.get(device.title) is device for device in map(devices.get, devices.names()))


def test_part_of_a_name_offers_every_card_that_has_it() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean rtx-4060-8gb, .*rtx-4090"):
        devices.get("RTX 40")
