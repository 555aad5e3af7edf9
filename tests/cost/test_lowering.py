"""Attention takes the kernel that PyTorch's own rules choose."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.cost._lowering import lowered
from workbench.cost._recorder import Recorder

FUSED = {
    "cpu": "aten._scaled_dot_product_flash_attention_for_cpu.default",
    "cuda": "aten._scaled_dot_product_flash_attention.default",
}


def operands(*, dense: bool) -> Tensor:
    """[batch, heads, 600, 32] with elements of a head next to each other, or, as a convolution leaves them, tokens."""
    if dense:
        return torch.empty(1, 1, 600, 32, dtype=torch.bfloat16, device="meta")
    return torch.empty(1, 1, 32, 600, dtype=torch.bfloat16, device="meta").transpose(2, 3)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("dense", [True, False])
def test_fused_kernels_take_heads_whose_elements_are_next_to_each_other(target: str, dense: bool) -> None:
    recorder = Recorder()
    with torch.no_grad(), lowered(recorder, target, "flash"), recorder:
        query = operands(dense=dense)
        assert torch.nn.functional.scaled_dot_product_attention(query, query, query).shape == query.shape
    ops = [event[1].name for event in recorder.events if event[0] == 2]
    assert (FUSED[target] in ops) is dense


@pytest.mark.parametrize("dense", [True, False])
def test_the_rule_is_pytorchs(dense: bool) -> None:
    query = torch.randn(operands(dense=dense).shape)
    if not dense:
        query = query.transpose(2, 3).contiguous().transpose(2, 3)
    assert (torch._fused_sdp_choice(query, query, query) == 1) is dense  # 1: flash, 0: math


def test_on_a_gpu_the_rows_of_a_mask_are_dense_too() -> None:
    recorder = Recorder()
    query = operands(dense=True)
    mask = torch.empty(600, 600, dtype=torch.bfloat16, device="meta").t()
    with torch.no_grad(), lowered(recorder, "cuda", "flash"), recorder:
        torch.nn.functional.scaled_dot_product_attention(query, query, query, mask)
    ops = {event[1].name: event[1] for event in recorder.events if event[0] == 2}
    softmax = ops["aten._safe_softmax.default"]
    assert softmax.workspace_bytes == 600 * 600  # the mask of -inf that it makes and lets go
