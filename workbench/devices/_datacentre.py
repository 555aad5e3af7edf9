"""Data centre cards, as clouds rent them. SXM modules hang on the host by PCI Express all the same."""

from __future__ import annotations

from typing import Final

from workbench.devices._assumptions import Link
from workbench.devices._device import Device
from workbench.devices._rows import card

_LOG: Final = "torch's total_memory in public Ultralytics logs, lowest seen"
_ECC: Final = "; ECC is on"
_A100: Final = (
    "NVIDIA A100 data sheet and GA100 whitepaper Table 1, SXM4, the first (dense) figure of each pair"
)
_V100: Final = (
    "NVIDIA V100 data sheet, SXM2 (tensor 125 TFLOPS, FP16 with FP32 accumulate); no INT8 tensor mode"
)
_HALVED: Final = "figures with sparsity x 0.5 for dense"

_TOMS: Final = (
    "tomshardware.com, 'H20, L20, and L2 to fill void left by restricted models', a table of NVIDIA's figures"
)

_V100_RATES: Final = {"fp32": 15.7, "fp16": 125.0}
_A100_RATES: Final = {"fp32": 19.5, "tf32": 156.0, "fp16": 312.0, "bf16": 312.0, "int8": 624.0}
_H100_RATES: Final = {
    "fp32": 67.0,
    "tf32": 494.5,
    "fp16": 989.5,
    "bf16": 989.5,
    "int8": 1979.0,
    "fp8": 1979.0,
}

BEFORE_AMPERE: Final[tuple[Device, ...]] = (
    card(
        name="v100-16gb",
        title="NVIDIA Tesla V100 SXM2 16 GB",
        architecture="volta",
        capability=(7, 0),
        memory_gib=16,
        visible_mib=16130,
        visible_source=_LOG,
        bandwidth_gb_s=900,
        tera_ops=_V100_RATES,
        source=_V100,
        link=Link(generation=3, lanes=16),
    ),
    card(
        name="v100-32gb",
        title="NVIDIA Tesla V100 SXM2 32 GB",
        architecture="volta",
        capability=(7, 0),
        memory_gib=32,
        visible_mib=32494,
        visible_source=_LOG,
        bandwidth_gb_s=900,
        tera_ops=_V100_RATES,
        source=_V100,
        link=Link(generation=3, lanes=16),
    ),
    card(
        name="t4",
        title="NVIDIA T4 16 GB",
        architecture="turing",
        capability=(7, 5),
        memory_gib=16,
        visible_mib=14912,
        visible_source=_LOG + _ECC,
        bandwidth_gb_s=320,
        tera_ops={"fp32": 8.1, "fp16": 65, "int8": 130},
        source="NVIDIA T4 data sheet (65 TFLOPS mixed FP16/FP32, full rate on this card); no bf16, no tf32",
        link=Link(generation=3, lanes=16),
    ),
)

AMPERE: Final[tuple[Device, ...]] = (
    card(
        name="a10g",
        title="NVIDIA A10G 24 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=24,
        visible_mib=22528,
        visible_source="22.0 GiB in a public log on AWS" + _ECC,
        bandwidth_gb_s=600,
        # Not the A10 (125 dense, full rate): the A10G of AWS g5 has GeForce's half rate. Its data sheet's fp32 (35) and
        # these belong to a higher clock than the card holds; at 72 SMs and 1.71 GHz they would be 31.5 and 63.
        tera_ops={"fp32": 35, "tf32": 35, "fp16": 70, "bf16": 70, "int8": 140},
        source="NVIDIA A10G data sheet as AWS publishes it (70 dense, 140 with sparsity), quoted by baseten.co 'A10 vs A10G'",
        link=Link(generation=4, lanes=16),
        profile="ampere-half-rate",
    ),
    card(
        name="a100-40gb",
        title="NVIDIA A100 SXM4 40 GB",
        architecture="ampere",
        capability=(8, 0),
        memory_gib=40,
        visible_mib=40441,
        visible_source=_LOG,
        bandwidth_gb_s=1555,
        tera_ops=_A100_RATES,
        source=_A100,
        link=Link(generation=4, lanes=16),
    ),
    card(
        name="a100-80gb",
        title="NVIDIA A100 SXM4 80 GB",
        architecture="ampere",
        capability=(8, 0),
        memory_gib=80,
        visible_mib=81038,
        visible_source=f"{_LOG}; 79.14 GiB in lianqi1008/Control-GIC#6",
        bandwidth_gb_s=2039,
        tera_ops=_A100_RATES,
        source=_A100,
        link=Link(generation=4, lanes=16),
    ),
)

