"""The machine at hand: its GPU, found in the catalogue by the name that CUDA reports, and its CPU as a device row."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from workbench.devices._catalogue import get
from workbench.devices._device import Device
from workbench.devices._in_use import in_use_bytes

# The names are CUDA's. Left out on purpose, since they differ in more than the name: laptop chips, H100 PCIe and NVL,
# V100 PCIe, MIG slices. The A100 80GB PCIe is 5 % below the SXM module in bandwidth, which is near enough for a catalogue row.
_CATALOGUE_NAMES: Final[Mapping[str, str]] = {
    "NVIDIA GeForce GTX 1660 SUPER": "gtx-1660-super",
    "NVIDIA GeForce RTX 2060": "rtx-2060-6gb",
    "NVIDIA GeForce RTX 2080 Ti": "rtx-2080-ti",
    "NVIDIA GeForce RTX 3050": "rtx-3050-8gb",
    "NVIDIA GeForce RTX 3060": "rtx-3060-12gb",
    "NVIDIA GeForce RTX 3060 Ti": "rtx-3060-ti-8gb",
    "NVIDIA GeForce RTX 3070": "rtx-3070",
    "NVIDIA GeForce RTX 3080": "rtx-3080-10gb",
    "NVIDIA GeForce RTX 3080 Ti": "rtx-3080-ti",
    "NVIDIA GeForce RTX 3090 Ti": "rtx-3090-ti",
    "NVIDIA GeForce RTX 3090": "rtx-3090",
    "NVIDIA GeForce RTX 4060 Laptop GPU": "rtx-4060-laptop-8gb",
    "NVIDIA GeForce RTX 4070 Laptop GPU": "rtx-4070-laptop-8gb",
    "NVIDIA GeForce RTX 5060": "rtx-5060-8gb",
    "NVIDIA GeForce RTX 5070": "rtx-5070",
    "NVIDIA GeForce RTX 4060": "rtx-4060-8gb",
    "NVIDIA GeForce RTX 4060 Ti": "rtx-4060-ti-16gb",
    "NVIDIA GeForce RTX 4070": "rtx-4070",
    "NVIDIA GeForce RTX 4070 Ti": "rtx-4070-ti",
    "NVIDIA GeForce RTX 4070 Ti SUPER": "rtx-4070-ti-super",
    "NVIDIA GeForce RTX 4080": "rtx-4080",
    "NVIDIA GeForce RTX 4090": "rtx-4090",
    "NVIDIA GeForce RTX 5060 Ti": "rtx-5060-ti-16gb",
    "NVIDIA GeForce RTX 5070 Ti": "rtx-5070-ti",
    "NVIDIA GeForce RTX 5080": "rtx-5080",
    "NVIDIA GeForce RTX 5090": "rtx-5090",
    "NVIDIA RTX A4000": "rtx-a4000",
    "NVIDIA RTX A5000": "rtx-a5000",
    "NVIDIA RTX A6000": "rtx-a6000",
    "NVIDIA RTX 6000 Ada Generation": "rtx-6000-ada",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "rtx-pro-6000",
    "Tesla V100-SXM2-16GB": "v100-16gb",
    "Tesla V100-SXM2-32GB": "v100-32gb",
    "Tesla T4": "t4",
    "NVIDIA A10G": "a10g",
    "NVIDIA A100-SXM4-40GB": "a100-40gb",
    "NVIDIA A100-PCIE-40GB": "a100-40gb",
    "NVIDIA A100-SXM4-80GB": "a100-80gb",
    "NVIDIA A100 80GB PCIe": "a100-80gb",
    "NVIDIA L4": "l4",
    "NVIDIA L20": "l20",
    "NVIDIA L40": "l40",
    "NVIDIA L40S": "l40s",
    "NVIDIA H100 80GB HBM3": "h100-80gb",
    "NVIDIA H20": "h20",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
}

# CUDA reports 88-100 % of the size on the box (ECC and the driver take the rest); anything else is another variant of
# the card with that name, such as the RTX 3060 8 GB with its narrower bus.
_LEAST_VISIBLE: Final = 0.88

_CPU_CLOCK_HZ: Final = 2.5e9
_CPU_FLOP_PER_CYCLE: Final = 32  # AVX2: 2 FMA units x 8 FP32 lanes x 2
_CPU_BANDWIDTH_BYTES_PER_S: Final = 51.2e9  # two channels of DDR4-3200
_CPU_SOURCE: Final = "assumption, not measured: a nominal AVX2 core at 2.5 GHz and two channels of DDR4-3200"
_CPU_EFFICIENCIES: Final[Mapping[str, float]] = {
    "matmul": 0.5,
    "attention": 0.3,
    "conv": 0.2,
    "memory": 0.5,
    "link_pinned": 0.5,
    "link_pageable": 0.5,
    "launch_s": 5e-6,
}


def this_machine() -> Device | None:
    """The catalogue's row for this machine's current GPU, with this machine's RAM and what other programs hold of the GPU now.

    The latter is what `nvidia-smi` says; where it says nothing, the row's default stands.

    None when PyTorch sees no CUDA device, or one that the catalogue does not know by name and memory size.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    name = _CATALOGUE_NAMES.get(properties.name)
    if name is None:
        return None
    device = get(name)
    if not _LEAST_VISIBLE * device.memory_bytes <= properties.total_memory <= device.memory_bytes:
        return None
    used = in_use_bytes(str(getattr(properties, "uuid", "")))  # torch before 2.5 has no uuid
    if used is not None and used < device.memory_bytes:
        device = device.with_desktop(
            used, source="nvidia-smi: in use by other programs when it was looked at"
        )
    return device.with_ram(system_ram_bytes())


def cpu() -> Device:
    """This machine's CPU as a device: its memory is the system's RAM, its rates are nominal and said to be."""
    threads = os.cpu_count() or 1
    cores = max(1, threads // 2)
    ram_bytes = system_ram_bytes()
    rates = ("bandwidth_bytes_per_s", "dense_flops.fp32", "link_bytes_per_s")
    return Device(
        name="cpu",
        title=f"CPU of this machine, {threads} threads",
        architecture="cpu",
        compute_capability=None,
        memory_bytes=ram_bytes,
        bandwidth_bytes_per_s=_CPU_BANDWIDTH_BYTES_PER_S,
        dense_flops={"fp32": cores * _CPU_CLOCK_HZ * _CPU_FLOP_PER_CYCLE},
        # There is no link: a copy to the device is a copy within RAM, which reads and writes every byte.
        link_bytes_per_s=_CPU_BANDWIDTH_BYTES_PER_S,
        link_label="none (RAM to RAM)",
        ram_bytes=ram_bytes,
        context_bytes=0,
        efficiencies=_CPU_EFFICIENCIES,
        sources={
            "memory_bytes": "os.sysconf: SC_PHYS_PAGES x SC_PAGE_SIZE",
            "ram_bytes": "os.sysconf: SC_PHYS_PAGES x SC_PAGE_SIZE",
            "context_bytes": "a CPU has no CUDA context",
            "unavailable_bytes": "a CPU has no such part",
            "desktop_bytes": "other programs' RAM is not looked at",
            **dict.fromkeys(rates, _CPU_SOURCE),
            **{f"efficiencies.{key}": _CPU_SOURCE for key in _CPU_EFFICIENCIES},
        },
    )


def system_ram_bytes() -> int:
    """Physical memory of this machine; a container's own limit is not looked at."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
