"""GeForce cards. Their tensor cores run FP16 and BF16 at half rate when they accumulate in FP32, which PyTorch does.

Dense rates with FP32 accumulate (INT8: INT32), per SM and clock, from the whitepapers' tables:
    Turing   512 fp16, 2048 int8                                        (RTX 2080 Ti: 53.8 of 107.6 TFLOPS)
    Ampere   512 fp16 bf16, 256 tf32 fp32, 2048 int8                     (RTX 3090: 71 of 142 TFLOPS)
    Ada      512 fp16 bf16, 256 tf32 fp32, 2048 int8, 1024 fp8           (RTX 4090: 165.2 of 330.3 TFLOPS)
    Blackwell 512 fp16 bf16, 256 tf32 fp32, 2048 int8, 1024 fp8, 4096 fp4 (RTX 5090: 209.5 of 419 TFLOPS)
"""

from __future__ import annotations

from typing import Final

from workbench.devices._assumptions import Link
from workbench.devices._device import Device
from workbench.devices._rows import card_with_display as card

_TURING: Final = "NVIDIA Turing GPU Architecture whitepaper WP-09183-001"
_GA102: Final = "NVIDIA Ampere GA102 GPU Architecture whitepaper V2.1"
_ADA: Final = "NVIDIA Ada GPU Architecture whitepaper V2.1"
_BLACKWELL: Final = "NVIDIA RTX Blackwell GPU Architecture whitepaper V1.1"
_DENSE: Final = "the first (dense) figure of each pair, FP32 accumulate"
_GEFORCE_PAGE: Final = "nvidia.com GeForce product page"
_FROM_MEMORY: Final = "from memory, to be checked against the nvidia.com GeForce product page, which was not opened for this row"
# Pages that were opened for rows whose page at nvidia.com was not.
_SEEN_3060_TI: Final = (
    "scan.co.uk TekSpek and cputronic.com: 4864 CUDA cores, 1665 MHz, 448 GB/s (nvidia.com not opened)"
)
_SEEN_3090_TI: Final = (
    "tweaktown.com and alldbin.com: 84 SMs, 10752 CUDA cores, 1860 MHz, 1008 GB/s (nvidia.com not opened)"
)
_SEEN_4070_TI: Final = (
    "reviews of the card: 7680 CUDA cores, 60 RT cores, 2610 MHz, 192 bit, 504 GB/s (nvidia.com not opened)"
)
_SEEN_5060_TI: Final = "cputronic.com: 4608 CUDA cores, 36 RT cores, 2572 MHz; hi-tech.ua: 128 bit x 28 Gbps (nvidia.com not opened)"
# Ultralytics prints torch's total memory in MiB at the start of every run; its logs are all over public repositories.
_LOG: Final = "torch's total_memory in public Ultralytics logs on Linux, lowest seen"


def _derived(page: str, whitepaper: str, sms: int, mhz: int) -> str:
    return (
        f"{page} (memory, bus, clock); rates = {sms} SMs x {mhz} MHz boost x the per-SM dense rates with FP32 accumulate "
        f"of the {whitepaper}"
    )


