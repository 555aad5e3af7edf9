"""Which element-wise ops work out the address of every element."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from workbench import devices
from workbench.cost._lowering import lowered
from workbench.cost._opclass import classify
from workbench.cost._recorder import Recorder
from workbench.cost._trace import RUN, Op
from workbench.cost.roofline import _op_seconds
from workbench.devices import Table

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


def test_addresses_cost_the_same_whatever_the_size_of_an_element() -> None:
    card = devices.get("h200")
    half = X.to(torch.bfloat16)
    (in_full,), (in_half,) = ops(lambda: X + ROW), ops(lambda: half + ROW.to(torch.bfloat16))[-1:]
    full, _, _ = _op_seconds(in_full, card)
    assert full == pytest.approx(_op_seconds(in_half, card)[0])
    # at the rate that was measured in half precision; never faster than the data moves
    assert X.numel() * 4 / full == pytest.approx(1.46e12, rel=0.01)
    table = Table(sizes=(1.0,), fractions=((card.efficiencies["memory"],),))
    many_lanes = dataclasses.replace(card, tables={"memory.scattered": table})
    traffic = in_full.read_bytes + in_full.write_bytes
    moving = traffic / card.bandwidth_bytes_per_s / card.efficiencies["memory"]
    assert _op_seconds(in_full, many_lanes)[0] == pytest.approx(moving)


def test_on_a_cpu_they_are_what_they_were_measured_as() -> None:
    (added,) = ops(lambda: X + ROW)
    assert classify(added, on_cpu=True)[0] == "memory.elementwise"


def test_products_with_tinygemm_have_a_class_of_their_own() -> None:
    product = Op("aten._weight_int4pack_mm.default", "matmul", "bf16", 2**40, 1, 1, (1, 4096, 64, 64))
    assert classify(product, on_cpu=False)[0] == "matmul.int4"
