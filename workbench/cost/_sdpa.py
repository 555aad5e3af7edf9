"""Which kernel scaled-dot-product attention runs on, by PyTorch's own rules for each generation of cards.

PyTorch 2.13, aten/src/ATen/native/transformers/cuda/sdp_utils.cpp (`select_sdp_backend` and the `check_...` functions that it names) and
sdp_utils_cpp.h. On CUDA a call takes the first of these that takes it: cuDNN (on Hopper and data-centre Blackwell only,
`check_prefer_cudnn_attention`; the wheels bring the cuDNN that it asks for since 2.11), FlashAttention, the memory-efficient kernel, and
last the math fallback, which holds the whole score matrix in fp32. No mask is taken by FlashAttention, no fp32 by cuDNN and
FlashAttention, no bf16 by the memory-efficient kernel before Ampere, and no kernel but cuDNN and FlashAttention has grouped queries.
"""

from __future__ import annotations

import torch
from torch import Tensor

_HALF = (torch.float16, torch.bfloat16)
_FLASH_MAX_HEAD_DIM = 256
"""`check_head_dim_size_flash`."""
_CUDNN_MAX_HEAD_DIM = 128
"""`check_cudnn_tensor_shapes`."""
EFFICIENT_RESIDENT_HEAD_DIM = 128
"""The memory-efficient kernel keeps outputs of at most this many channels in registers (`kMaxK` of its instances, `cutlassF.h`); wider
ones in half precision go through a buffer in fp32 (`kNeedsOutputAccumulatorBuffer`, mem_eff_attention/kernel_forward.h)."""

GENERATIONS = ("cudnn", "flash", "efficient", "efficient_sm7x", "math")
"""What a card has at best, and all that follows here; `efficient_sm7x` is the memory-efficient kernel before Ampere. `math` has nothing."""


def cuda_kernel(
    best: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    causal: bool,
    gqa: bool,
    forced: str | None = None,
) -> str:
    """`"cudnn"`, `"flash"`, `"efficient"` or `"math"`.

    Args:
        best: one of `GENERATIONS`.
        query: [batch, heads, queries, head_dim]; key, value alike. Other numbers of dimensions are for the math fallback.
        forced: the one kernel that is allowed at the moment (`torch.nn.attention.sdpa_kernel`). It is taken as it is: where it does not
            fit the operands, PyTorch fails, which a prediction cannot show.
    """
    if forced is not None:
        return forced
    if best == "math" or query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        return "math"
    if any(t.stride(-1) != 1 for t in (query, key, value)) or (mask is not None and mask.stride(-1) != 1):
        return "math"  # check_last_dim_stride_equals_1_dense
    if not gqa and not query.shape[1] == key.shape[1] == value.shape[1]:
        return "math"  # check_batch_size_and_num_heads_dense
    width, value_width = query.shape[-1], value.shape[-1]
    half = query.dtype in _HALF
    if best == "cudnn" and half and _fits_cudnn(width, value_width, key.shape[2]):
        return "cudnn"
    square = not causal or query.shape[2] == key.shape[2]  # check_flash_causal_non_square_seqlens
    fits_flash = half and mask is None and square and width == value_width <= _FLASH_MAX_HEAD_DIM
    if best in ("cudnn", "flash") and fits_flash:
        return "flash"
    if gqa or (best == "efficient_sm7x" and query.dtype == torch.bfloat16):
        return "math"
    aligned = _alignment(best, half=half)
    return "efficient" if width % aligned == 0 and value_width % aligned == 0 else "math"


def _fits_cudnn(width: int, value_width: int, num_keys: int) -> bool:
    """`check_cudnn_tensor_shapes`, as far as inference without dropout is concerned."""
    widths = (width, value_width)
    return num_keys > 1 and all(one <= _CUDNN_MAX_HEAD_DIM and one % 8 == 0 for one in widths)


def _alignment(best: str, *, half: bool) -> int:
    """Elements that a head's width must be a multiple of (`minimum_gemm_alignment`): fp16 needs tensor cores' 8 on every card that has
    them, fp32 their 4 from Ampere on. Cards without them, before Volta, would take any width."""
    if half:
        return 8
    return 1 if best == "efficient_sm7x" else 4
