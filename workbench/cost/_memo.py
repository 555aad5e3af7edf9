"""Remembers calls: the first time a call is recorded as a trace of its own, the next times it is replayed.

A call is remembered only when a replay is certain to be the same: its arguments can be described, it changed nothing but its results,
the containers it was given and what hooks below it remember, and every storage that died inside was its own or an argument's. Any other
call is recorded in full each time: inline in its caller, or, where the pipeline itself makes it, as a trace of its own that is used once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.cost._feature_slots import Use, without_features
from workbench.cost._hookstates import Holder, HookState, note_kept, states
from workbench.cost._signature import (
    Arguments,
    Opaque,
    Rebuild,
    module_signature,
    parts,
    recipe,
    storage_key,
    surface,
)
from workbench.cost._trace import ALLOC, ENTER, FREE, RUN, USE, Trace

if TYPE_CHECKING:
    from workbench.cost._recorder import Recorder


@dataclass(slots=True)
class Frame:
    """One call about to be made."""

    run: Callable[..., Any]
    name: str
    """What the trace will be called: the class, or the class and the method."""
    module: nn.Module | None
    """The callee; None for a function that looks at its arguments only."""
    path: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    unseen: Callable[[Frame, tuple[HookState, ...]], None] | None = None
    """Is given a call that is not remembered, and the states that it will see, before it is made."""
    states: tuple[HookState, ...] = ()
    """What the callee holds beside what is found below its module."""
    values: Hashable = None
    """What else the call depends on."""


@dataclass(slots=True)
class Remembered:
    """A call that can be replayed."""

    trace: Trace
    new_bytes: list[tuple[int, torch.dtype]]
    """(bytes, dtype) of each storage that outlives the call."""
    new_idents: list[int]
    """Its id inside the trace."""
    result: Rebuild
    mutated: list[tuple[int, Rebuild]]
    """(position of a container among the arguments, its new content); hooks' states are among the arguments."""


@dataclass(slots=True)
class Memo:
    """Remembered calls by key, and the module signatures already worked out."""

    calls: dict[Hashable, Remembered] = field(default_factory=dict)
    signatures: dict[int, Hashable] = field(default_factory=dict)
    holders: dict[int, tuple[Holder, ...]] = field(default_factory=dict)
    """By id of the module: where hooks below it, and modules themselves, remember things."""
    kept: dict[type, frozenset[str]] = field(default_factory=dict)
    """By class of module: the attributes in which it was seen to keep tensors for its next call."""
    answered: dict[Hashable, dict[Hashable, Any]] = field(default_factory=dict)
    """By context: what single ops answered on meta tensors (`_answers.py`)."""
    listened: dict[int, dict[int, list[Mapping[int, Any]]]] = field(default_factory=dict)
    """By id of the component, then of the module: hooks of the module and of all below it (`_calls.py`)."""
    places: dict[int, int] = field(default_factory=dict)
    """By id of the module: how many places of a list of features it takes (`_feature_slots.py`)."""
    made: dict[int, Any] = field(default_factory=dict)
    """By id of its trace: the pipeline's own call, to be made again (`_calls.py`)."""
    context: Hashable = None
    """What else a call's trace depends on: the target's kernels."""

    changes: int = 0
    """Calls so far that changed their callee; a call with such a call inside is not remembered either, unless it undid the change."""

    def call(self, recorder: Recorder, frame: Frame) -> Any:
        """Replays the call if it is known, else records it, and remembers it if it can be."""
        try:
            with recorder.quietly():
                remembered_by_hooks = states(
                    frame.module, self.holders, self.kept, whole=recorder.at_component
                )
            remembered_by_hooks = (*frame.states, *remembered_by_hooks)
            use = Use.of(frame.module, frame.kwargs, self.places)
            slots = use.state() if use is not None else None
            kwargs = frame.kwargs if slots is None else without_features(frame.kwargs)
            held = remembered_by_hooks if slots is None else (*remembered_by_hooks, slots)
            arguments = Arguments(frame.args, kwargs, held)
            signature = self._signature(frame.module)
            key = (self.context, frame.name, signature, frame.values, arguments.signature)
        except (Opaque, TypeError):
            start = len(recorder.events)
            result = run_inline(recorder, frame)
            if recorder.at_component:
                _enclose(recorder, frame, start)
            return result
        known = self.calls.get(key)
        if known is not None:
            return _replay(recorder, frame, arguments, known)
        if frame.unseen is not None:
            frame.unseen(frame, remembered_by_hooks)
        changes, before = self.changes, self._surface(frame.module)
        start, idents = len(recorder.events), _idents(recorder, arguments)
        result = run_inline(recorder, frame)
        remembered = _cut(recorder, frame, arguments, idents, start, result)
        if self._surface(frame.module) != before:
            self.changes += 1
            self.signatures.clear()
            if frame.module is not None and note_kept(parts(frame.module), self.kept):
                self.holders.clear()
        as_told = all(state.came_true() for state in remembered_by_hooks)
        as_told = (use is None or use.was_as_known()) and as_told
        unchanged = self.changes == changes or self._is_restored(recorder, frame, key)
        if remembered is not None and unchanged and as_told:
            self.calls[key] = remembered
        if remembered is None and recorder.at_component:
            _enclose(recorder, frame, start)
        return result

    def _is_restored(self, recorder: Recorder, frame: Frame, key: tuple[Hashable, ...]) -> bool:
        """Whether a component is again as it was before the call: an autoencoder that goes frame by frame keeps features in its
        convolutions for the next frame, and drops them at the end. Only of whole components: looking takes as long as a small call."""
        if frame.module is None or not recorder.at_component:
            return False
        now: dict[int, Hashable] = {}
        self.signatures.clear()  # they are of the state in between
        if module_signature(frame.module, now, self.kept) != key[2]:
            return False
        self.signatures.update(now)
        return True

    def forget(self, component: nn.Module) -> None:
        """Looks at a component anew: techniques were applied to it or removed from it."""
        self.listened.pop(id(component), None)
        for module in component.modules():
            self.signatures.pop(id(module), None)
            self.holders.pop(id(module), None)

    @property
    def answers(self) -> dict[Hashable, Any]:
        """What single ops answered for the present target."""
        return self.answered.setdefault(self.context, {})

    def _signature(self, module: nn.Module | None) -> Hashable:
        return None if module is None else module_signature(module, self.signatures, self.kept)

    def _surface(self, module: nn.Module | None) -> Hashable:
        return None if module is None else surface(module, self.kept)


