"""What no data sheet says: the CUDA context, the host link in practice, and the fractions of the rates that are reached.

All of it is UNCALIBRATED: defaults shared by the cards of one architecture (and accumulation class, see `EFFICIENCIES`),
taken from public measurements of single kernels. None is fitted to a published time or memory of a video pipeline.
`wb.calibrate()` replaces them by measurements, and a device then says `basis="calibrated"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from workbench._units import MIB
from workbench.devices._tables import Table

# --- Desktop ----------------------------------------------------------------------------------------------------------
# What a card that drives a display loses to it. It differs more from machine to machine than anything else here (about 500 MB more with two
# 4K screens on GNOME, NVIDIA/open-gpu-kernel-modules#390; 1.9 GB with Steam open, of which Xorg 1.1, ValveSoftware/steam-for-linux#9516),
# so it is a stated default: what ComfyUI keeps free for the system and other software.
DISPLAY: Final[tuple[int, str]] = (
    400 * MIB,
    "assumption: what ComfyUI leaves to the system and other programs (comfy/model_management.py, EXTRA_RESERVED_VRAM: 400 MiB, on Windows "
    "600, and 700 from 16 GB on); say `desktop_gb` where it is known",
)
HEADLESS: Final[tuple[int, str]] = (
    0,
    "a card without a display connector; other programs on it are not counted",
)


# --- CUDA context -----------------------------------------------------------------------------------------------------
# Evidence (PyTorch with lazy kernel loading, the default since CUDA 11.7): "~300MB" pytorch/pytorch#107667; "around 400MB"
# pytorch/pytorch#109888; 426 MiB on an RTX 6000 Ada, torch 2.10+cu130, unslothai/unsloth-zoo#1053; 256 MiB on an RTX 3090,
# torch 2.7.1+cu128, invoke-ai/InvokeAI#9413; "300MB to 400MB" on a V100, pytorch/pytorch#20532; 320 MiB on a TITAN V without PyTorch's
# kernels, pytorch/pytorch#28394; 274 MiB with one kernel, where loading all of them takes 636, pytorch/pytorch#86509 (which made lazy
# loading the default). Kernels of cuBLAS, cuDNN and attention that load on first use come on top, hence values above the bare context.
# For Hopper and Blackwell nobody seems to have published the bare context; `studies/gpu_validation` records it (context_and_others_bytes).
_CONTEXT_SOURCE: Final = (
    "assumption: bare CUDA context (256-426 MiB: pytorch#107667, #109888, #20532, #86509, unsloth-zoo#1053, InvokeAI#9413) "
    "plus kernels loaded on first use"
)
_MORE_SMS_SOURCE: Final = (
    _CONTEXT_SOURCE + "; no public measurement for this architecture: the upper end, for its larger SM count"
)
CONTEXTS: Final[Mapping[str, tuple[int, str]]] = {
    "volta": (450 * MIB, _CONTEXT_SOURCE),
    "turing": (450 * MIB, _CONTEXT_SOURCE),
    "ampere": (512 * MIB, _CONTEXT_SOURCE),
    "ada": (512 * MIB, _CONTEXT_SOURCE),
    "hopper": (600 * MIB, _MORE_SMS_SOURCE),
    "blackwell": (600 * MIB, _MORE_SMS_SOURCE),
}


# --- Host link --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A PCI Express link as the card's data sheet names it; the machine may run it slower."""

    generation: int
    """3, 4 or 5."""

    lanes: int
    """Width of the card's connector, 8 or 16."""

    @property
    def label(self) -> str:
        """`"PCIe 4.0 x16"`."""
        return f"PCIe {self.generation}.0 x{self.lanes}"

    @property
    def bytes_per_s(self) -> float:
        """Theoretical one-way rate: 8, 16 or 32 GT/s per lane, 128 of 130 bits are data (PCI-SIG)."""
        return 2.0 ** (self.generation - 3) * 8e9 * self.lanes * 128 / 130 / 8

    def fractions(self) -> dict[str, tuple[float, str]]:
        """`link_pinned` and `link_pageable` as fractions of the theoretical rate, each with its source."""
        pinned, pinned_source = _PINNED[self.generation]
        # A pageable copy is one CPU thread's memcpy into the driver's staging buffer, so a faster link does not help it.
        pageable = min(pinned / 2, _STAGING_BYTES_PER_S / self.bytes_per_s)
        return {"link_pinned": (pinned, pinned_source), "link_pageable": (pageable, _PAGEABLE_SOURCE)}


