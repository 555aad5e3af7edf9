"""SageAttention on tensors without data: the copies of queries, keys and values that it quantises.

thu-ml/SageAttention, sageattention/core.py (`sageattn_qk_int8_pv_fp8_cuda`, which Ada and GeForce Blackwell run, and the `_sm90` one) and
quant.py (`per_warp_int8`, `per_channel_fp8`): queries and keys once more in int8; the output; values turned, padded to whole blocks of
tokens and then once more in fp8. Ampere's kernels take half a tensor less (values in fp16 instead), which is not told apart here.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from workbench._errors import RehearsalError
from workbench.cost._recorder import Recorder

_HALF = (torch.float16, torch.bfloat16)


class SageAttend(Protocol):
    """`sageattention.sageattn`."""

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        tensor_layout: str = "HND",
        is_causal: bool = False,
        sm_scale: float | None = None,
        return_lse: bool = False,
    ) -> Tensor: ...


def sage_attention(recorder: Recorder, best: str) -> SageAttend:
    """What stands in for `sageattn` while a trace is made.

    Args:
        best: the card's generation (`_sdpa.GENERATIONS`); Hopper's kernel pads the values before it turns them.

    Raises (when called):
        RehearsalError: operands that the package refuses: heads wider than 128 channels, or no half precision.
    """

    def attend(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        tensor_layout: str = "HND",
        is_causal: bool = False,
        sm_scale: float | None = None,
        return_lse: bool = False,
    ) -> Tensor:
        width = q.shape[-1]
        if width > 128 or q.dtype not in _HALF:
            raise RehearsalError(
                f"SageAttention takes half precision and heads of at most 128 channels, got {q.dtype} and {width}"
            )
        padded = 64 if width <= 64 else 128
        if padded != width:
            q, k, v = (torch.nn.functional.pad(t, (0, padded - width)) for t in (q, k, v))
        quantised: list[Any] = [torch.empty(t.shape, dtype=torch.int8, device=t.device) for t in (q, k)]
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        tokens_dim = 1 if tensor_layout == "NHD" else 2
        if best == "cudnn" and v.shape[tokens_dim] % 128:
            v = torch.cat([v, _tokens(v, tokens_dim, -v.shape[tokens_dim] % 128)], dim=tokens_dim)
        turned = torch.cat([v, _tokens(v, tokens_dim, -v.shape[tokens_dim] % 64)], dim=tokens_dim)
        quantised.append(torch.empty(turned.shape, dtype=torch.float8_e4m3fn, device=v.device))
        del turned
        with recorder.quietly():
            inputs = [t.transpose(1, 2) if tensor_layout == "NHD" else t for t in (q, k, v)]
        op = torch.ops.aten._scaled_dot_product_flash_attention.default
        recorder.synthesise(op, inputs, (out,), ())
        return out[..., :width]

    return attend


def _tokens(values: Tensor, dim: int, count: int) -> Tensor:
    """So many more tokens, to pad with."""
    shape = [count if axis == dim else size for axis, size in enumerate(values.shape)]
    return torch.empty(shape, dtype=values.dtype, device=values.device)