def run_inline(recorder: Recorder, frame: Frame) -> Any:
    """Makes the call with its ops recorded as part of whatever is being recorded."""
    outer, recorder.path = recorder.path, frame.path
    try:
        return frame.run(*frame.args, **frame.kwargs)
    finally:
        recorder.path = outer


def _replay(recorder: Recorder, frame: Frame, arguments: Arguments, known: Remembered) -> Any:
    idents = _idents(recorder, arguments)
    for k in known.trace.freed_inputs():
        recorder.forget(list(arguments.storages)[k])
    tensors = arguments.tensors
    with torch._C._DisableTorchDispatch():
        bases = [torch.empty(n // dtype.itemsize, dtype=dtype, device="meta") for n, dtype in known.new_bytes]
        outs = tuple(
            (ident, recorder.own(base.untyped_storage()))
            for ident, base in zip(known.new_idents, bases, strict=True)
        )
        recorder.events.append((ENTER, known.trace, idents, outs, frame.path))
        result = known.result(tensors, bases)
        for position, rebuild in known.mutated:
            container, content = arguments.containers[position], rebuild(tensors, bases)
            container.clear()
            container.extend(content) if isinstance(container, list) else container.update(content)
        arguments.advance()
    return result


def _idents(recorder: Recorder, arguments: Arguments) -> tuple[int | None, ...]:
    return tuple(recorder.ident_of(key) for key in arguments.storages)


def _cut(
    recorder: Recorder,
    frame: Frame,
    arguments: Arguments,
    idents: tuple[int | None, ...],
    start: int,
    result: Any,
) -> Remembered | None:
    """Takes the call's events out of the caller's and makes a trace of them; None (and no change) if that is not possible."""
    events = recorder.events[start:]
    local = _local_names(events, idents)
    if local is None:
        return None
    new_keys, new_bytes = _survivors(recorder, local, events)
    try:
        bases, rebuild, mutated = _effects(arguments, result, new_keys)
    except Opaque:
        return None
    if set(bases) != set(new_keys):
        return None  # something outlives the call that is neither a result nor in an argument: hidden state
    trace = Trace(frame.name, _renamed(events, local, frame.path), tuple(arguments.input_bytes))
    outs = tuple((local[new_keys[key]], new_keys[key]) for key in bases)
    recorder.events[start:] = [(ENTER, trace, idents, outs, frame.path)]
    sizes = [(new_bytes[key], dtype) for key, dtype in bases.items()]
    return Remembered(trace, sizes, [mine for mine, _ in outs], rebuild, mutated)


def _enclose(recorder: Recorder, frame: Frame, start: int) -> None:
    """Takes the events of a call that cannot be remembered out of the caller's all the same: they become a trace that is not replayed."""
    sizes = _sizes(recorder.events[:start])
    events = recorder.events[start:]
    outer = dict.fromkeys(ident for event in events for ident in _named(event) if ident in sizes)
    local = _local_names(events, tuple(outer))
    assert local is not None, "every storage that dies was allocated inside or before"
    new_keys, _ = _survivors(recorder, local, events)
    trace = Trace(frame.name, _renamed(events, local, frame.path), tuple(sizes[ident] for ident in outer))
    outs = tuple((local[ident], ident) for ident in new_keys.values())
    recorder.events[start:] = [(ENTER, trace, tuple(outer), outs, frame.path)]


def _named(event: tuple[Any, ...]) -> tuple[int | None, ...]:
    """The storages that an event does something to and did not make."""
    if event[0] == FREE:
        return (event[1],)
    return event[2] if event[0] == ENTER else ()


def _local_names(events: list[tuple[Any, ...]], idents: tuple[int | None, ...]) -> dict[int, int] | None:
    """Recorder-wide id -> id inside the trace; None if a storage died that the call has no business with."""
    local = {ident: -1 - k for k, ident in enumerate(idents) if ident is not None}
    count = 0
    for event in events:
        if event[0] == ALLOC:
            local[event[1]], count = count, count + 1
        elif event[0] == ENTER:
            for _, ours in event[3]:
                local[ours], count = count, count + 1
        elif event[0] == FREE and event[1] not in local:
            return None
    return local


def _survivors(
    recorder: Recorder, local: dict[int, int], events: list[tuple[Any, ...]]
) -> tuple[dict[int, int], dict[int, int]]:
    """Storage key -> recorder-wide id, and -> bytes, of storages allocated inside that are still alive."""
    inside = {ident for ident, name in local.items() if name >= 0}
    keys = {key: ident for key, ident in recorder._idents.items() if ident in inside}
    sizes = _sizes(events)
    return keys, {key: sizes[ident] for key, ident in keys.items()}


def _sizes(events: list[tuple[Any, ...]]) -> dict[int, int]:
    """Bytes of each storage that these events made."""
    sizes: dict[int, int] = {}
    for event in events:
        if event[0] == ALLOC:
            sizes[event[1]] = event[2]
        elif event[0] == ENTER:
            for theirs, ours in event[3]:
                sizes[ours] = event[1].size_of(theirs)
    return sizes


def _effects(
    arguments: Arguments, result: Any, new_keys: dict[int, int]
) -> tuple[dict[int, torch.dtype], Rebuild, list[tuple[int, Rebuild]]]:
    """New storages that results hold (with a dtype to make them of), how to rebuild the result, and the changed containers."""
    bases: dict[int, torch.dtype] = {}
    changed = arguments.changed()
    contents = [arguments.content(position) for position in changed]
    for tensor in _leaves([result, contents]):
        if storage_key(tensor) in new_keys:
            bases.setdefault(storage_key(tensor), tensor.dtype)
    positions = {key: k for k, key in enumerate(bases)}
    alive = [(k, tensor) for k, tensor in enumerate(arguments.tensors) if tensor is not None]
    inputs = {id(tensor): k for k, tensor in alive}
    storages = {storage_key(tensor): (k, tensor.storage_offset()) for k, tensor in reversed(alive)}
    rebuild = recipe(result, inputs, storages, positions)
    mutated = [(p, recipe(c, inputs, storages, positions)) for p, c in zip(changed, contents, strict=True)]
    return bases, rebuild, mutated


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    fields = getattr(value, "__dict__", None)
    return [leaf for item in fields.values() for leaf in _leaves(item)] if isinstance(fields, dict) else []


def _renamed(events: list[tuple[Any, ...]], local: dict[int, int], prefix: str) -> list[tuple[Any, ...]]:
    """The events with ids and module paths as the trace's own."""
    strip = len(prefix) + 1 if prefix else 0
    renamed: list[tuple[Any, ...]] = []
    for event in events:
        match event:
            case (0, ident, num_bytes):
                renamed.append((ALLOC, local[ident], num_bytes))
            case (1, ident):
                renamed.append((FREE, local[ident]))
            case (2, op, path):
                renamed.append((RUN, op, path[strip:]))
            case (3, child, ins, outs, path):
                bound = tuple(None if i is None else local.get(i) for i in ins)
                renamed.append((ENTER, child, bound, tuple((t, local[o]) for t, o in outs), path[strip:]))
            case (4, op, reads, writes, fuses):
                theirs = [tuple((local.get(i), at, n) for i, at, n in uses) for uses in (reads, writes)]
                renamed.append((USE, op, *theirs, fuses))
    return renamed
