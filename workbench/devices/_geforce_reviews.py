"""GeForce cards whose figures are from reviews and specification databases: no page or paper of NVIDIA's was opened for them.

Rates are multiprocessors x boost clock x what one issues per clock, as in `_geforce.py`. A laptop's clock depends on the power that its
maker allows: here it is the boost clock at the highest, 115 W; at 35 W an RTX 4070 runs at little more than half of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workbench.devices._assumptions import Link
from workbench.devices._device import Device
from workbench.devices._rows import card_with_display as card

_AMPERE: Final[Mapping[str, int]] = {"fp32": 256, "tf32": 256, "fp16": 512, "bf16": 512, "int8": 2048}
_ADA: Final = {**_AMPERE, "fp8": 1024}
_BLACKWELL: Final = {**_ADA, "fp4": 4096}
_ISSUED: Final = "what one multiprocessor issues per clock with FP32 accumulate is at the top of _geforce.py"

_ARS: Final = "Ars Technica's review of the RTX 5060, table of CUDA cores, boost clock and memory (opened as copied by prepmusiclog.com)"
_FPSBENCH: Final = "fpsbench.com, detailed specifications of the GeForce RTX 5070"
_ALLDBIN: Final = (
    "cpu-gpu.alldbin.com, comparison pages of the RTX 4060 Mobile and the RTX 4070 Mobile (35 - 115 W); eight lanes as the same "
    "chips have on desktop cards"
)
_LINUX_LOG: Final = "torch's total_memory in public Ultralytics logs on Linux, lowest seen"


def _rates(sms: int, mhz: int, per_clock: Mapping[str, int]) -> dict[str, float]:
    return {dtype: round(sms * mhz * operations / 1e6, 2) for dtype, operations in per_clock.items()}


def _source(page: str, sms: int, mhz: int) -> str:
    return f"{page}; rates = {sms} SMs x {mhz} MHz boost; {_ISSUED}"


CARDS: Final[tuple[Device, ...]] = (
    card(
        name="rtx-3050-8gb",
        title="NVIDIA GeForce RTX 3050 8 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=8,
        visible_mib=7753,
        visible_source="not seen of this card; what was seen of the RTX 3070 8 GB, the least of its generation and size",
        bandwidth_gb_s=224,
        tera_ops=_rates(20, 1777, _AMPERE),
        source=_source(_ARS, 20, 1777),
        link=Link(generation=4, lanes=8),
        profile="ampere-half-rate",
    ),
    card(
        name="rtx-4060-laptop-8gb",
        title="NVIDIA GeForce RTX 4060 Laptop GPU 8 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=8,
        visible_mib=7806,
        visible_source="what was seen of the RTX 4070 Laptop GPU; of this one only 7915 MiB under an older driver",
        bandwidth_gb_s=256,
        tera_ops=_rates(24, 2370, _ADA),
        source=_source(_ALLDBIN, 24, 2370),
        link=Link(generation=4, lanes=8),
        profile="ada-half-rate",
    ),
    card(
        name="rtx-4070-laptop-8gb",
        title="NVIDIA GeForce RTX 4070 Laptop GPU 8 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=8,
        visible_mib=7806,
        visible_source=_LINUX_LOG,
        bandwidth_gb_s=256,
        tera_ops=_rates(36, 2175, _ADA),
        source=_source(_ALLDBIN, 36, 2175),
        link=Link(generation=4, lanes=8),
        profile="ada-half-rate",
    ),
    card(
        name="rtx-5060-8gb",
        title="NVIDIA GeForce RTX 5060 8 GB",
        architecture="blackwell",
        capability=(12, 0),
        memory_gib=8,
        visible_mib=7656,
        visible_source="not seen on Linux; as much less than sold as of the RTX 5060 Ti 16 GB",
        bandwidth_gb_s=448,
        tera_ops=_rates(30, 2497, _BLACKWELL),
        source=_source(_ARS, 30, 2497),
        link=Link(generation=5, lanes=8),
        profile="blackwell-half-rate",
    ),
    card(
        name="rtx-5070",
        title="NVIDIA GeForce RTX 5070 12 GB",
        architecture="blackwell",
        capability=(12, 0),
        memory_gib=12,
        visible_mib=11724,
        visible_source="not seen on Linux; as much less than sold as of the RTX 5070 Ti",
        bandwidth_gb_s=672,
        tera_ops=_rates(48, 2512, _BLACKWELL),
        source=_source(_FPSBENCH, 48, 2512),
        link=Link(generation=5, lanes=16),
        profile="blackwell-half-rate",
    ),
)