ADA: Final[tuple[Device, ...]] = (
    card(
        name="l4",
        title="NVIDIA L4 24 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=24,
        visible_mib=22563,
        visible_source=_LOG + _ECC,
        bandwidth_gb_s=300,
        tera_ops={"fp32": 30.3, "tf32": 60, "fp16": 121, "bf16": 121, "int8": 242.5, "fp8": 242.5},
        source=(
            f"NVIDIA L4 data sheet (fp32 30.3; tf32 120, fp16 and bf16 242, int8 and fp8 485), {_HALVED}; full rate with FP32 "
            "accumulate, since 87 TFLOPS were measured"
        ),
        link=Link(generation=4, lanes=16),
    ),
    card(
        name="l40",
        title="NVIDIA L40 48 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=48,
        visible_mib=45486,
        visible_source="taken to be as the L40S's: the same chip, memory and ECC; not seen itself",
        bandwidth_gb_s=864,
        tera_ops={"fp32": 90.5, "tf32": 90.5, "fp16": 181.05, "bf16": 181.05, "int8": 362, "fp8": 362},
        source="NVIDIA L40 data sheet, the first (dense) figure of each pair: half of the L40S's, at nearly its clock and with its SMs",
        link=Link(generation=4, lanes=16),
        profile="ada-half-rate",
    ),
    card(
        name="l40s",
        title="NVIDIA L40S 48 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=48,
        visible_mib=45486,
        visible_source="44.42 GiB in stepfun-ai/Step-Video-T2V#8" + _ECC,
        bandwidth_gb_s=864,
        tera_ops={"fp32": 91.6, "tf32": 183, "fp16": 362, "bf16": 362, "int8": 733, "fp8": 733},
        source="NVIDIA L40S data sheet, the first (dense) figure of each pair",
        link=Link(generation=4, lanes=16),
    ),
    card(
        name="l20",
        title="NVIDIA L20 48 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=48,
        visible_mib=45486,
        visible_source="taken to be as the L40S's: the same chip and memory with ECC; reported as 46 GB in vllm-project/vllm#7721",
        bandwidth_gb_s=864,
        tera_ops={"fp32": 59.35, "tf32": 59.8, "fp16": 119.5, "bf16": 119.5, "int8": 239, "fp8": 239},
        source=(
            f"{_TOMS} (tf32 59.8, fp16 and bf16 119.5, int8 and fp8 239, 864 GB/s); fp32 and PCIe 4.0 x16: topcpu.net. "
            "Tensor cores at half of the L40S's rate, as on the L40"
        ),
        link=Link(generation=4, lanes=16),
        profile="ada-half-rate",
    ),
)

HOPPER: Final[tuple[Device, ...]] = (
    card(
        name="h100-80gb",
        title="NVIDIA H100 SXM5 80 GB",
        architecture="hopper",
        capability=(9, 0),
        memory_gib=80,
        visible_mib=81008,
        visible_source="79.11 GiB in vllm-project/vllm#27508",
        bandwidth_gb_s=3350,
        tera_ops=_H100_RATES,
        source=f"NVIDIA H100 data sheet, SXM (tf32 989, fp16 and bf16 1979, int8 and fp8 3958), {_HALVED}",
        link=Link(generation=5, lanes=16),
    ),
    card(
        name="h200",
        title="NVIDIA H200 SXM 141 GB",
        architecture="hopper",
        capability=(9, 0),
        memory_gib=141,
        visible_mib=143156,
        visible_source=_LOG,
        bandwidth_gb_s=4800,
        tera_ops=_H100_RATES,
        source=f"NVIDIA H200 data sheet, SXM (rates as the H100's), {_HALVED}",
        link=Link(generation=5, lanes=16),
    ),
    card(
        name="h20",
        title="NVIDIA H20 96 GB",
        architecture="hopper",
        capability=(9, 0),
        memory_gib=96,
        visible_mib=97256,
        visible_source=(
            "97871 MiB in a public nvidia-smi listing of an H20, less 615 MiB: by so much CUDA reports less than nvidia-smi on an H200"
        ),
        bandwidth_gb_s=4000,
        tera_ops={"fp32": 44, "tf32": 74, "fp16": 148, "bf16": 148, "int8": 296, "fp8": 296},
        source=(
            f"{_TOMS} (tf32 74, fp16 and bf16 148, int8 and fp8 296, 4.0 TB/s); fp32 44: a second report of NVIDIA's sheet; dense figures. "
            "The link is taken to be as of the other SXM modules of Hopper"
        ),
        link=Link(generation=5, lanes=16),
    ),
)

BLACKWELL: Final[tuple[Device, ...]] = (
    card(
        name="b200",
        title="NVIDIA B200 SXM 180 GB",
        architecture="blackwell",
        capability=(10, 0),
        memory_gib=180,
        visible_mib=182630,
        visible_source="178.35 GiB, from 46.39 GiB being 26.01 % in pytorch/torchtitan#1196",
        bandwidth_gb_s=7700,
        tera_ops={
            "fp32": 75,
            "tf32": 1100,
            "fp16": 2250,
            "bf16": 2250,
            "int8": 4500,
            "fp8": 4500,
            "fp4": 9000,
        },
        source=(
            "NVIDIA Blackwell data sheet, HGX B200 column, per GPU (180 GB, 7.7 TB/s; tf32 2.2, fp16 and bf16 4.5, fp8 and int8 "
            f"9, fp4 18 PFLOPS), {_HALVED}"
        ),
        link=Link(generation=5, lanes=16),
    ),
)

CARDS: Final = (*BEFORE_AMPERE, *AMPERE, *ADA, *HOPPER, *BLACKWELL)
