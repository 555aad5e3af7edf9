"""One device: caps, RAM, JSON, and what cannot be a device."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import re
from typing import Any

import pytest

from workbench import devices
from workbench._errors import CapError, InputError
from workbench._units import GIB, MIB
from workbench.devices import Device

ALL = tuple(devices.get(name) for name in devices.names())
GPUS = pytest.mark.parametrize("device", ALL, ids=devices.names())


def says(text: str) -> str:
    return f"^{re.escape(text)}$"


def test_a_cap_takes_first_what_the_driver_keeps_anyway() -> None:
    card = devices.get("h100-80gb")
    visible_bytes = card.memory_bytes - card.unavailable_bytes
    bare_context_bytes = card.context_bytes - card.unavailable_bytes
    for cap_bytes in (12 * GIB, visible_bytes, visible_bytes + 100 * MIB, card.memory_bytes):
        capped = card.capped(memory_bytes=cap_bytes)
        assert capped.memory_bytes == cap_bytes
        assert capped.name == card.name
        assert cap_bytes - capped.context_bytes == min(cap_bytes, visible_bytes) - bare_context_bytes


def test_a_cap_takes_next_what_the_desktop_holds() -> None:
    card = devices.get("rtx-3090")
    visible_bytes = card.memory_bytes - card.unavailable_bytes
    free_bytes = visible_bytes - card.desktop_bytes
    bare_context_bytes = card.context_bytes - card.unavailable_bytes
    assert card.desktop_bytes == 400 * MIB
    for cap_bytes in (12 * GIB, free_bytes, free_bytes + 100 * MIB, visible_bytes + MIB, card.memory_bytes):
        capped = card.capped(memory_bytes=cap_bytes)
        filled = cap_bytes - capped.context_bytes - capped.desktop_bytes
        assert filled == min(cap_bytes, free_bytes) - bare_context_bytes


def test_the_desktop_is_a_default_of_cards_with_a_display_and_can_be_said() -> None:
    assert devices.get("rtx-a6000").desktop_bytes == 400 * MIB
    assert devices.get("a100-80gb").desktop_bytes == devices.get("l40s").desktop_bytes == 0
    said = devices.resolve("l40s", desktop_gb=1.5)
    assert said.desktop_bytes == 1.5 * GIB
    assert said.sources["desktop_bytes"] == "given by the caller"
    assert devices.resolve(None, vram_gb=12).desktop_bytes == 400 * MIB
    assert devices.resolve(None, vram_gb=12, desktop_gb=0).desktop_bytes == 0
    # a cap leaves the default's room by itself; what is said counts inside the cap
    assert devices.resolve("rtx-4090", vram_gb=12).desktop_bytes == 0
    assert devices.resolve("rtx-4090", vram_gb=12, desktop_gb=1).desktop_bytes == GIB


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), True, "1"])
def test_a_desktop_that_is_no_number_is_refused(bad: Any) -> None:
    with pytest.raises(
        CapError, match=says(f"desktop_gb must be a number of GiB of at least 0, got {bad!r}")
    ):
        devices.resolve("t4", desktop_gb=bad)


def test_a_desktop_that_leaves_nothing_is_refused() -> None:
    message = "the desktop's 16.00 GiB must be less than the 16.00 GiB of t4"
    with pytest.raises(CapError, match=says(message)):
        devices.resolve("t4", desktop_gb=16)
    with pytest.raises(CapError, match="desktop_bytes must be a whole number of bytes of at least 0, got -1"):
        devices.get("t4").with_desktop(-1)


def test_a_cap_above_the_card_names_both() -> None:
    message = (
        "a memory cap of 16.00 GiB is above the 12.00 GiB of rtx-3060-12gb (NVIDIA GeForce RTX 3060 12 GB)"
    )
    with pytest.raises(CapError, match=says(message)):
        devices.get("rtx-3060-12gb").capped(memory_bytes=16 * GIB)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "12"])
def test_a_cap_that_is_no_number_of_bytes_is_refused(bad: Any) -> None:
    with pytest.raises(
        CapError, match=says(f"a memory cap must be a positive whole number of bytes, got {bad!r}")
    ):
        devices.get("t4").capped(memory_bytes=bad)


def test_ram_can_be_set_and_unset() -> None:
    card = devices.get("rtx-4090")
    assert card.with_ram(32 * GIB).ram_bytes == 32 * GIB
    assert card.with_ram(32 * GIB).with_ram(None) == card


@pytest.mark.parametrize("bad", [0, -5, 1.5, True])
def test_ram_that_is_no_number_of_bytes_is_refused(bad: Any) -> None:
    message = f"ram_bytes must be a positive whole number of bytes, or None, got {bad!r}"
    with pytest.raises(CapError, match=says(message)):
        devices.get("rtx-4090").with_ram(bad)


@GPUS
def test_json_pickle_and_hash_round_trip(device: Device) -> None:
    given = device.with_ram(64 * GIB).capped(memory_bytes=5 * GIB)
    assert Device.from_json(json.loads(json.dumps(given.to_json()))) == given
    assert pickle.loads(pickle.dumps(given)) == given
    assert len({given, device, Device.from_json(device.to_json())}) == 2


def test_json_with_a_wrong_field_is_refused() -> None:
    data = devices.get("t4").to_json()
    data["vram"] = data.pop("memory_bytes")
    with pytest.raises(InputError, match=r"missing: memory_bytes; unknown: vram$"):
        Device.from_json(data)
    with pytest.raises(InputError, match=says("a device must be a JSON object, got list")):
        Device.from_json([])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=says("efficiencies of a device must be a JSON object, got 3")):
        Device.from_json({**devices.get("t4").to_json(), "efficiencies": 3})
    with pytest.raises(
        InputError,
        match=says("compute_capability of a device must be two whole numbers or null, got '8.6'"),
    ):
        Device.from_json({**devices.get("t4").to_json(), "compute_capability": "8.6"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "device name must be a non-empty text, got ''"),
        (
            {"architecture": "pascal"},
            "architecture of t4 must be one of cpu, volta, turing, ampere, ada, hopper, blackwell, got 'pascal'",
        ),
        ({"basis": "guess"}, "basis of t4 must be one of catalogue, calibrated, got 'guess'"),
        ({"memory_bytes": 1.5}, "memory_bytes of t4 must be a whole number of bytes >= 1, got 1.5"),
        ({"ram_bytes": 0}, "ram_bytes of t4 must be a whole number of bytes >= 1, got 0"),
        (
            {"context_bytes": 5, "unavailable_bytes": 6},
            "unavailable_bytes of t4 is part of context_bytes and must be <= 5, got 6",
        ),
        (
            {"bandwidth_bytes_per_s": math.nan},
            "bandwidth_bytes_per_s of t4 must be a positive finite number per second, got nan",
        ),
        (
            {"dense_flops": {"fp32": 1.0, "fp16": 0}},
            "dense_flops['fp16'] of t4 must be a positive finite number per second, got 0",
        ),
        (
            {"dense_flops": {"int4": 1.0}},
            "dense_flops of t4 may have the keys fp32, tf32, fp16, bf16, int8, fp8, fp4 and needs fp32; "
            "missing: fp32; unknown: int4",
        ),
    ],
)
def test_a_device_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=says(message)):
        dataclasses.replace(devices.get("t4"), **change)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("matmul", 1.2, "efficiencies['matmul'] of t4 must be above 0 and at most 1, got 1.2"),
        ("memory", 0, "efficiencies['memory'] of t4 must be above 0 and at most 1, got 0"),
        ("launch_s", -1, "efficiencies['launch_s'] of t4 must be seconds from 0 to below 1, got -1"),
    ],
)
def test_an_efficiency_out_of_range_is_refused(key: str, value: float, message: str) -> None:
    card = devices.get("t4")
    with pytest.raises(InputError, match=says(message)):
        dataclasses.replace(card, efficiencies={**card.efficiencies, key: value})


def test_a_caller_cannot_change_a_row_through_the_mapping_it_passed() -> None:
    rates = {"fp32": 1e12}
    card = dataclasses.replace(devices.get("t4"), dense_flops=rates)
    rates["fp32"] = 2e12
    assert card.dense_flops["fp32"] == 1e12
