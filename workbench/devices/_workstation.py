"""Workstation cards: GeForce silicon whose tensor cores accumulate in FP32 at full rate, and which can turn ECC on."""

from __future__ import annotations

from typing import Final

from workbench.devices._assumptions import Link
from workbench.devices._device import Device
from workbench.devices._rows import card_with_display as card

CARDS: Final[tuple[Device, ...]] = (
    card(
        name="rtx-a4000",
        title="NVIDIA RTX A4000 16 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=16,
        visible_mib=15984,
        visible_source="15.61 GiB in DengKaiCQ/VGGT-Long#6",
        bandwidth_gb_s=448,
        tera_ops={"fp32": 19.2, "tf32": 38.3, "fp16": 76.7, "bf16": 76.7, "int8": 153.4},
        source=(
            "NVIDIA RTX A4000 data sheet: 153.4 tensor TFLOPS with sparsity, x 0.5 for dense fp16; tf32 half and int8 twice "
            "that, the ratios of the GA102 whitepaper's RTX A6000 column"
        ),
        link=Link(generation=4, lanes=16),
        profile="ampere-pro",
    ),
    card(
        name="rtx-a5000",
        title="NVIDIA RTX A5000 24 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=24,
        visible_mib=24248,
        visible_source="torch's total_memory in a public Ultralytics log, ECC off (22721 with ECC)",
        bandwidth_gb_s=768,
        tera_ops={"fp32": 27.8, "tf32": 55.6, "fp16": 111.1, "bf16": 111.1, "int8": 222.2},
        source=(
            "from memory, to be checked against NVIDIA's RTX A5000 data sheet, which was not opened: "
            "fp32 27.8, tensor 222.2 TFLOPS with sparsity, x 0.5 for dense fp16; tf32 half and int8 "
            "twice that, as the RTX A4000's"
        ),
        link=Link(generation=4, lanes=16),
        profile="ampere-pro",
    ),
    card(
        name="rtx-a6000",
        title="NVIDIA RTX A6000 48 GB",
        architecture="ampere",
        capability=(8, 6),
        memory_gib=48,
        visible_mib=48537,
        visible_source="47.40 GiB in a public log, ECC off, as shipped (47.54 in google-research/semivl#18; 44.5 with ECC)",
        bandwidth_gb_s=768,
        tera_ops={"fp32": 38.7, "tf32": 77.4, "fp16": 154.8, "bf16": 154.8, "int8": 309.7},
        source=(
            "NVIDIA Ampere GA102 GPU Architecture whitepaper V2.1, RTX A6000 column, the first (dense) figure of each pair, "
            "FP32 accumulate (full rate on this card)"
        ),
        link=Link(generation=4, lanes=16),
        profile="ampere-pro",
    ),
    card(
        name="rtx-6000-ada",
        title="NVIDIA RTX 6000 Ada Generation 48 GB",
        architecture="ada",
        capability=(8, 9),
        memory_gib=48,
        visible_mib=48497,
        visible_source=(
            "torch's total_memory in public Ultralytics logs and unslothai/unsloth-zoo#1053, ECC off "
            "(with ECC on 44.43 GiB, DINGYANB/MTVCrafter#21)"
        ),
        bandwidth_gb_s=960,
        tera_ops={"fp32": 91.1, "tf32": 182.1, "fp16": 364.2, "bf16": 364.2, "int8": 728.5, "fp8": 728.5},
        source=(
            "NVIDIA RTX PRO Blackwell GPU Architecture whitepaper V1.0, Table 4, RTX 6000 Ada column, dense, FP32 accumulate "
            "(bf16 364); data sheet: 1457 fp8 TFLOPS with sparsity, x 0.5 for dense"
        ),
        link=Link(generation=4, lanes=16),
    ),
    card(
        name="rtx-pro-6000",
        title="NVIDIA RTX PRO 6000 Blackwell Workstation Edition 96 GB",
        architecture="blackwell",
        capability=(12, 0),
        memory_gib=96,
        visible_mib=97250,
        visible_source="97887 MiB in public nvidia-smi listings, 97288 of them free on an idle card, ECC off; CUDA's total was not seen",
        bandwidth_gb_s=1792,
        tera_ops={
            "fp32": 125,
            "tf32": 250,
            "fp16": 500,
            "bf16": 500,
            "int8": 1000,
            "fp8": 1000,
            "fp4": 2000,
        },
        source=(
            "reports of NVIDIA's announcement (topcpu.net, gpu.name, hardware-corner.net): 24064 CUDA cores, 125 TFLOPS fp32, 4000 AI TOPS "
            "(fp4 with sparsity), 1792 GB/s, PCIe 5.0; dense fp4 is half of that, each wider type half of the next, full rate with FP32 "
            "accumulate as on NVIDIA's earlier workstation cards"
        ),
        link=Link(generation=5, lanes=16),
    ),
)
