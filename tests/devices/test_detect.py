"""The machine at hand, with a stand-in for torch in the place of a GPU."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from workbench import devices
from workbench._units import MIB
from workbench.devices import Device


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None, int], None]:
    """Puts a stand-in for torch in place, which reports that GPU with that many MiB; None is a machine without CUDA."""

    def put(name: str | None, total_mib: int) -> None:
        cuda = SimpleNamespace(
            is_available=lambda: name is not None,
            current_device=lambda: 0,
            get_device_properties=lambda index: SimpleNamespace(name=name, total_memory=total_mib * MIB),
        )
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    return put


@pytest.mark.parametrize(
    ("reported", "total_mib", "name"),
    [
        ("NVIDIA GeForce RTX 3060", 12036, "rtx-3060-12gb"),
        ("Tesla T4", 14912, "t4"),
        ("NVIDIA A100-SXM4-40GB", 40441, "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", 81038, "a100-80gb"),
        ("NVIDIA H200", 143156, "h200"),
        ("NVIDIA L40S", 45486, "l40s"),
    ],
)
def test_this_machine_finds_its_card(
    with_gpu: Callable[[str | None, int], None], reported: str, total_mib: int, name: str
) -> None:
    with_gpu(reported, total_mib)
    found = devices.this_machine()
    assert found is not None
    assert found.with_ram(None) == devices.get(name)
    assert found.ram_bytes == devices.cpu().memory_bytes


@pytest.mark.parametrize(
    ("reported", "total_mib"),
    [
        (None, 0),
        ("NVIDIA GeForce RTX 3060", 8192),  # the 8 GB variant has a narrower bus
        ("NVIDIA GeForce RTX 4080 Laptop GPU", 11874),  # another chip than the RTX 4080's
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4864),
        ("NVIDIA H100 PCIe", 81008),
    ],
)
def test_this_machine_is_none_without_cuda_or_with_another_card(
    with_gpu: Callable[[str | None, int], None], reported: str | None, total_mib: int
) -> None:
    with_gpu(reported, total_mib)
    assert devices.this_machine() is None


def test_every_gpu_row_can_be_detected(with_gpu: Callable[[str | None, int], None]) -> None:
    from workbench.devices._detect import _CATALOGUE_NAMES

    assert set(_CATALOGUE_NAMES.values()) == set(devices.names())
    for reported, name in _CATALOGUE_NAMES.items():
        card = devices.get(name)
        with_gpu(reported, (card.memory_bytes - card.unavailable_bytes) // MIB)
        found = devices.this_machine()
        assert found is not None
        assert found.name == name


def test_the_cpu_is_a_device_with_no_units_but_fp32() -> None:
    device = devices.cpu()
    assert device.architecture == "cpu"
    assert device.compute_capability is None
    assert device.memory_bytes == device.ram_bytes
    assert set(device.dense_flops) == {"fp32"}
    assert device.context_bytes == 0
    assert device.basis == "catalogue"
    assert Device.from_json(json.loads(json.dumps(device.to_json()))) == device
