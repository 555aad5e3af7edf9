"""What counts as a call, and what of a run is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor, nn

from workbench.cost._calls import watched
from workbench.cost._lowering import lowered
from workbench.cost._memo import Memo
from workbench.cost._recorder import Recorder
from workbench.cost._trace import ENTER, RUN, Trace
from workbench.cost.rehearsal import _pictures_read_once


class Stack(nn.Module):
    """Two blocks; it keeps its last result, which nobody is told of, so a call of it is not remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(2))
        self.kept: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        self.kept = [x * 2, lambda: None]
        return x


@pytest.fixture
def stack() -> Iterator[nn.Module]:
    with torch.device("meta"):
        yield Stack()


def run(stack: nn.Module, memo: Memo | None, times: int = 2) -> tuple[Recorder, Trace]:
    recorder = Recorder(memo=memo)
    with torch.no_grad(), recorder, watched(recorder, {"stack": stack}):
        x = torch.empty(1024, 64, device="meta")
        for _ in range(times):
            x = stack(x)
        del x
    return recorder, recorder.trace("run")


def test_a_call_that_cannot_be_remembered_is_one_call_all_the_same(stack: nn.Module) -> None:
    recorder, trace = run(stack, Memo())
    entered = [event[1] for event in trace.events if event[0] == ENTER]
    assert [child.name for child in entered] == ["Stack", "Stack"]
    assert entered[0] is not entered[1]
    assert {recorder.calls[id(child)].component for child in entered} == {"stack"}


def test_it_has_the_ops_and_bytes_of_the_run(stack: nn.Module) -> None:
    _, enclosed = run(stack, Memo())
    stack.kept = []
    _, inline = run(stack, None)
    assert enclosed.peak() == inline.peak()
    assert enclosed.net() == inline.net() > 0  # what the module keeps
    assert enclosed.op_counts() == inline.op_counts()
    assert [live for _, _, live in enclosed.walk()] == [live for _, _, live in inline.walk()]


def test_arithmetic_with_numbers_is_not_recorded() -> None:
    recorder = Recorder()
    with recorder:
        noise = torch.linspace(1, 0, 51)
        ratio = torch.log(noise[1] / noise[2]) - torch.stack([noise[3], noise[4]]).sum()
        ratio += 1
    assert ratio.item() == pytest.approx(1 + torch.log(torch.tensor(0.98 / 0.96)).item() - 1.86)
    assert [event[1].name for event in recorder.events if event[0] == RUN] == ["aten.linspace.default"]


@pytest.mark.parametrize("hollow", [True, False])
def test_numbers_that_make_a_table_are_recorded(hollow: bool) -> None:
    recorder = Recorder(hollow=hollow)
    with recorder:
        torch.ones(2)[:, None] * torch.ones(5)
    assert [event[1].name for event in recorder.events if event[0] == RUN] == ["aten.mul.Tensor"]


def test_a_picture_that_is_given_many_times_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = VaeImageProcessor(vae_scale_factor=8)
    one, other = (Image.new("RGB", (32, 16), color) for color in ("white", "black"))
    expected = {n: processor.preprocess([one] * n) for n in (1, 3)}
    mixed = processor.preprocess([one, other])
    read: list[int] = []
    numbers = VaeImageProcessor.pil_to_numpy
    monkeypatch.setattr(
        VaeImageProcessor,
        "pil_to_numpy",
        staticmethod(lambda images: read.append(len(images)) or numbers(images)),
    )
    with _pictures_read_once():
        for n, tensor in expected.items():
            again = processor.preprocess([one] * n)
            assert torch.equal(again, tensor) and again.stride() == tensor.stride()
        assert torch.equal(processor.preprocess([one, other]), mixed)
    assert read == [1, 1, 2]


@pytest.mark.parametrize(("dims", "last"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
def test_a_convolution_keeps_channels_last(dims: int, last: torch.memory_format) -> None:
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    for device in ("cpu", "meta"):
        convolution = kind(8, 16, 3, padding=1, device=device)
        image = torch.ones(2, 8, *[6] * dims, device=device)
        with torch.no_grad(), Recorder(memo=Memo()):
            outs = [convolution(given) for given in (image, image.to(memory_format=last)) for _ in range(2)]
        assert [out.is_contiguous(memory_format=last) for out in outs] == [False, False, True, True]


def test_numbers_wanted_on_the_meta_device_keep_their_values() -> None:
    recorder = Recorder()
    with lowered(recorder, "cuda", "flash"), recorder:
        sizes = torch.tensor([3, 4], device="meta")
        assert int(sizes.max()) == 4
    assert torch.tensor([3, 4], device="meta").is_meta
