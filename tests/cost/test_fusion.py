"""What a compiler leaves of chains of ops: single kernels that read and write what is outside of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.cost._calls import Call
from workbench.cost._flow import fused_ops, repeated_blocks
from workbench.cost._fusion import FUSED
from workbench.cost._memo import Memo
from workbench.cost._trace import Op
from workbench.cost.rehearsal import Target

ROWS, WIDTH = 4096, 64
ONE = ROWS * WIDTH * 4  # bytes of the hidden states


class Block(nn.Module):
    """A norm, a modulation, a product and a gated residual, as every denoiser's block has them."""

    def __init__(self, *, in_place: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.in_place = in_place

    def forward(self, x, scale, gate):
        y = self.linear(self.norm(x) * (1 + scale))
        if self.in_place:
            held = torch.zeros_like(y)
            held[: ROWS // 2] = y[: ROWS // 2]
            return x + held * gate
        return x + y * gate


class Stack(nn.Module):
    """Blocks in a list, and something before them."""

    def __init__(self, num_blocks: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(num_blocks))

    def forward(self, x, scale, gate):
        x = torch.nn.functional.silu(x) * 2.0
        for block in self.blocks:
            x = block(x, scale, gate)
        return x


def fused(module: nn.Module, *args: torch.Tensor, whole: bool = True) -> list[tuple[Op, int]]:
    call = Call("transformer", type(module).__name__, args, {})
    ops = fused_ops(call, module, Target(), Memo(), whole=whole)
    return [(op, count) for op, count in ops if op.kind != "view"]


def kernels(found: list[tuple[Op, int]]) -> list[tuple[int, int, int]]:
    return sorted((op.read_bytes, op.write_bytes, count) for op, count in found if op.name == FUSED)


def inputs() -> tuple[torch.Tensor, ...]:
    wide = torch.empty((ROWS, WIDTH), device="meta")
    return wide, *(torch.empty((1, WIDTH), device="meta") for _ in range(2))


def test_what_is_between_products_is_one_kernel():
    with torch.device("meta"):
        found = fused(Block(), *inputs())
    few = WIDTH * 4
    # norm and modulation read x and the scale and write the product's input; the residual reads its output, the gate and x again
    assert kernels(found) == [(ONE + few, ONE, 1), (2 * ONE + few, ONE, 1)]
    assert [op.name for op, _ in found if op.name != FUSED] == ["aten.addmm.default"]


def test_what_is_written_in_place_is_seen():
    with torch.device("meta"):
        found = fused(Block(in_place=True), *inputs())
    few = WIDTH * 4
    # the half that is copied is read; zeros, copy, gate and residual are one kernel
    assert kernels(found) == [(ONE + few, ONE, 1), (ONE + ONE // 2 + few, ONE, 1)]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "regional"])
def test_what_is_around_the_blocks_is_fused_if_all_is_compiled(whole):
    with torch.device("meta"):
        stack = Stack()
        found = fused(stack, *inputs(), whole=whole)
    assert repeated_blocks(stack) == {id(block) for block in stack.blocks}
    names = {op.name: count for op, count in found if op.name != FUSED}
    around = {} if whole else {"aten.silu.default": 1, "aten.mul.Tensor": 1}
    assert names == {"aten.addmm.default": 3} | around
    assert sum(count for *_, count in kernels(found)) == (7 if whole else 6)


def test_a_reduction_over_everything_stands_alone():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.activation = nn.ReLU()

        def forward(self, x):
            return self.activation(x) - x.mean()

    with torch.device("meta"):
        found = fused(Whole(), inputs()[0])
    assert [op.name for op, _ in found if op.name != FUSED] == ["aten.mean.default"]
    # what comes before the mean and after it cannot be one kernel
    assert kernels(found) == [(ONE, ONE, 1), (ONE + 4, ONE, 1)]


def test_statistics_that_nobody_reads_are_not_written():
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(WIDTH)

        def forward(self, x):
            return self.norm(x)

    with torch.device("meta"):
        found = fused(Norm(), inputs()[0])
    assert kernels(found) == [(ONE + 2 * WIDTH * 4, ONE, 1)]
