"""Makes meta tensors take the kernels that a device would.

A composite function such as scaled-dot-product attention picks its kernel by device, and on the meta device it picks the slow generic
one. `lowered` shadows these few functions and calls the kernel that the target has, so the trace holds what would run there.
(A torch function mode would do the same at five times the cost: it is also called for every look at a tensor's shape.)
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from workbench._errors import RehearsalError
from workbench.cost._recorder import Recorder
from workbench.cost._sage import sage_attention
from workbench.cost._sdpa import cuda_kernel

_DISPATCH = "diffusers.models.attention_dispatch"


@contextlib.contextmanager
def lowered(recorder: Recorder, target: str, attention: str) -> Iterator[None]:
    """Sends attention and RMS normalisation to one target's kernels while the context lasts.

    Args:
        target: `"cpu"` or `"cuda"`.
        attention: the best kernel that a CUDA target has, one of `_sdpa.GENERATIONS`. Choices follow PyTorch's own rules.
    """
    lowering = _Lowering(recorder, target, attention)
    with contextlib.ExitStack() as stack:
        # PyTorch says once per process that an fp32 input to a bf16 norm has no fused kernel; the trace says it in its ops.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        stack.enter_context(mock.patch("torch.nn.functional.scaled_dot_product_attention", lowering.attend))
        stack.enter_context(mock.patch("torch.autocast", _autocast))
        stack.enter_context(mock.patch("torch.tensor", _tensor))
        if target == "cuda":
            stack.enter_context(mock.patch("torch.rms_norm", lowering.rms_norm))
        else:
            stack.enter_context(mock.patch("torch.group_norm", lowering.group_norm))
        if _DISPATCH in sys.modules:  # where the package is absent, diffusers has None in its place
            stack.enter_context(mock.patch(f"{_DISPATCH}.sageattn", sage_attention(recorder, attention)))
        if "torchao" in sys.modules:
            stack.enter_context(_integer_products(target))
            stack.enter_context(
                mock.patch.object(torch.ops.aten, "_weight_int4pack_mm", lowering.int4_product)
            )
        yield


def _tensor(data: Any, **options: Any) -> Tensor:
    """`torch.tensor`, whose numbers keep their values when a model wants them where its operands are: on the meta device."""
    if options.get("device") is not None and torch.device(options["device"]).type == "meta":
        options["device"] = None
    return _torch_tensor(data, **options)


def _autocast(
    device_type: str, dtype: torch.dtype | None = None, enabled: bool = True, **options: Any
) -> Any:
    """`torch.autocast`, which refuses the meta device.

    Models switch it off for a part that needs fp32, or ask for fp32, having converted the operands themselves: there is nothing to cast.
    Nothing of the catalogue casts to half precision, so no cached half copies of fp32 weights have to be counted (diffusers 0.42: of the
    video networks only Mochi's enables it, in fp32; Wan's own code, which runs fp32 weights under bf16, does and is refused here).

    Raises:
        RehearsalError: automatic casts to half precision, which tensors without data do not get.
    """
    if device_type != "meta":
        return _torch_autocast(device_type, dtype, enabled, **options)
    if enabled and dtype != torch.float32:
        raise RehearsalError(
            f"the model casts automatically to {dtype}, which a run without weights cannot follow"
        )
    return contextlib.nullcontext()


def _integer_products(target: str) -> AbstractContextManager[Any]:
    """Sends torchao's products of int8 matrices to the target's kernel (torchao/kernel/intmm.py).

    For the CPU it asks where its operands are; for CUDA it calls `out_dtype`, which takes `_int_mm` for operands on a GPU only.
    """
    if target == "cpu":
        return mock.patch(
            "torchao.kernel.intmm._is_device", lambda wanted, device: str(device) in (wanted, "meta")
        )
    return mock.patch(
        "torchao.kernel.intmm.out_dtype", lambda op, dtype, left, right: torch._int_mm(left, right)
    )


def _forced_kernel() -> str | None:
    """The one kernel that `torch.nn.attention.sdpa_kernel` allows at the moment (diffusers' backends use it); None if there is a choice."""
    allowed = {
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "math": torch.backends.cuda.math_sdp_enabled(),
    }
    names = [name for name, is_allowed in allowed.items() if is_allowed]
    return names[0] if len(names) == 1 else None


_sdpa = torch.nn.functional.scaled_dot_product_attention
_rms_norm = torch.rms_norm
_torch_tensor = torch.tensor
_group_norm = torch.group_norm
_torch_autocast = torch.autocast
_int4_product = torch.ops.aten._weight_int4pack_mm


def _aligned(mask: Tensor) -> Tensor:
    """An additive mask as the memory-efficient kernel takes it: one whose rows do not begin at multiples of 8 elements is copied into one
    whose rows do (preprocess_mask of aten/src/ATen/native/transformers/attention.cpp)."""
    if mask.stride(-1) == 1 and all(stride % 8 == 0 for stride in mask.stride()[:-1]):
        return mask
    num_keys = mask.shape[-1]
    return torch.nn.functional.pad(mask, (0, 8 - num_keys % 8))[..., :num_keys]


@dataclass(frozen=True, slots=True)
class _Lowering:
    recorder: Recorder
    target: str
    attention: str

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        kernel = self._kernel(query, key, value, attn_mask, causal=is_causal, gqa=enable_gqa)
        if kernel == "math":
            return _sdpa(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = self._additive(attn_mask, query.dtype)
        if kernel == "cpu":
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
            )[0]
        if kernel == "flash":
            return self._flash(query, key, value, dropout_p, is_causal, scale)
        if kernel == "cudnn":
            return self._cudnn(query, key, value, attn_mask)
        if attn_mask is not None:
            attn_mask = _aligned(attn_mask).expand(
                query.shape[0], query.shape[1], query.shape[2], key.shape[2]
            )
        return torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, False, dropout_p, is_causal, scale=scale
        )[0]

    @staticmethod
    def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
        """What convert_boolean_attn_mask (aten/src/ATen/native/transformers/attention.cpp) does before a fused kernel."""
        kept, masked = (torch.scalar_tensor(x, dtype=dtype, device=mask.device) for x in (0.0, float("-inf")))
        return torch.where(mask, kept, masked)

    def _flash(
        self, query: Tensor, key: Tensor, value: Tensor, dropout: float, causal: bool, scale: float | None
    ) -> Tensor:
        head_dim = query.shape[-1]
        if head_dim % 8:  # pad_last_dim of aten/src/ATen/native/transformers/attention.cpp
            pad = (0, 8 - head_dim % 8)
            query, key, value = (torch.nn.functional.pad(t, pad) for t in (query, key, value))
        out = torch.ops.aten._scaled_dot_product_flash_attention(
            query, key, value, dropout, causal, return_debug_mask=False, scale=scale
        )[0]
        return out[..., :head_dim] if head_dim % 8 else out

    def _cudnn(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """An output laid out as the queries are (`alloc_with_matching_layout` of attention.cu). Its logsumexp, which the meta kernel makes,
        exists for training only; what cuDNN takes to work in is not known, and none is counted."""
        with self.recorder.quietly():
            order = sorted(range(4), key=lambda dim: -query.stride(dim))
            shape = (*query.shape[:3], value.shape[3])
            out = query.new_empty([shape[dim] for dim in order])
            out = out.permute([order.index(dim) for dim in range(4)])
        inputs = [query, key, value] if mask is None else [query, key, value, mask]
        op = torch.ops.aten._scaled_dot_product_cudnn_attention.default
        self.recorder.synthesise(op, inputs, (out,), tuple(inputs))
        return out

    def _kernel(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool, gqa: bool
    ) -> str:
        if self.target == "cuda":
            forced = _forced_kernel()
            return cuda_kernel(self.attention, query, key, value, mask, causal=causal, gqa=gqa, forced=forced)
        if query.dim() != 4 or query.shape[-1] != value.shape[-1] or _forced_kernel() == "math":
            return "math"
        dense = all(t.stride(-1) == 1 for t in (query, key, value))  # check_last_dim_stride_equals_1_dense
        # the CPU's kernel takes masks of 2 or 4 dimensions (check_attn_mask_shape)
        return "cpu" if dense and (mask is None or mask.dim() in (2, 4)) else "math"

    def int4_product(self, x: Tensor, weight: Tensor, group: int, scales: Tensor) -> Tensor:
        """tinygemm's product. PyTorch 2.13 has a meta kernel for it, which fails on meta tensors (it asks for `fake_device`)."""
        if not weight.is_meta:
            return _int4_product(x, weight, group, scales)
        with self.recorder.quietly():  # a small input (an embedded timestep) is real, the weight never is; eight output channels per tile
            out = torch.empty(x.shape[0], weight.shape[0] * 8, dtype=x.dtype, device="meta")
        self.recorder.synthesise(
            _int4_product.default, [x, weight, scales], (out,), (x, weight, group, scales)
        )
        return out

    def rms_norm(
        self, x: Tensor, shape: list[int], weight: Tensor | None = None, eps: float | None = None
    ) -> Tensor:
        """CUDA has a fused kernel, used where input and weight share a dtype (since PyTorch 2.9); otherwise the composite runs.

        The meta device has no such kernel and would decompose it, so the op is recorded with the outputs that it has: the normalised
        tensor and one fp32 reciprocal root per row.
        """
        if weight is not None and weight.dtype != x.dtype:
            return _rms_norm(x, shape, weight, eps)
        with self.recorder.quietly():
            rows = (*x.shape[: x.dim() - len(shape)], *(1 for _ in shape))
            outputs = (
                torch.empty(x.shape, dtype=x.dtype, device=x.device),
                x.new_empty(rows, dtype=torch.float32),
            )
        inputs = [x] if weight is None else [x, weight]
        self.recorder.synthesise(
            torch.ops.aten._fused_rms_norm.default, inputs, outputs, (x, shape, weight, eps)
        )
        return outputs[0]

    def group_norm(
        self,
        x: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
        cudnn_enabled: bool = True,
    ) -> Tensor:
        """The CPU's kernel takes channels last as they are, where every other device has them made contiguous first (group_norm.cpp)."""
        layout = torch._prims_common.suggest_memory_format(x)
        if not x.is_meta or layout == torch.contiguous_format:
            return _group_norm(x, num_groups, weight, bias, eps, cudnn_enabled)
        x = x.contiguous(memory_format=layout)
        batch, channels = x.shape[:2]
        with self.recorder.quietly():
            statistics = [x.new_empty(batch, num_groups) for _ in range(2)]
            outputs = (torch.empty_like(x), *statistics)
        del statistics
        inputs = [tensor for tensor in (x, weight, bias) if tensor is not None]
        sizes = (batch, channels, x.numel() // (batch * channels), num_groups, eps)
        op = torch.ops.aten.native_group_norm.default
        self.recorder.synthesise(op, inputs, outputs, (x, weight, bias, *sizes))
        return outputs[0]
