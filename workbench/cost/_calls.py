"""Lets a recorder see the calls of modules: which module runs, and whether the same call was seen before."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench.cost._hookstates import HookState, KeptState
from workbench.cost._memo import Frame
from workbench.cost._recorder import Recorder
from workbench.cost._trace import ENTER
from workbench.cost._values import mark, value_of

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
    known = recorder.memo.listened if recorder.memo is not None else {}
    paths: dict[int, str] = {}
    listeners: dict[int, dict[int, list[Mapping[int, Any]]]] = {}
    for name, component in components.items():
        of_units = known.setdefault(id(component), {})
        for path, module in component.named_modules():
            paths[id(module)] = f"{name}.{path}" if path else name
            if module._modules:
                listeners[id(module)] = of_units
    original = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        path = paths.get(id(module))
        if path is None:
            return original(module, *args, **kwargs)
        run = functools.partial(original, module)
        of_units = listeners.get(id(module))
        if of_units is not None:
            if id(module) not in of_units:
                of_units[id(module)] = _listeners(module)
            if path in components or not any(of_units[id(module)]):
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
            stack.enter_context(_casts_watched(recorder, component, name))
        nn.Module.__call__ = call
        try:
            yield
        finally:
            nn.Module.__call__ = original


def _listeners(module: nn.Module) -> list[Mapping[int, Any]]:
    """The hooks of a module and of all below it, live: somebody may hear of a call other than by its result, as transformers collects
    hidden states by hooks on the layers. A replay would not run them, so such a call is made each time; those inside it are replayed."""
    return [hooks for part in module.modules() for hooks in (part._forward_hooks, part._forward_pre_hooks)]


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

    with _shadowed(component, method, call):
        yield


@contextlib.contextmanager
def _casts_watched(recorder: Recorder, component: nn.Module, name: str) -> Iterator[None]:
    """Lets the recorder know when the pipeline casts a component, as some do to encode an image in fp32: the weights then take more
    or less memory, and the calls that follow are of a component in that dtype."""
    bound = component.to

    def to(*args: Any, **kwargs: Any) -> nn.Module:
        before = weight_bytes(component)
        with recorder.quietly():
            bound(*args, **kwargs)
        dtype = torch._C._nn._parse_to(*args, **kwargs)[1]
        recorder.cast(component, name, dtype, weight_bytes(component) - before)
        return component

    with _shadowed(component, "to", to):
        yield


@contextlib.contextmanager
def _shadowed(component: nn.Module, method: str, shadow: Any) -> Iterator[None]:
    """Another function in the place of a method, on this instance, for as long as the context lasts, or until it is replaced itself:
    accelerate takes away what it finds there when it puts its hooks on anew after a run."""
    shadow.is_watch = True  # so that the module's signature does not see it
    before = vars(component).get(method)
    object.__setattr__(component, method, shadow)
    try:
        yield
    finally:
        if vars(component).get(method) is shadow:
            object.__delattr__(component, method)
            if before is not None:
                object.__setattr__(component, method, before)


def weight_bytes(component: nn.Module) -> int:
    """Bytes of a component's parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*component.parameters(), *component.buffers()))


def _note_call(recorder: Recorder, frame: Frame) -> Any:
    """Makes the call; one that the pipeline itself makes for the first time is kept, so that it can be made again."""
    if not recorder.at_top or recorder.memo is None:
        return recorder.call(frame)
    noted: list[Call] = []

    def note(
        unseen: Frame, seen: tuple[HookState, ...]
    ) -> None:  # no closure over the frame: it would keep it alive
        with recorder.quietly():
            keep = Keeper()
            args, kwargs = keep(unseen.args), keep(unseen.kwargs)
            states = tuple(keep.state(state) for state in seen if not state.is_blank)
            dtype = recorder.casts.get(unseen.path)
            noted.append(Call(unseen.path, unseen.name, args, kwargs, states, dtype))

    frame.unseen = note
    start = len(recorder.events)
    result = recorder.call(frame)
    entered = [event[1] for event in recorder.events[start:] if event[0] == ENTER]
    if len(entered) == 1:
        made, ident = recorder.memo.made, id(entered[0])
        if noted:
            made[ident] = noted[0]
        if ident in made:
            recorder.calls.setdefault(ident, made[ident])
    return result


class Keeper:
    """Copies what a call is given without keeping a storage of the run alive; views of one storage stay views of one storage."""

    def __init__(self) -> None:
        self._bases: dict[int, Tensor] = {}

    def __call__(self, value: Any) -> Any:
        """A copy of an argument: large tensors as they are on the meta device, small ones with their values."""
        if isinstance(value, Tensor):
            return self._tensor(value) if value.is_meta else value.clone()
        if isinstance(value, (list, tuple)):
            return type(value)(self(item) for item in value)
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        return value

    def state(self, state: HookState) -> KeptState:
        """A copy of what a hook remembers."""
        holder, outlook = state.holder, state.outlook
        return KeptState(
            holder.path,
            holder.hook_name,
            holder.attribute,
            holder.context,
            self(dict(state.fields)),
            frozenset(state.after),
            outlook.decision if outlook is not None else None,
        )

    def again(self, kept: KeptState) -> KeptState:
        """Another copy of a copy."""
        return dataclasses.replace(kept, fields=self(dict(kept.fields)))

    def _tensor(self, value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        base = self._bases.get(storage._cdata)
        if base is None:
            base = torch.empty(storage.nbytes(), dtype=torch.uint8, device="meta")
            self._bases[storage._cdata] = base
        flat = base[: storage.nbytes() // value.element_size() * value.element_size()].view(value.dtype)
        made = flat.as_strided(value.shape, value.stride(), value.storage_offset())
        mark(made, value_of(value))
        return made


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a component that can be made again: its arguments as meta tensors (small ones with values) and plain values."""

    component: str
    """The pipeline's name of the component."""
    name: str
    """The class, or the class and the method: `"AutoencoderKLWan.decode"`."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    states: tuple[KeptState, ...] = ()
    """What hooks below the component remembered when it was called."""
    dtype: torch.dtype | None = None
    """What the pipeline had cast the component to; None if it had not."""

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """New tensors like the call's arguments, so that each trace starts from storages of its own."""
        args, kwargs, _ = self.everything()
        return args, kwargs

    def everything(self) -> tuple[tuple[Any, ...], dict[str, Any], tuple[KeptState, ...]]:
        """The same with the hooks' states: a cache may hold what is an argument as well."""
        keep = Keeper()
        return keep(self.args), keep(dict(self.kwargs)), tuple(map(keep.again, self.states))