TURING: Final[tuple[Device, ...]] = (
    card(
        name="gtx-1660-super",
        title="NVIDIA GeForce GTX 1660 SUPER 6 GB",
        architecture="turing",
        capability=(7, 5),
        memory_gib=6,
        visible_mib=5928,
        visible_source=_LOG,
        bandwidth_gb_s=336,
        # TU116 has no tensor cores, and its FP16 units have no published rate with FP32 accumulate: no fp16 key.
        tera_ops={"fp32": 5.03},
        source=f"{_GEFORCE_PAGE}: 1408 CUDA cores x 1785 MHz boost x 2; 192 bit x 14 Gbps",
        link=Link(generation=3, lanes=16),
        profile="turing-half-rate",
    ),
    card(
        name="rtx-2060-6gb",
        title="NVIDIA GeForce RTX 2060 6 GB",
        architecture="turing",
        capability=(7, 5),
        memory_gib=6,
        visible_mib=5918,
        visible_source=_LOG,
        bandwidth_gb_s=336,
        tera_ops={"fp32": 6.45, "fp16": 25.8, "int8": 103.2},
        source=_derived(_GEFORCE_PAGE, _TURING, 30, 1680),
        link=Link(generation=3, lanes=16),
        profile="turing-half-rate",
    ),
    card(
        name="rtx-2080-ti",
        title="NVIDIA GeForce RTX 2080 Ti 11 GB",
        architecture="turing",
        capability=(7, 5),
        memory_gib=11,
        visible_mib=10825,
        visible_source=_LOG,
        bandwidth_gb_s=616,
        tera_ops={"fp32": 13.4, "fp16": 53.8, "int8": 215.2},
        source=f"{_TURING}, table of TU102 cards, RTX 2080 Ti reference: FP16 tensor with FP32 accumulate",
        link=Link(generation=3, lanes=16),
        profile="turing-half-rate",
    ),
)

AMPERE: Final[tuple[Device, ...]] = (
    card(
        name="rtx-3060-12gb",
        title="NVIDIA GeForce RTX 3060 12 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=12,
        visible_mib=11910,
        visible_source=_LOG,
        bandwidth_gb_s=360,
        tera_ops={"fp32": 12.74, "tf32": 12.74, "fp16": 25.5, "bf16": 25.5, "int8": 101.9},
        source=_derived(_GEFORCE_PAGE, _GA102, 28, 1777),
        link=Link(generation=4, lanes=16),
        profile="ampere-half-rate",
    ),
    card(
        name="rtx-3060-ti-8gb",
        title="NVIDIA GeForce RTX 3060 Ti 8 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=8,
        visible_mib=7833,
        visible_source=_LOG,
        bandwidth_gb_s=448,
        tera_ops={"fp32": 16.2, "tf32": 16.2, "fp16": 32.4, "bf16": 32.4, "int8": 129.6},
        source=_derived(_SEEN_3060_TI, _GA102, 38, 1665),
        link=Link(generation=4, lanes=16),
        profile="ampere-half-rate",
    ),
    card(
        name="rtx-3070",
        title="NVIDIA GeForce RTX 3070 8 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=8,
        visible_mib=7753,
        visible_source=_LOG,
        bandwidth_gb_s=448,
        tera_ops={"fp32": 20.3, "tf32": 20.3, "fp16": 40.6, "bf16": 40.6, "int8": 162.6},
        source=f"{_GA102}, GeForce RTX 3070 column, {_DENSE} (= 46 SMs x 1725 MHz)",
        link=Link(generation=4, lanes=16),
        profile="ampere-half-rate",
    ),
    card(
        name="rtx-3080-10gb",
        title="NVIDIA GeForce RTX 3080 10 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=10,
        visible_mib=10002,
        visible_source=_LOG,
        bandwidth_gb_s=760,
        tera_ops={"fp32": 29.8, "tf32": 29.8, "fp16": 59.5, "bf16": 59.5, "int8": 238},
        source=f"{_GA102}, GeForce RTX 3080 10 GB column, {_DENSE} (= 68 SMs x 1710 MHz)",
        link=Link(generation=4, lanes=16),
        profile="ampere-half-rate",
    ),
    card(
        name="rtx-3080-ti",
        title="NVIDIA GeForce RTX 3080 Ti 12 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=12,
        visible_mib=11910,
        visible_source=_LOG,
        bandwidth_gb_s=912,
        tera_ops={"fp32": 34.1, "tf32": 34.1, "fp16": 68.2, "bf16": 68.2, "int8": 272.8},
        source=_derived(_FROM_MEMORY, _GA102, 80, 1665),
        link=Link(generation=4, lanes=16),
        profile="ampere-half-rate",
    ),
    card(
        name="rtx-3090",
        title="NVIDIA GeForce RTX 3090 24 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=24,
        visible_mib=24124,
        visible_source=_LOG,
        bandwidth_gb_s=936,
        tera_ops={"fp32": 35.6, "tf32": 35.6, "fp16": 71, "bf16": 71, "int8": 284},
        source=f"{_GA102}, Appendix A Table 9, GeForce RTX 3090, {_DENSE}",
        link=Link(generation=4, lanes=16),
        profile="ampere-half-rate",
    ),
    card(
        name="rtx-3090-ti",
        title="NVIDIA GeForce RTX 3090 Ti 24 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=24,
        visible_mib=24110,
        visible_source=_LOG,
        bandwidth_gb_s=1008,
        tera_ops={"fp32": 40.0, "tf32": 40.0, "fp16": 80.0, "bf16": 80.0, "int8": 320.0},
        source=_derived(_SEEN_3090_TI, _GA102, 84, 1860),
        link=Link(generation=4, lanes=16),
        profile="ampere-half-rate",
    ),
)

