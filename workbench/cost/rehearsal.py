"""Runs a pipeline's own `__call__` without weights and records what it does.

Nothing here knows a model: the pipeline's modules are real and on the meta device, large tensors have no data, and the recorder hands
out what each call would return. A call seen before is replayed, so fifty denoising steps cost little more than one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import nn

from workbench._errors import RehearsalError, WorkbenchError
from workbench.cost._calls import Call, watched
from workbench.cost._hollow import hollow_arrays
from workbench.cost._hookstates import reinstalled
from workbench.cost._loops import shortened
from workbench.cost._lowering import lowered
from workbench.cost._memo import Memo
from workbench.cost._recorder import Recorder
from workbench.cost._schedulers import steps_watched
from workbench.cost._trace import ENTER, Trace
from workbench.models._quiet import without_lines

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_CASTING = ("diffusers.models.modeling_utils", "There are modules in ")
"""diffusers warns of every `to(dtype)`, those of its own pipelines too."""
_SCHEDULE = (
    "diffusers.schedulers.scheduling_flow_match_euler_discrete",
    "`timesteps` were passed without `sigmas`",
)
"""Its scheduler warns of the timesteps that diffusers' own `LTXConditionPipeline` gives it."""


@dataclass(frozen=True, slots=True)
class Target:
    """The kernels that a trace is made for."""

    kind: str = "cuda"
    """`"cuda"` or `"cpu"`."""
    attention: str = "flash"
    """The best kernel for attention that a card has: one of `_sdpa.GENERATIONS`."""


def components_of(pipe: DiffusionPipeline) -> dict[str, nn.Module]:
    """The neural networks of a pipeline by the pipeline's own names."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


def rehearse(
    pipe: DiffusionPipeline, kwargs: Mapping[str, Any], target: Target, memo: Memo | None = None
) -> tuple[Trace, dict[int, Call]]:
    """Runs `pipe(**kwargs)` on meta tensors.

    Returns:
        The trace of the whole run, whose ENTER events are the calls of components, and for the id of each distinct call's
        trace the call itself, to be made again with techniques applied (`retrace`).

    Raises:
        RehearsalError: the pipeline refused the arguments, or looked at values that a run without weights has not.
    """
    memo = _for_target(memo, target)
    recorder = Recorder(memo=memo, cudnn=target.kind == "cuda")
    parts = components_of(pipe)
    with (
        _weightless(pipe),
        hollow_arrays(recorder),
        torch.no_grad(),
        lowered(recorder, target.kind, target.attention),
        shortened(recorder),
        recorder,
        watched(recorder, parts),
        steps_watched(recorder, pipe),
    ):
        try:
            video = _video_of(pipe(**kwargs))
        except WorkbenchError:
            raise
        except Exception as error:  # whatever the pipeline's own code raises is news for the caller, not a fault of this package
            raise RehearsalError(
                f"{type(pipe).__name__} could not be run without weights for this workload: {type(error).__name__}: {error}"
            ) from error
    trace = recorder.trace(type(pipe).__name__)
    trace.video = video
    return trace, recorder.calls


def _video_of(output: Any) -> tuple[int, int, int] | None:
    """(frames, height, width) of what a pipeline gives as tensors: [videos, frames, channels, height, width]."""
    shape: tuple[int, ...] = getattr(getattr(output, "frames", None), "shape", ())
    return (shape[1], shape[3], shape[4]) if len(shape) == 5 else None


def retrace(call: Call, component: nn.Module, target: Target, memo: Memo | None = None) -> Trace:
    """Traces one call again, on a component that techniques have changed since."""
    recorder = Recorder(memo=_for_target(memo, target), cudnn=target.kind == "cuda")
    return remade(recorder, call, component, target)


def remade(recorder: Recorder, call: Call, component: nn.Module, target: Target) -> Trace:
    """The trace of a call that is made again under a recorder."""
    with (
        torch.no_grad(),
        _cast(component, call.dtype, recorder.memo),
        lowered(recorder, target.kind, target.attention),
        shortened(recorder),
        recorder,
        watched(recorder, {call.component: component}),
    ):
        method = component if "." not in call.name else getattr(component, call.name.rpartition(".")[2])
        with recorder.quietly():
            args, kwargs, held = call.everything()
            reinstalled(component, held)
        recorder.adopt_all(args, kwargs, *(dict(state.fields) for state in held))
        del held
        result = method(*args, **kwargs)
    entered = [event[1] for event in recorder.events if event[0] == ENTER]
    del result
    return entered[-1]


@contextlib.contextmanager
def _cast(component: nn.Module, dtype: torch.dtype | None, memo: Memo | None) -> Iterator[None]:
    """The component in the dtype that the pipeline had cast it to when it made the call."""
    if dtype is None:
        yield
        return
    tensors = (*component.parameters(), *component.buffers())
    before = [tensor.data for tensor in tensors]
    with without_lines(_CASTING):
        component.to(dtype)
    if memo is not None:
        memo.forget(component)
    try:
        yield
    finally:
        for tensor, data in zip(tensors, before, strict=True):
            tensor.data = data
        if memo is not None:
            memo.forget(component)


def record(pipe: DiffusionPipeline, kwargs: Mapping[str, Any]) -> Trace:
    """Runs `pipe(**kwargs)` for real and records it with the same instrument: the truth that a rehearsal is held against."""
    return observe(pipe, kwargs)[0]


def observe(pipe: DiffusionPipeline, kwargs: Mapping[str, Any]) -> tuple[Trace, Any]:
    """Like `record`; gives what the pipeline returned too."""
    recorder = Recorder(hollow=False)
    with _pictures_read_once(), recorder, watched(recorder, components_of(pipe)):
        output = pipe(**kwargs)
    return recorder.trace(type(pipe).__name__), output


def _for_target(memo: Memo | None, target: Target) -> Memo:
    """A memo may serve many runs: calls are remembered per target. Whoever changes a component must tell it (`Memo.forget`)."""
    memo = memo if memo is not None else Memo()
    memo.context = target
    return memo


@contextlib.contextmanager
def _weightless(pipe: DiffusionPipeline) -> Iterator[None]:
    """Lets a pipeline on the meta device believe that it runs on the CPU, so that timesteps and masks keep their values. Its scheduler is
    afterwards as it was: a run must not depend on which one came before."""
    device = property(lambda _: torch.device("cpu"))
    scheduler: dict[str, Any] = getattr(getattr(pipe, "scheduler", None), "__dict__", {})
    held = {name: list(value) if isinstance(value, list) else value for name, value in scheduler.items()}
    shown = dict(getattr(pipe, "_progress_bar_config", {}))
    with (
        mock.patch.object(type(pipe), "_execution_device", device),
        _pictures_read_once(),
        without_lines(_CASTING, _SCHEDULE),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of the pipeline's own code, for whoever runs it
        pipe.set_progress_bar_config(disable=True)
        try:
            yield
        finally:
            pipe.set_progress_bar_config(**shown)
            scheduler.clear()
            scheduler.update(held)


@contextlib.contextmanager
def _pictures_read_once() -> Iterator[None]:
    """Turns a picture that is given many times, as in a stand-in video, into numbers once: at 720p, 81 of them take a second."""
    from diffusers.image_processor import VaeImageProcessor

    preprocess = VaeImageProcessor.preprocess

    def once(processor: Any, image: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if isinstance(image, list) and len(image) > 1 and all(item is image[0] for item in image):
            return torch.cat([preprocess(processor, image[:1], *args, **kwargs)] * len(image))
        return preprocess(processor, image, *args, **kwargs)

    with mock.patch.object(VaeImageProcessor, "preprocess", once):
        yield
