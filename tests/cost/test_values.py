"""Models that ask for values, index with masks, or listen to their layers: a run without data must do what a real one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from workbench._errors import RehearsalError
from workbench.cost._calls import Call, Keeper, watched
from workbench.cost._lowering import lowered
from workbench.cost._memo import Memo
from workbench.cost._recorder import Recorder
from workbench.cost._trace import Op
from workbench.cost._values import Known, value_of
from workbench.cost.rehearsal import Target, retrace

ROWS, WIDTH = 600, 64
"""More elements than a tensor that keeps its values may have (2^14)."""


class Reader(nn.Module):
    """Takes a branch by what it sees in `image`, and puts the rows that a mask names first, as HunyuanVideo-1.5 does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU())

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        mask = mask.bool()
        rows = self.inner(image)
        if torch.all(image == 0):
            rows = rows * 0.0
        return torch.cat([rows[mask], torch.zeros_like(rows[~mask])])


def steps_of(recorder: Recorder) -> list[tuple[Op, int]]:
    return [(op, live) for _, op, live in recorder.trace("run").walk()]


def run(module: nn.Module, hollow: bool, make: Any, times: int = 1) -> tuple[list[tuple[Op, int]], Any]:
    """Calls the module on what `make` makes under the recorder, twice to see a replay if asked for."""
    recorder = Recorder(hollow=hollow, memo=Memo() if hollow else None)
    outs = []
    with torch.no_grad(), recorder, watched(recorder, {"part": module}):
        for _ in range(times):
            args, kwargs = make()
            outs.append(module(*args, **kwargs))
    return steps_of(recorder), outs


def on(device: str, module: nn.Module) -> nn.Module:
    return module.to(device).eval()


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_question_about_a_factory_tensor_is_answered(value: float) -> None:
    def make() -> Any:
        mask = torch.tensor([1] * 5 + [0] * (ROWS - 5))
        return (torch.full((ROWS, WIDTH), value, device="cpu"), mask), {}

    real, _ = run(on("cpu", Reader()), False, make)
    hollow, outs = run(on("meta", Reader()), True, make)
    assert hollow == real
    assert outs[0].is_meta and outs[0].shape == (ROWS, WIDTH)
    assert any(op.name == "aten.mul.Tensor" for op, _ in real) is (value == 0.0)


def test_calls_on_zeros_and_on_other_values_are_not_the_same_call() -> None:
    recorder, module = Recorder(memo=Memo()), on("meta", Reader())
    mask = torch.ones(ROWS)
    with torch.no_grad(), recorder, watched(recorder, {"part": module}):
        zeros = torch.zeros(ROWS, WIDTH, device="cpu")
        for image in (zeros, torch.randn(ROWS, WIDTH, device="cpu"), zeros):
            module(image, mask)
    by_call = {ident: call for ident, call in recorder.calls.items()}
    assert len(by_call) == 2
    for ident, call in by_call.items():  # made again, a call takes the branch that it took
        trace = next(event[1] for event in recorder.events if event[0] == 3 and id(event[1]) == ident)
        again = retrace(call, module, Target("cpu"))
        assert again.num_ops == trace.num_ops


def test_a_write_ends_what_is_known() -> None:
    recorder = Recorder()
    with recorder:
        image = torch.zeros(ROWS, WIDTH, device="cpu")
        assert value_of(image) == 0
        image[:, 0] = 1.0
        assert value_of(image) is None
        assert value_of(image == 0) is Known.SOME_FALSE
        assert not torch.all(image == 0)
        with pytest.raises(RehearsalError, match="looks at values of a computed tensor"):
            bool(torch.any(image == 0))
        ids = torch.zeros(ROWS, WIDTH, device="cpu", dtype=torch.int64) + 1
        assert value_of(ids == 0) is None


def test_a_kept_call_keeps_what_is_known_of_its_arguments() -> None:
    recorder = Recorder()
    with recorder:
        kept = Call("part", "Reader", Keeper()((torch.zeros(ROWS, WIDTH, device="cpu"),)), {})
    assert value_of(kept.arguments()[0][0]) == 0


def test_hidden_states_of_every_layer_are_collected_and_held() -> None:
    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=5,
        num_attention_heads=2,
        image_size=336,
        patch_size=14,
    )

    def make() -> Any:
        return (torch.zeros(1, 3, 336, 336, device="cpu"),), {"output_hidden_states": True}

    with lowered(Recorder(), "cpu", "cpu"):  # the real run takes the kernel that the composite chooses
        hollow, outs = run(on("meta", CLIPVisionModel(config)), True, make, times=2)
    real, _ = run(on("cpu", CLIPVisionModel(config)), False, make, times=2)
    assert [len(out.hidden_states) for out in outs] == [6, 6]
    assert hollow == real


@pytest.mark.parametrize("keys", [96, 99])
def test_a_mask_of_queries_by_keys_is_made_additive_and_aligned(keys: int) -> None:
    """Bytes that PyTorch's own rules take for a boolean mask before the memory-efficient kernel."""
    recorder = Recorder()
    query = torch.empty(1, 2, 256, 16, dtype=torch.bfloat16, device="meta")
    key = torch.empty(1, 2, keys, 16, dtype=torch.bfloat16, device="meta")
    mask = torch.empty(1, 1, 256, keys, dtype=torch.bool, device="meta")
    with torch.no_grad(), lowered(recorder, "cuda", "flash"), recorder:
        out = nn.functional.scaled_dot_product_attention(query, key, key, mask)
    assert out.shape == query.shape
    made = [event[2] for event in recorder.events if event[0] == 0]
    additive = 256 * keys * 2
    padded = 256 * (keys + 8 - keys % 8) * 2
    assert made.count(additive) == 1
    assert (padded in made) is (keys % 8 != 0)
    ops = [event[1].name for event in recorder.events if event[0] == 2]
    assert ops[-1] == "aten._scaled_dot_product_efficient_attention.default"