ADA: Final[tuple[Device, ...]] = (
    card(
        name="rtx-4060-8gb",
        title="NVIDIA GeForce RTX 4060 8 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=8,
        visible_mib=7807,
        visible_source=_LOG,
        bandwidth_gb_s=272,
        tera_ops={"fp32": 15.1, "tf32": 15.1, "fp16": 30.2, "bf16": 30.2, "int8": 120.9, "fp8": 60.5},
        source=_derived(_GEFORCE_PAGE, _ADA, 24, 2460),
        link=Link(generation=4, lanes=8),
        profile="ada-half-rate",
    ),
    card(
        name="rtx-4060-ti-16gb",
        title="NVIDIA GeForce RTX 4060 Ti 16 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=16,
        visible_mib=15974,
        visible_source="15.6 GiB in a public log of a CUDA program",
        bandwidth_gb_s=288,
        tera_ops={"fp32": 22.1, "tf32": 22.1, "fp16": 44.1, "bf16": 44.1, "int8": 176.5, "fp8": 88.2},
        source=_derived(_GEFORCE_PAGE, _ADA, 34, 2535),
        link=Link(generation=4, lanes=8),
        profile="ada-half-rate",
    ),
    card(
        name="rtx-4070",
        title="NVIDIA GeForce RTX 4070 12 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=12,
        visible_mib=11994,
        visible_source=_LOG,
        bandwidth_gb_s=504,
        tera_ops={"fp32": 29.1, "tf32": 29.1, "fp16": 58.3, "bf16": 58.3, "int8": 233.2, "fp8": 116.6},
        source=_derived(_GEFORCE_PAGE, _ADA, 46, 2475),
        link=Link(generation=4, lanes=16),
        profile="ada-half-rate",
    ),
    card(
        name="rtx-4070-ti",
        title="NVIDIA GeForce RTX 4070 Ti 12 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=12,
        visible_mib=12007,
        visible_source=_LOG,
        bandwidth_gb_s=504,
        tera_ops={"fp32": 40.1, "tf32": 40.1, "fp16": 80.2, "bf16": 80.2, "int8": 320.7, "fp8": 160.4},
        source=_derived(_SEEN_4070_TI, _ADA, 60, 2610),
        link=Link(generation=4, lanes=16),
        profile="ada-half-rate",
    ),
    card(
        name="rtx-4070-ti-super",
        title="NVIDIA GeForce RTX 4070 Ti SUPER 16 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=16,
        visible_mib=16069,
        visible_source=_LOG,
        bandwidth_gb_s=672,
        tera_ops={"fp32": 44.1, "tf32": 44.1, "fp16": 88.2, "bf16": 88.2, "int8": 352.8, "fp8": 176.4},
        source=_derived(_FROM_MEMORY, _ADA, 66, 2610),
        link=Link(generation=4, lanes=16),
        profile="ada-half-rate",
    ),
    card(
        name="rtx-4080",
        title="NVIDIA GeForce RTX 4080 16 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=16,
        visible_mib=15945,
        visible_source="a public hashcat log, CUDA 13.1",
        bandwidth_gb_s=716.8,
        tera_ops={"fp32": 48.7, "tf32": 48.7, "fp16": 97.5, "bf16": 97.5, "int8": 389.9, "fp8": 194.9},
        source=f"{_ADA}, appendix, GeForce RTX 4080 16 GB, {_DENSE} (= 76 SMs x 2505 MHz)",
        link=Link(generation=4, lanes=16),
        profile="ada-half-rate",
    ),
    card(
        name="rtx-4090",
        title="NVIDIA GeForce RTX 4090 24 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=24,
        visible_mib=24081,
        visible_source=f"{_LOG}; 23.52 GiB in Soul-AILab/SoulX-FlashTalk#5",
        bandwidth_gb_s=1008,
        tera_ops={"fp32": 82.6, "tf32": 82.6, "fp16": 165.2, "bf16": 165.2, "int8": 660.6, "fp8": 330.3},
        source=f"{_ADA}, Appendix A Table 2, GeForce RTX 4090, {_DENSE} (fp8 as corrected in V2.02)",
        link=Link(generation=4, lanes=16),
        profile="ada-half-rate",
    ),
)

