"""The kinds of weight quantisation as data: what each needs and what is known of its loss. Needs no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.techniques._technique import UNKNOWN, Effect

INSTALL = 'pip install "diffusion-workbench[quantization]"'

_TABLE = "a practitioners' guide's precision table (INT8 on an RTX 3090: -1.1 % PSNR; it names no model and no method)"
_INT8 = Effect(provenance="published", loss_percent=1.1, metric="PSNR", source=_TABLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One way to store a linear layer's weights."""

    title: str
    """What it is, for a report."""
    minimum: tuple[int, int] | None = None
    """Least CUDA compute capability of its kernels; None is any."""
    only_bf16: bool = False
    """Whether its kernels take bf16 weights only."""
    only_cuda: bool = False
    """Whether its kernels exist on CUDA devices only."""
    package: str | None = None
    """A package beyond torchao without which it cannot even be traced."""
    cuda_package: str | None = None
    """A package without which it cannot run on a CUDA device."""
    caveat: str = ""
    """What a prediction cannot contain, as a sentence; empty if there is nothing to say."""
    planned_only: str = ""
    """Why a real pipeline cannot be quantised in this way by this package, as a sentence; empty if it can."""
    effect: Effect = UNKNOWN


_SYNCHRONISES = (
    "int8dq outside torch.compile makes torchao 0.18 print every layer's activations to look at their type "
    "(torchao/kernel/intmm.py, safe_int_mm), which waits for the GPU; the predicted time is without that"
)

_ONE_TYPE = (
    "a GGUF file mixes types (one named Q4_K_M also holds Q6_K, and small tensors in fp32); "
    "predicted is one type for every chosen layer"
)
_FROM_A_FILE = "only read from files that others packed: the gguf package packs Q8_0, Q5_0 and Q4_0"
_GGUF_TITLES = {
    "Q8_0": ("8", 32),
    "Q6_K": ("6", 256),
    "Q5_K": ("5", 256),
    "Q5_0": ("5", 32),
    "Q4_K": ("4", 256),
    "Q4_0": ("4", 32),
    "Q3_K": ("3", 256),
    "Q2_K": ("2", 256),
}
"""Type -> bits of a weight without its scales, and weights in a block."""
SVDQ_PRECISIONS = {"svdq_int4": "int4", "svdq_fp4": "nvfp4"}
_SVDQ = (
    "nunchaku's checkpoints are calibrated, and this package neither calibrates nor computes with them; predicted are the tensors and "
    "scratch memory of diffusers' SVDQW4A4Linear, rank 32, for every chosen layer, and the time of an 8-bit product"
)


def gguf_type(kind: str) -> str | None:
    """ggml's name of a kind, `"gguf_q4_k"`: `"Q4_K"`; None for a kind of another family."""
    family, _, name = kind.partition("_")
    return name.upper() if family == "gguf" else None


def _gguf(name: str) -> Kind:
    bits, block = _GGUF_TITLES[name]
    return Kind(
        title=f"GGUF {name} weights: {bits} bits, blocks of {block}",
        caveat=_ONE_TYPE,
        planned_only=f"gguf {name} is {_FROM_A_FILE}" if block == 256 else "",
    )


KINDS: Mapping[str, Kind] = {
    "int8wo": Kind(title="int8 weights, one scale per output channel", effect=_INT8),
    # torch._int_mm goes through cuBLASLt's int8 kernels, which Turing brought
    "int8dq": Kind(
        title="int8 weights and activations (scaled per token)",
        minimum=(7, 5),
        caveat=_SYNCHRONISES,
        effect=_INT8,
    ),
    "fp8wo": Kind(title="float8 weights, one scale per output channel"),
    # torchao/quantization/quant_api.py, _check_hardware_support
    "fp8dq": Kind(title="float8 weights and activations", minimum=(8, 9), only_bf16=True, only_cuda=True),
    # torchao Int4TilePackedTo4dTensor.from_hp: tinygemm, tensor cores of Ampere and later, bf16
    "int4wo": Kind(title="int4 weights, groups of 128", minimum=(8, 0), only_bf16=True, only_cuda=True),
    "bnb8": Kind(
        title="bitsandbytes int8 weights and activations",
        minimum=(7, 5),
        package="bitsandbytes",
        effect=_INT8,
    ),
    "nf4": Kind(title="4-bit normal-float weights, blocks of 64", cuda_package="bitsandbytes"),
    "nf4_double": Kind(
        title="4-bit normal-float weights, blocks of 64, their scales in 8 bits", cuda_package="bitsandbytes"
    ),
    "fp4": Kind(title="4-bit float weights, blocks of 64", cuda_package="bitsandbytes"),
    "fp8_storage": Kind(title="float8 storage, computed in the component's dtype"),
    **{f"gguf_{name.lower()}": _gguf(name) for name in _GGUF_TITLES},
    # nunchaku's kernels: int4 tensor cores came with Turing, NVFP4 with Blackwell
    "svdq_int4": Kind(
        title="SVDQuant int4 weights and activations", minimum=(7, 5), only_cuda=True, planned_only=_SVDQ
    ),
    "svdq_fp4": Kind(
        title="SVDQuant NVFP4 weights and activations", minimum=(10, 0), only_cuda=True, planned_only=_SVDQ
    ),
}


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def why_not_here(kind: str, *, weightless: bool, cuda: bool) -> str | None:
    """Why this machine cannot quantise in this way, as a sentence; None if it can. A weightless pipeline is only traced."""
    row = KINDS[kind]
    if row.package is not None and not is_installed(row.package):
        return f"{kind} needs the package {row.package}: {INSTALL}"
    if weightless:
        return None
    if row.planned_only:
        return row.planned_only
    if row.only_cuda and not cuda:
        return f"{kind} has kernels for CUDA devices only, and this machine has none"
    if cuda and row.cuda_package is not None and not is_installed(row.cuda_package):
        return f"{kind} on a CUDA device needs the package {row.cuda_package}: {INSTALL}"
    return None
