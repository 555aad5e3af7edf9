"""Lets a recorder see the calls of modules: which module runs, and whether the same call was seen before."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench.cost._memo import Frame
from workbench.cost._recorder import Recorder
from workbench.cost._trace import ENTER

_ENTRY_POINTS = ("encode", "decode")
"""Methods through which pipelines call an autoencoder, beside `forward`."""
_REPEATED_PREFIXES = ("blend_",)
"""Methods of autoencoders that run once per tile and loop over its rows and columns: a call each, so that they are replayed.
They look at their arguments only, so they need no fingerprint of the module."""


@contextlib.contextmanager
def watched(recorder: Recorder, components: Mapping[str, nn.Module]) -> Iterator[None]:
    """Reports every call of a module of `components` to the recorder while the context lasts.

    Args:
        components: name in the pipeline -> module; paths in the trace begin with these names.
    """
    paths: dict[int, str] = {}
    units: set[int] = set()
    for name, component in components.items():
        for path, module in component.named_modules():
            paths[id(module)] = f"{name}.{path}" if path else name
            if module._modules:
                units.add(id(module))
    original = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        path = paths.get(id(module))
        if path is None:
            return original(module, *args, **kwargs)
        run = functools.partial(original, module)
        if id(module) in units:
            return _note_call(recorder, Frame(run, type(module).__name__, module, path, args, kwargs))
        outer, recorder.path = recorder.path, path
        try:
            return original(module, *args, **kwargs)
        finally:
            recorder.path = outer

    with contextlib.ExitStack() as stack:
        for name, component in components.items():
            for method in _methods(component):
                stack.enter_context(_method_watched(recorder, component, method, name))
        nn.Module.__call__ = call
        try:
            yield
        finally:
            nn.Module.__call__ = original


def _methods(component: nn.Module) -> list[str]:
    names = [name for name in dir(type(component)) if name.startswith(_REPEATED_PREFIXES)]
    return names + [name for name in _ENTRY_POINTS if callable(getattr(type(component), name, None))]


@contextlib.contextmanager
def _method_watched(recorder: Recorder, component: nn.Module, method: str, path: str) -> Iterator[None]:
    """Shadows a method on the instance for as long as the context lasts."""
    bound = getattr(component, method)
    name = f"{type(component).__name__}.{method}"

    def call(*args: Any, **kwargs: Any) -> Any:
        if method.startswith(_REPEATED_PREFIXES):
            return recorder.call(Frame(bound, name, None, path, args, kwargs))
        return _note_call(recorder, Frame(bound, name, component, path, args, kwargs))

    call.is_watch = True  # type: ignore[attr-defined]  # so that the module's signature does not see it
    shadowed = vars(component).get(method)
    object.__setattr__(component, method, call)
    try:
        yield
    finally:
        if shadowed is None:
            object.__delattr__(component, method)
        else:
            object.__setattr__(component, method, shadowed)


def _note_call(recorder: Recorder, frame: Frame) -> Any:
    """Makes the call; one that the pipeline itself makes for the first time is kept, so that it can be made again."""
    if not recorder.at_top or recorder.memo is None:
        return recorder.call(frame)
    start = len(recorder.events)
    with recorder.quietly():
        kept = _kept(frame.args), {key: _kept(value) for key, value in frame.kwargs.items()}
    result = recorder.call(frame)
    entered = [event[1] for event in recorder.events[start:] if event[0] == ENTER]
    if len(entered) == 1:
        recorder.calls.setdefault(id(entered[0]), Call(frame.path, frame.name, *kept))
    return result


def _kept(value: Any) -> Any:
    """A copy of an argument that keeps no storage of the run alive."""
    if isinstance(value, Tensor):
        return (
            torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
            if value.is_meta
            else value.clone()
        )
    if isinstance(value, (list, tuple)):
        return type(value)(_kept(item) for item in value)
    if isinstance(value, dict):
        return {key: _kept(item) for key, item in value.items()}
    return value


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a component that can be made again: its arguments as meta tensors (small ones with values) and plain values."""

    component: str
    """The pipeline's name of the component."""
    name: str
    """The class, or the class and the method: `"AutoencoderKLWan.decode"`."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """New tensors like the call's arguments, so that each trace starts from storages of its own."""
        return _kept(self.args), {key: _kept(value) for key, value in self.kwargs.items()}
