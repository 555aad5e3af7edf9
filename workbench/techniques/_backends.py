"""The attention backends as data: what each is called, what it needs, and what it is traced as. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """One implementation of attention."""

    name: str
    """diffusers' name."""
    traced_as: str
    """The backend that the tracer can follow: PyTorch's own ones and SageAttention's (cost/_sage.py)."""
    minimum: tuple[int, int] = (0, 0)
    """Least CUDA compute capability."""
    minimum_bf16: tuple[int, int] = (0, 0)
    """Least CUDA compute capability for bf16."""
    on_cpu: bool = False
    """Whether the CPU has it too."""
    half_only: bool = False
    """Whether it refuses fp32."""
    takes_masks: bool = True
    """Whether it takes an attention mask."""


_AMPERE = (8, 0)

MASKED = (
    "HunyuanVideoTransformer3DModel",
    "HunyuanVideo15Transformer3DModel",
    "LTXVideoTransformer3DModel",
    "LTX2VideoTransformer3DModel",
    "SanaVideoTransformer3DModel",
)
"""Denoisers that pass a mask over the prompt's padding to attention (diffusers 0.42; each was rehearsed under every backend)."""

WITHOUT_CHOICE = (
    "AllegroTransformer3DModel",
    "CogVideoXTransformer3DModel",
    "CosmosTransformer3DModel",
    "EasyAnimateTransformer3DModel",
    "LatteTransformer3DModel",
    "MochiTransformer3DModel",
    "UNet3DConditionModel",
    "UNetMotionModel",
    "UNetSpatioTemporalConditionModel",
)
"""Denoisers whose attention processors call PyTorch themselves instead of diffusers' dispatcher, or do not tell it the backend that was
chosen, as Cosmos's (diffusers 0.42)."""

BACKENDS: Mapping[str, Backend] = {
    "native": Backend(name="native", traced_as="native", on_cpu=True),
    # aten/src/ATen/native/transformers/cuda/sdp_utils.cpp: check_sm_version<sm80, ...> for flash and cuDNN; bf16 of the
    # memory-efficient kernel from sm80 on (check_mem_efficient_hardware_support, less_than_sm80_mem_efficient_dtypes)
    "flash": Backend(
        name="_native_flash",
        traced_as="_native_flash",
        minimum=_AMPERE,
        on_cpu=True,
        half_only=True,
        takes_masks=False,
    ),
    "cudnn": Backend(name="_native_cudnn", traced_as="_native_cudnn", minimum=_AMPERE, half_only=True),
    "efficient": Backend(name="_native_efficient", traced_as="_native_efficient", minimum_bf16=_AMPERE),
    "math": Backend(name="_native_math", traced_as="_native_math", on_cpu=True),
    # README of SageAttention: Ampere and later
    "sage": Backend(name="sage", traced_as="sage", minimum=_AMPERE, half_only=True, takes_masks=False),
    "xformers": Backend(
        name="xformers", traced_as="_native_efficient", minimum=(7, 0), minimum_bf16=_AMPERE, half_only=True
    ),
}