_PINNED: Final[Mapping[int, tuple[float, str]]] = {
    3: (0.76, "uncalibrated: 12 of 15.75 GB/s measured on a V100, ZaidQureshi/bam#54"),
    4: (0.79, "uncalibrated: 25 of 31.5 GB/s measured on an A100, ZaidQureshi/bam#54"),
    5: (
        0.80,
        "uncalibrated: 52.8 of 63.0 GB/s (0.84) device to host on an H100, NVIDIA/nvbandwidth#24; less to be safe",
    ),
}
_STAGING_BYTES_PER_S: Final = 5.2e9
_PAGEABLE_SOURCE: Final = (
    "uncalibrated: half the pinned rate, at most 5.2 GB/s, which diffusers' documentation of Wan implies (14B I2V, 33 frames of 720x832, "
    "50 steps of two passes: about 30 min with 32.8 GB moved in and out of pageable memory each pass, about 9 with the transfers hidden); "
    "2.3 of 5.8 GB/s pinned in NVIDIA's blog 'How to Optimize Data Transfers in CUDA C/C++', 10.7 GB/s with the same code on an RTX 3050"
)

# --- Fractions of the rates -------------------------------------------------------------------------------------------
# "-half-rate" are the cards (GeForce, A10G) whose tensor cores run at half speed when they accumulate in FP32, as PyTorch
# does. Against that halved rate they reach a much larger fraction: little is left to wait for, and they boost above the
# clock that the rate is listed at. The others are limited by power (T4, L4, A6000) or by feeding the tensor cores.
_MAMF: Final = "stas00/ml-engineering, Maximum Achievable Matmul FLOPS table (bf16)"
_MLI: Final = "mli/transformers-benchmarks"
_TABLE: Final = "zzc0721/torch-performance-test-data (torch.matmul, 1024 to 10240 square)"
_HALF: Final = "uncalibrated, best shapes exceed the listed rate: fp16 matmul on "
_FA_HALF: Final = (
    "uncalibrated: FlashAttention-2 reaches about 0.98 of the halved rate on an RTX 4090 (SageAttention, arXiv 2410.02367: "
    "340 TOPS is 2.1x FlashAttention-2); less, to be safe"
)
_MEM_EFFICIENT: Final = (
    "assumption: below Ampere PyTorch has only the CUTLASS memory-efficient kernel, which is about FlashAttention-1's "
    "speed (xformers#362), 25-40 % of peak (FlashAttention-2, arXiv 2307.08691)"
)

MATMUL: Final[Mapping[str, tuple[float, str]]] = {
    "volta": (
        0.73,
        f"uncalibrated: V100 95 of 125 TFLOPS fp16 ({_MLI}), TITAN V 77 of 110 (gist ypwhs/a156353cb19e780e323be054821af015)",
    ),
    "turing": (
        0.50,
        f"uncalibrated: T4 41.9-42.7 of 65 TFLOPS fp16 at its best size, {_TABLE}; about 24 once its 70 W cap it "
        "(forums.developer.nvidia.com/t/264462); between the two",
    ),
    "turing-half-rate": (
        0.93,
        f"{_HALF}an RTX 2080 Ti 58.6 of 53.8, RTX 2080 39.0 of 40.3 TFLOPS ({_TABLE}); 53.4 and 36.2 "
        "(gist ypwhs/a156353cb19e780e323be054821af015)",
    ),
    "ampere": (
        0.76,
        f"uncalibrated: A100 SXM 0.85 at its best size ({_MAMF}; {_TABLE}), PCIe 0.77 at its best and 0.68 at 8192 and 10240; 230 of 312 "
        f"TFLOPS fp16 ({_MLI}). Products of a video model are large",
    ),
    "ampere-pro": (
        0.75,
        f"uncalibrated: RTX A6000 123 of 154.8 TFLOPS bf16 at its best size, A40 0.74 at 8192 and 0.82 at 10240 ({_TABLE}); an A6000 95 "
        f"({_MLI})",
    ),
    "ampere-half-rate": (
        0.95,
        f"{_HALF}an RTX 3090 Ti 81 of 80 TFLOPS ({_MLI}), an RTX 3090 76 of 71, an A10G 69.5 of 70 ({_TABLE}); less, for hot cards and "
        "other shapes",
    ),
    "ada": (
        0.72,
        f"uncalibrated: L40S 269 of 362 TFLOPS bf16 at its best size ({_TABLE}); L4 87 of 121 fp16 with FP32 accumulate (NVIDIA developer "
        "forum, second hand)",
    ),
    "ada-half-rate": (
        0.93,
        f"{_HALF}an RTX 4090 158.6-167.1 of 165.2 TFLOPS ({_MLI}#4), 161 (qhduan/transformers-benchmarks), 155-160 at 8192 and 10240 "
        f"({_TABLE}); less, for hot cards",
    ),
    "hopper": (
        0.77,
        f"uncalibrated: H100 and H200 0.80 ({_MAMF}); H200 788 of 989 TFLOPS in torch, random data, n=8192; H100 SXM 0.81 at 8192 and 0.73 "
        f"at 10240 ({_TABLE})",
    ),
    "blackwell": (0.76, f"uncalibrated: B200 0.776 ({_MAMF}), 0.75 ({_TABLE})"),
    "blackwell-half-rate": (
        1.0,
        f"{_HALF}an RTX 5090 254 of 209.5 TFLOPS bf16 (xzwgit/gpu-flops-bench), 235-240 ({_TABLE}); kept at the limit of 1",
    ),
}