BLACKWELL: Final[tuple[Device, ...]] = (
    card(
        name="rtx-5060-ti-16gb",
        title="NVIDIA GeForce RTX 5060 Ti 16 GB",
        architecture="blackwell",
        capability=(12, 0),
        memory_gib=16,
        visible_mib=15848,
        visible_source=_LOG,
        bandwidth_gb_s=448,
        tera_ops={
            "fp32": 23.7,
            "tf32": 23.7,
            "fp16": 47.4,
            "bf16": 47.4,
            "int8": 189.6,
            "fp8": 94.8,
            "fp4": 379.3,
        },
        source=_derived(_SEEN_5060_TI, _BLACKWELL, 36, 2572),
        link=Link(generation=5, lanes=8),
        profile="blackwell-half-rate",
    ),
    card(
        name="rtx-5070-ti",
        title="NVIDIA GeForce RTX 5070 Ti 16 GB",
        architecture="blackwell",
        capability=(12, 0),
        memory_gib=16,
        visible_mib=15820,
        visible_source="15.45-15.47 GiB in public logs, the latter with torch 2.13.0+cu130",
        bandwidth_gb_s=896,
        tera_ops={
            "fp32": 43.9,
            "tf32": 43.9,
            "fp16": 87.9,
            "bf16": 87.9,
            "int8": 351.5,
            "fp8": 175.8,
            "fp4": 703,
        },
        source=_derived(_GEFORCE_PAGE, _BLACKWELL, 70, 2452),
        link=Link(generation=5, lanes=16),
        profile="blackwell-half-rate",
    ),
    card(
        name="rtx-5080",
        title="NVIDIA GeForce RTX 5080 16 GB",
        architecture="blackwell",
        capability=(12, 0),
        memory_gib=16,
        visible_mib=15840,
        visible_source=_LOG,
        bandwidth_gb_s=960,
        tera_ops={
            "fp32": 56.3,
            "tf32": 56.3,
            "fp16": 112.6,
            "bf16": 112.6,
            "int8": 450.2,
            "fp8": 225.1,
            "fp4": 900.4,
        },
        source=_derived(_FROM_MEMORY, _BLACKWELL, 84, 2617),
        link=Link(generation=5, lanes=16),
        profile="blackwell-half-rate",
    ),
    card(
        name="rtx-5090",
        title="NVIDIA GeForce RTX 5090 32 GB",
        architecture="blackwell",
        capability=(12, 0),
        memory_gib=32,
        visible_mib=32102,
        visible_source=_LOG,
        bandwidth_gb_s=1792,
        tera_ops={
            "fp32": 104.8,
            "tf32": 104.8,
            "fp16": 209.5,
            "bf16": 209.5,
            "int8": 838,
            "fp8": 419,
            "fp4": 1676,
        },
        source=f"{_BLACKWELL}, Table 3 (RTX 3090, 4090, 5090), {_DENSE}",
        link=Link(generation=5, lanes=16),
        profile="blackwell-half-rate",
    ),
)

CARDS: Final = (*TURING, *AMPERE, *ADA, *BLACKWELL)
