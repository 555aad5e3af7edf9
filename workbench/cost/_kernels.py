"""What an ATen op costs: its kind, FLOPs, bytes moved and scratch memory, from the shapes of its arguments.

FLOP rules are the textbook ones (2 per multiply-add), the same as torch.utils.flop_counter, extended to the attention overloads that
its registry lacks. Scratch memory (`workspace_bytes`) is what a library takes from the caching allocator while the op runs:

- cuDNN 3-D convolution: the bytes of input, output and filter once more, for copies with channels last. Single convolutions that others
  measured give it to the byte: fp16 (PyTorch issue 95024), bf16 with cuDNN 9.15 on an A100 and fp32 with PyTorch 2.8 and 2.9 (issue
  166643, at the width of Wan's decoder; tests/cost/test_convolutions.py has the sums). An older one in fp32, on an A100 in 2024, copied
  input and filter only (issue 128947), so that less may be taken in fp32 than is counted here. In agreement with the decodes of the
  Qwen-Image VAE (17 sizes on an RTX 4090, InvokeAI pull request 9305), HunyuanVideo, LTX-Video and CogVideoX.
- cuDNN 2-D convolution in half precision: the same, for the same copies, up to 4 GiB. The decode of AnimateDiff (16 frames of 512x512,
  fp16) then needs 8.0 GiB beside the weights, where 8.01 was measured (diffusers pull request 9177, which says nothing of the card);
  without scratch memory it would be 6.0, and with the 4.0 GiB of its widest convolution 9.5. The 17 sizes above have such convolutions
  too, and stay as they are. PyTorch issue 123533 has single convolutions of one image in fp16: the same copies, there above 4 GiB too.
- cuDNN 2-D convolution in fp32: as in half precision, by inference only: cuDNN makes these copies for 3-D ones in fp32, and the decode of
  Stable Diffusion at 512x512 in fp32, 1696 MB reserved (InvokeAI pull request 7674, cudaMallocAsync), would be 1087 MB without them and
  1535 MB with them, where the one at 1024x1024 in fp16 beside it is 2592 of 3232.
- Memory-efficient attention in half precision with heads wider than 128 channels, as autoencoders have them: the output once more in
  fp32 (see `_sdpa.EFFICIENT_RESIDENT_HEAD_DIM`).
- FlashAttention: none. It splits keys among several blocks, with buffers for each, only where queries alone do not fill the card
  (`set_params_splitkv`, flash_api.cpp: fewer than 0.8 of twice its multiprocessors), so these buffers are a few MiB at the most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from workbench.cost._sdpa import EFFICIENT_RESIDENT_HEAD_DIM
from workbench.cost._trace import Op

DTYPE_NAMES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "fp8",
    torch.float8_e5m2: "fp8",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.bool: "bool",
}

_HALF = (torch.float16, torch.bfloat16)

_MAX_COPIES_2D_BYTES = 4 * 2**30
"""From here on a 2-D convolution makes no copies; see above."""

_MATMULS = frozenset(
    {
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
        "_int_mm",
        "_scaled_mm",
        "_weight_int4pack_mm",
        "_weight_int8pack_mm",
        "int8_linear_matmul",
        "svdq_gemm",
    }
)
"""Products of two matrices: ATen's, bitsandbytes' int8 one, and SVDQuant's of 4 bits."""


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.bfloat16` -> `"bf16"`; a dtype without a short name keeps torch's."""
    return DTYPE_NAMES.get(dtype, str(dtype).removeprefix("torch."))


def touched_bytes(tensor: Tensor) -> int:
    """Bytes of distinct elements of a tensor: an expanded (stride 0) dimension is read once."""
    numel = math.prod(
        n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0 or n == 0
    )
    return numel * tensor.element_size()


def describe(
    func: torch._ops.OpOverload,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    args: Sequence[Any],
    *,
    cudnn: bool,
) -> Op:
    """The `Op` of one call.

    Args:
        inputs: every tensor among the arguments, in order.
        outputs: every tensor that was returned.
        args: the positional arguments as passed, for the ones that are no tensors (strides, groups).
        cudnn: whether convolutions run on cuDNN and take its scratch memory.
    """
    base = func._schema.name.rpartition("::")[2]
    name = str(func)
    compute = inputs[0] if inputs else (outputs[0] if outputs else None)
    dtype = dtype_name(compute.dtype) if compute is not None else "none"
    if func.is_view or base in ("detach", "alias", "_reshape_alias", "lift_fresh"):
        return Op(name, "view", dtype, 0, 0, 0)
    read = sum(touched_bytes(t) for t in inputs)
    written = sum(touched_bytes(t) for t in outputs)
    if base in _MATMULS:
        m, k, n, batch = _product_shape(base, inputs, outputs)
        return Op(name, "matmul", dtype, 2 * batch * m * n * k, read, written, (batch, m, n, k))
    if "convolution" in base and len(inputs) >= 2:
        return _convolution(Op(name, "conv", dtype, 0, read, written), inputs, outputs[0], args, cudnn)
    if "scaled_dot_product" in base or base in ("_flash_attention_forward", "_efficient_attention_forward"):
        query, key, value = inputs[:3]
        batch, heads, num_queries, head_dim = query.shape
        num_keys, value_dim = key.shape[2], value.shape[3]
        flops = 2 * batch * heads * num_queries * num_keys * (head_dim + value_dim)
        dims = (batch, heads, num_queries, num_keys, head_dim)
        is_wide = max(head_dim, value_dim) > EFFICIENT_RESIDENT_HEAD_DIM
        accumulates = "efficient" in base and query.dtype in _HALF and is_wide
        workspace = 4 * batch * heads * num_queries * value_dim if accumulates else 0
        return Op(name, "attention", dtype, flops, read, written, dims, workspace_bytes=workspace)
    if (
        base == "_safe_softmax"
    ):  # softmax, isneginf to a mask, all, and where in place (torch 2.13, attention.cpp)
        mask = outputs[0].numel()
        return Op(name, "memory", dtype, 0, 3 * read + mask, 2 * written + mask, workspace_bytes=mask)
    addressed = (sum(t.numel() for t in outputs),) if _is_scattered(func, inputs, outputs) else ()
    return Op(name, "memory", dtype, 0, read, written, addressed)


def _is_scattered(func: torch._ops.OpOverload, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether an element-wise op or a copy works out the address of every element: its tensors are broadcast, have gaps or differ in the
    order of their dimensions, so that TensorIterator cannot walk them as one line (aten/src/ATen/native/cuda/CUDALoops.cuh)."""
    base = func._schema.name.rpartition("::")[2]
    if torch.Tag.pointwise not in func.tags and base not in _COPIES:
        return False
    tensors = [t for t in (*inputs, *outputs) if t.numel() > 1]
    return any(t.shape != tensors[0].shape or t.stride() != tensors[0].stride() for t in tensors) or any(
        not _is_dense(t) for t in tensors[:1]
    )


_COPIES = frozenset({"copy_", "_to_copy", "clone"})


def _is_dense(tensor: Tensor) -> bool:
    """Whether a tensor's elements lie side by side, in whatever order of its dimensions."""
    expected = 1
    for size, stride in sorted(zip(tensor.shape, tensor.stride(), strict=True), key=lambda dim: dim[1]):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _product_shape(
    base: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[int, int, int, int]:
    """(m, k, n, batch) of a matrix product, whatever its overload calls its operands."""
    left = inputs[1] if base in ("addmm", "baddbmm") else inputs[0]
    out = outputs[0]
    batch = math.prod(out.shape[:-2])
    packed = 2 if base == "svdq_gemm" else 1  # numbers in a byte
    return out.shape[-2], packed * left.shape[-1], out.shape[-1], batch


def _convolution(op: Op, inputs: Sequence[Tensor], out: Tensor, args: Sequence[Any], cudnn: bool) -> Op:
    image, weight = inputs[:2]
    spatial = weight.dim() - 2
    transposed = bool(args[6]) if len(args) > 6 else False
    positions = out.shape[0] * math.prod(image.shape[2:] if transposed else out.shape[2:])
    groups = int(args[8]) if len(args) > 8 else 1
    # what PyTorch chooses its fp32 kernel on a CPU by: the batch, and the elements of the input without its last dimension
    rows = math.prod(image.shape[:-1])
    dims = (positions, weight.shape[0], math.prod(weight.shape[1:]), spatial, groups, image.shape[0], rows)
    copies = touched_bytes(image) + touched_bytes(out)
    filters = touched_bytes(weight)
    is_flat = spatial == 2 and groups == 1 and copies < _MAX_COPIES_2D_BYTES
    workspace = copies + filters if cudnn and spatial == 3 else copies if cudnn and is_flat else 0
    return replace(op, flops=2 * math.prod(dims[:3]), dims=dims, workspace_bytes=workspace)