ATTENTION: Final[Mapping[str, tuple[float, str]]] = {
    "volta": (0.35, _MEM_EFFICIENT),
    "turing": (0.20, _MEM_EFFICIENT + "; times the power cap seen in matmul"),
    "turing-half-rate": (0.45, _MEM_EFFICIENT + "; more, since the listed rate is halved"),
    "ampere": (0.65, "uncalibrated: FlashAttention-2 on A100, 50-73 % of peak forward (arXiv 2307.08691)"),
    "ampere-pro": (
        0.45,
        "assumption: FlashAttention-2, A100's fraction times the A6000's shortfall in matmul",
    ),
    "ampere-half-rate": (0.80, _FA_HALF + "; by analogy with Ada"),
    "ada": (0.50, "assumption: FlashAttention-2, A100's fraction times the L4's shortfall in matmul"),
    "ada-half-rate": (0.85, _FA_HALF),
    "hopper": (
        0.60,
        "uncalibrated: cuDNN, which PyTorch prefers on compute capability 9.0 with cuDNN > 9.15 "
        "(check_prefer_cudnn_attention), 1.7-2.3x FlashAttention-2 (huggingface/transformers#48163), which is at 0.35 "
        "(FlashAttention-3, arXiv 2407.08608)",
    ),
    "blackwell": (
        0.57,
        "uncalibrated: cuDNN 1428 TFLOPS, 57.1 % of that card's peak, at head size 128 (Dao-AILab/flash-attention#2605)",
    ),
    "blackwell-half-rate": (0.85, _FA_HALF + "; by analogy with Ada"),
}

_CONV_SOURCE: Final = (
    "assumption: half of the matmul fraction. A 2-D convolution with 256 channels reaches matmul's rate (TITAN V, RTX 2080 Ti: "
    "gist ypwhs/a156353cb19e780e323be054821af015); no public figure for a video VAE's 3-D ones with 96-384 channels"
)
_MEMORY: Final = (
    0.85,
    "uncalibrated: element-wise product 0.79-0.87 of the bandwidth on A100, A6000, V100 and 3090 Ti "
    f"({_MLI}, VectorMul at 8 bytes per FLOP); H200 copy in torch 4.3 of 4.8 TB/s",
)
_LAUNCH: Final = (
    5e-6,
    "assumption: 5 microseconds per kernel, one for all cards, since it is the CPU's work (Python, dispatcher, "
    "cudaLaunchKernel); matters only where kernels are shorter than that",
)


