"""Which element-wise ops work out the address of every element."""

from __future__ import annotations

import pytest
import torch

from workbench.cost._lowering import lowered
from workbench.cost._opclass import classify
from workbench.cost._recorder import Recorder
from workbench.cost._trace import RUN, Op

X = torch.empty((2, 4096, 64), device="meta")
ROW = torch.empty((64,), device="meta")
TOKEN = torch.empty((2, 1, 64), device="meta")


def ops(run) -> list[Op]:
    """What running this records, views left out."""
    recorder = Recorder(cudnn=True)
    with torch.no_grad(), lowered(recorder, "cuda", "flash"), recorder:
        out = run()
    del out
    return [event[1] for event in recorder.events if event[0] == RUN and event[1].kind != "view"]


@pytest.mark.parametrize(
    "run",
    [
        lambda: X + ROW,
        lambda: X * (1 + TOKEN),
        lambda: X.transpose(1, 2).clone(memory_format=torch.contiguous_format),
        lambda: -X[..., ::2],
        lambda: X[:, :1000].to(torch.bfloat16),
    ],
    ids=["bias", "modulation", "permuted", "interleaved", "slice"],
)
def test_broadcast_permuted_and_gapped_ones_do(run) -> None:
    assert classify(ops(run)[-1], on_cpu=False)[0] == "memory.scattered"


@pytest.mark.parametrize(
    "run",
    [
        lambda: X + X,
        lambda: X * 2.0,
        lambda: torch.nn.functional.silu(X),
        lambda: X.transpose(1, 2) + X.transpose(1, 2),
        lambda: X.to(torch.bfloat16),
    ],
    ids=["same", "number", "unary", "permuted alike", "cast"],
)
def test_those_of_one_layout_do_not(run) -> None:
    assert "scattered" not in classify(ops(run)[-1], on_cpu=False)[0]


def test_on_a_cpu_they_are_what_they_were_measured_as() -> None:
    (added,) = ops(lambda: X + ROW)
    assert classify(added, on_cpu=True)[0] == "memory.elementwise"


def test_products_with_tinygemm_have_a_class_of_their_own() -> None:
    product = Op("aten._weight_int4pack_mm.default", "matmul", "bf16", 2**40, 1, 1, (1, 4096, 64, 64))
    assert classify(product, on_cpu=False)[0] == "matmul.int4"