# --- Fractions that depend on what an op looks like ---------------------------------------------------------------------
_SCATTERED_BYTES_PER_LANE: Final = 0.087
_SCATTERED: Final = (
    "uncalibrated: broadcast and permuted element-wise ops work out every address on the integer lanes, whatever an element's size; with a "
    "broadcast operand PyTorch's sub and mul move 1.46 TB/s of fp16 on an H200, with two of one shape 3.85 (1024 x 20480, profile logs of "
    "tile-ai/TileOPs, whose own kernels that compute addresses take as long for fp32 as for fp16; its pull request 537 has 0.62 of a "
    "million elements, most of it launch); in proportion to the lanes, at most what contiguous ones reach"
)
_FA2_HOPPER: Final = (
    "uncalibrated: FlashAttention-2 at 0.35 of an H100's peak (FlashAttention-3, arXiv 2407.08608); at head size 64 310 TFLOPS "
    "(Dao-AILab/flash-attention pull request 2688, which was read in part and not seen to name its card: taken for an H100)"
)
_CUDNN_HOPPER: Final = (
    "uncalibrated: cuDNN 582 of 989 TFLOPS on an H100 at head size 128 (meta-pytorch/tritonbench#141); at 64 as much "
    "less as on a B200"
)
_CUDNN_BLACKWELL: Final = (
    "uncalibrated: cuDNN 1428 TFLOPS, 57.1 % of that card's peak, at head size 128 and 46 % at 64 "
    "(Dao-AILab/flash-attention#2605)"
)
_HEAD_SIZES: Final = (64.0, 128.0)
_FA2_AMPERE: Final = (
    "uncalibrated: FlashAttention-2 on A100, 50-73 % of peak forward (arXiv 2307.08691): the lower half of that at head size 64, the upper "
    "at 128, which is a judgement"
)
ATTENTION_BY_HEAD_SIZE: Final[Mapping[str, Mapping[str, tuple[tuple[float, float], str]]]] = {
    "ampere": {"flash": ((0.58, 0.68), _FA2_AMPERE)},
    "hopper": {"flash": ((0.31, 0.35), _FA2_HOPPER), "cudnn": ((0.48, 0.59), _CUDNN_HOPPER)},
    "blackwell": {"cudnn": ((0.46, 0.57), _CUDNN_BLACKWELL)},
}
"""Profile -> kernel -> what it reaches at each of `_HEAD_SIZES`; a kernel or a profile that is not here takes the one number above."""


_INT4_FLOPS_PER_LANE: Final = 2.05
_INT4: Final = (
    "fitted to diffusers-torchao's CogVideoX-5b on an A100 (studies/published_time, TA017-TA020): tinygemm's kernel unpacks each weight "
    "for every 16 tokens on the integer lanes, and reaches 20 TFLOPS there; in proportion to the lanes"
)


def integer_lanes_per_s(fp32_flops: float, capability: tuple[int, int]) -> float:
    """32-bit integer operations per second: as many lanes as for fp32 up to compute capability 8.0 and from 12.0 on, half as many between
    (NVIDIA's white papers of GA102, Hopper, Ada and RTX Blackwell)."""
    has_half = (8, 0) < capability < (12, 0)
    return fp32_flops / (4 if has_half else 2)


def tables(
    profile: str, capability: tuple[int, int], dense_flops: Mapping[str, float], bandwidth_bytes_per_s: float
) -> dict[str, tuple[Table, str]]:
    """What depends on more than the kind of op on a card of that profile, each with its source."""
    lanes = integer_lanes_per_s(dense_flops["fp32"], capability)
    scattered = min(_MEMORY[0], _SCATTERED_BYTES_PER_LANE * lanes / bandwidth_bytes_per_s)
    found = {"memory.scattered": (_constant(scattered), _SCATTERED)}
    if "bf16" in dense_flops:
        int4 = min(MATMUL[profile][0], _INT4_FLOPS_PER_LANE * lanes / dense_flops["bf16"])
        found["matmul.int4"] = (_constant(int4), _INT4)
    for kernel, (fractions, source) in ATTENTION_BY_HEAD_SIZE.get(profile, {}).items():
        rows = tuple((fraction,) for fraction in fractions)
        found[f"attention.{kernel}"] = (Table(sizes=(1.0,), widths=_HEAD_SIZES, fractions=rows), source)
    return found


def _constant(fraction: float) -> Table:
    return Table(sizes=(1.0,), fractions=((round(fraction, 3),),))


def efficiencies(profile: str, link: Link) -> dict[str, tuple[float, str]]:
    """Every efficiency of a card of that profile on that link, with its source."""
    matmul, _ = MATMUL[profile]
    return {
        "matmul": MATMUL[profile],
        "attention": ATTENTION[profile],
        "conv": (round(matmul / 2, 3), _CONV_SOURCE),
        "memory": _MEMORY,
        **link.fractions(),
        "launch_s": _LAUNCH,
    }
