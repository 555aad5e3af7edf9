"""When two calls are the same call: signatures of modules and of arguments, and how a call's effects are remembered and repeated.

A call may be replayed instead of traced again when nothing that its code could look at differs: the structure of the module (classes,
parameter shapes and dtypes, plain attributes, hooks), the arguments (shapes, strides, dtypes, aliasing; numbers and strings by value)
and the containers in them. Values inside tensors are taken not to matter: on the meta device code that looks at them fails loudly.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Hashable, MutableMapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from workbench.cost._hookstates import REGISTRY, HookState, Kept, described
from workbench.cost._values import value_of

_PLAIN = (
    bool,
    int,
    float,
    str,
    bytes,
    type(None),
    torch.dtype,
    torch.device,
    torch.Size,
    slice,
    complex,
    Enum,
)
_BY_VALUE = frozenset({bool, int, float, str, type(None)})
_CONTAINERS = (list, tuple, dict, set)
_MODULE_STATE = frozenset({"_parameters", "_buffers", "_modules"})
_BOOKKEEPING = frozenset(
    {
        "_backward_hooks",
        "_backward_pre_hooks",
        "_forward_hooks_always_called",
        "_forward_hooks_with_kwargs",
        "_forward_pre_hooks_with_kwargs",
        "_is_full_backward_hook",
        "_load_state_dict_post_hooks",
        "_load_state_dict_pre_hooks",
        "_non_persistent_buffers_set",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
    }
)
"""Attributes of every `nn.Module` that a forward without gradients does not look at."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_NOT_PLAIN = _MODULE_STATE | _BOOKKEEPING | frozenset({*_HOOKS, REGISTRY})
_MAX_DEPTH = 6


class Opaque(Exception):
    """An argument or a result that cannot be described, so the call must be traced every time."""


def storage_key(tensor: Tensor) -> int:
    """Identity of the memory behind a tensor, shared by its views."""
    return tensor.untyped_storage()._cdata


def module_signature(module: nn.Module, cache: dict[int, Hashable], kept: Kept) -> Hashable:
    """Structure of a module and everything below it; equal signatures mean interchangeable modules.

    Args:
        kept: attributes that count as what the module remembers, not as what it is.
    """
    key = id(module)
    if key not in cache:
        children = [
            (name, child and module_signature(child, cache, kept)) for name, child in module._modules.items()
        ]
        cache[key] = hash((_own_state(module, kept), tuple(children)))
    return cache[key]


def surface(module: nn.Module, kept: Kept) -> Hashable:
    """State of what a call of the module, and of no other unit, could have changed. What is behind a reference is compared by identity:
    a call may put another thing in its place, or change a list or a dictionary."""
    return hash(tuple(_outside(part, kept.get(type(part), frozenset())) for part in parts(module)))


def _outside(module: nn.Module, apart: frozenset[str]) -> Hashable:
    """What `_own_state` describes, as much of it as can differ before and after a call."""
    state: list[Hashable] = []
    for name, value in vars(module).items():
        if name in _NOT_PLAIN or name in apart:
            continue
        kind = type(value)
        if kind in _BY_VALUE or (kind is tuple and _is_hashable(value)):
            state.append((name, value))
        elif isinstance(value, (*_CONTAINERS, Tensor)):
            state.append((name, _describe(value, 0)))
        elif not getattr(value, "is_watch", False):
            state.append((name, value if isinstance(value, _PLAIN) else id(value)))
    for tensor in module._parameters.values():
        state.append((id(tensor), tensor is not None and tensor.dtype))
    for tensor in module._buffers.values():
        state.append(None if tensor is None else tensor_layout(tensor))
    hooks = (*module._forward_hooks, *module._forward_pre_hooks)
    registry = vars(module).get(REGISTRY)
    if registry is not None:
        hooks += tuple(hash((name, _describe(settings, 0))) for name, settings in described(registry))
    return (tuple(state), hooks)


def parts(module: nn.Module) -> list[nn.Module]:
    """A module and its children without children, which are no units of their own."""
    return [module, *(child for child in module.children() if next(child.children(), None) is None)]


def _is_hashable(value: tuple[Any, ...]) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _own_state(module: nn.Module, kept: Kept) -> Hashable:
    """Class, weights' layouts, attributes and hooks of the module itself."""
    state = [
        (name, value if value is None else tensor_layout(value))
        for store in (module._parameters, module._buffers)
        for name, value in store.items()
    ]
    apart = kept.get(type(module), frozenset())
    plain = [
        (name, _describe(value, 0))
        for name, value in vars(module).items()
        if name not in _NOT_PLAIN and name not in apart and not getattr(value, "is_watch", False)
    ]
    hooks = [tuple(_describe(hook, 0) for hook in getattr(module, store).values()) for store in _HOOKS]
    registry = vars(module).get(REGISTRY)
    if registry is not None:
        hooks += [(name, _describe(settings, 0)) for name, settings in described(registry)]
    # an attribute that was deleted and set again is the same state in another order
    return (type(module), tuple(state), frozenset(plain), tuple(hooks))


def tensor_layout(tensor: Tensor) -> Hashable:
    """Shape, strides and dtype; of a quantised weight also those of its parts and how it is computed with."""
    layout: tuple[Any, ...] = (tuple(tensor.shape), tensor.stride(), tensor.dtype, type(tensor))
    state = getattr(tensor, "quant_state", None)
    if state is not None:
        layout += (_describe(state, 0),)
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is not None:
        names, attributes = flatten()
        layout += (*(tensor_layout(getattr(tensor, name)) for name in names), _describe(attributes, 0))
    return layout


def _describe(value: Any, depth: int) -> Any:
    """A plain description of an attribute: by value where that is cheap, by class and fields otherwise."""
    if isinstance(value, Tensor):
        return tensor_layout(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, tuple)):
        return (type(value), tuple(_describe(item, depth + 1) for item in value))
    if isinstance(value, (set, frozenset)):
        return (type(value), frozenset(_describe(item, depth + 1) for item in value))
    if isinstance(value, dict):
        return tuple((_describe(k, depth + 1), _describe(v, depth + 1)) for k, v in value.items())
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return tuple(_describe(part, depth + 1) for part in parts)
    if isinstance(value, types.MethodType):
        return (_describe(value.__func__, depth + 1), type(value.__self__))
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return _describe_function(value, depth)
    if isinstance(value, nn.Module) or depth >= _MAX_DEPTH:
        return type(value)
    fields = getattr(value, "__dict__", None)
    return (type(value), _describe(fields, depth + 1) if fields else None)


def _describe_function(value: Any, depth: int) -> Hashable:
    name = (getattr(value, "__module__", ""), getattr(value, "__qualname__", repr(value)))
    cells = getattr(value, "__closure__", None)
    if not cells or depth >= _MAX_DEPTH:
        return name
    return (*name, *(_describe(cell.cell_contents, depth + 1) for cell in cells))


class Arguments:
    """The tensors and containers in a call's arguments, in a fixed order, and the signature of the whole.

    What hooks below the callee remember (`_hookstates.py`) counts as arguments too, as containers that the call may change.
    Tensors are held weakly: a cache in a list argument must be able to die in the middle of the call, as it does in a real run.
    """

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], states: tuple[HookState, ...] = ()
    ) -> None:
        self.states = states
        self._tensors: list[weakref.ref[Tensor]] = []
        self.containers: list[list[Any] | MutableMapping[Any, Any]] = []
        self.storages: dict[int, int] = {}
        self.input_bytes: list[int] = []
        """Size of each distinct storage, in order of first sight."""
        self.signature: Hashable = (
            self._visit(args, 0),
            tuple((k, self._visit(v, 0)) for k, v in kwargs.items()),
            tuple(self._visit_state(state) for state in states),
        )
        self.before = [_snapshot(c) for c in self.containers]
        for state in states:
            self.containers.append(state.fields)

    @property
    def tensors(self) -> list[Tensor | None]:
        """The argument tensors that are still alive, None in the place of the others."""
        return [ref() for ref in self._tensors]

    def _visit(self, value: Any, depth: int) -> Hashable:
        if isinstance(value, Tensor):
            if type(value) not in (Tensor, nn.Parameter):
                raise Opaque(type(value).__name__)
            storage = value.untyped_storage()
            size, index = storage.nbytes(), self.storages.setdefault(storage._cdata, len(self.storages))
            if index == len(self.input_bytes):
                self.input_bytes.append(size)
            self._tensors.append(weakref.ref(value))
            layout = (value.shape, value.stride(), value.dtype, value.is_meta, index, size)
            return (*layout, value_of(value)) if value.is_meta else layout
        if isinstance(value, _PLAIN):
            return (type(value), value)
        if isinstance(value, (list, dict)):
            self.containers.append(value)
        if isinstance(value, (list, tuple)):
            return (type(value), tuple(self._visit(item, depth + 1) for item in value))
        if isinstance(value, dict):
            return (type(value), tuple((k, self._visit(v, depth + 1)) for k, v in value.items()))
        raise Opaque(type(value).__name__)

    def _visit_state(self, state: HookState) -> Hashable:
        """What is inside a state is described, but not held: a hook lets go of a whole dictionary of tensors in the middle of a call."""
        decision = state.outlook.decision if state.outlook is not None else None
        known = len(self.containers)
        described = tuple((k, self._visit(v, 1)) for k, v in state.remembered().items())
        del self.containers[known:]
        return (decision, described)

    def changed(self) -> list[int]:
        """Positions of the containers that now hold other objects; states always count."""
        given = len(self.before)
        pairs = enumerate(zip(self.before, self.containers[:given], strict=True))
        changed = [position for position, (before, now) in pairs if is_changed(before, now)]
        return [*changed, *range(given, len(self.containers))]

    def content(self, position: int) -> Any:
        """A container's present content, without the counters that a hook tells in advance."""
        given = len(self.before)
        return self.containers[position] if position < given else self.states[position - given].remembered()

    def advance(self) -> None:
        """Sets the counters that hooks told in advance."""
        for state in self.states:
            state.fields.update(state.after)


def _snapshot(container: list[Any] | MutableMapping[Any, Any]) -> list[Any]:
    """A container's items, tensors as weak references, to see afterwards whether the call changed it."""
    return [
        (key, weakref.ref(item) if isinstance(item, Tensor) else item)
        for key, item in container_items(container)
    ]


def container_items(container: list[Any] | MutableMapping[Any, Any]) -> list[tuple[Any, Any]]:
    """(key or position, item) pairs of a list or dictionary."""
    return list(enumerate(container)) if isinstance(container, list) else list(container.items())


def is_changed(before: list[Any], container: list[Any] | MutableMapping[Any, Any]) -> bool:
    """Whether a container holds other objects than when `before` was taken."""
    now = container_items(container)
    if len(now) != len(before):
        return True
    return any(
        key != old_key or item is not (old() if isinstance(old, weakref.ref) else old)
        for (old_key, old), (key, item) in zip(before, now, strict=True)
    )


Rebuild = Callable[[list[Any], list[Tensor]], Any]
"""(input tensors, new storages' base tensors) -> the value."""


def recipe(
    value: Any, inputs: dict[int, int], storages: dict[int, tuple[int, int]], new: dict[int, int]
) -> Rebuild:
    """How to make a result again from a replay's inputs and freshly made storages.

    Args:
        inputs: id of each input tensor object -> its position.
        storages: storage key of the inputs -> (position, storage offset) of an input tensor that has it.
        new: storage key of storages the call allocated -> their position among the new ones.
    """
    if isinstance(value, Tensor):
        return _tensor_recipe(value, inputs, storages, new)
    if isinstance(value, _PLAIN):
        return lambda *_: value
    if isinstance(value, (list, tuple)):
        parts = [recipe(item, inputs, storages, new) for item in value]
        kind: Any = type(value) if type(value) in (list, tuple) else None
        if kind is None:
            raise Opaque(type(value).__name__)
        return lambda ins, bases: kind(part(ins, bases) for part in parts)
    if isinstance(value, dict):
        entries = {k: recipe(v, inputs, storages, new) for k, v in value.items()}
        cls = type(value)
        if cls is dict:
            return lambda ins, bases: {k: part(ins, bases) for k, part in entries.items()}
        return lambda ins, bases: cls(**{k: part(ins, bases) for k, part in entries.items()})
    fields = getattr(value, "__dict__", None)
    if fields is None or callable(value):
        raise Opaque(type(value).__name__)
    made: dict[str, Rebuild] = {k: recipe(v, inputs, storages, new) for k, v in fields.items()}
    owner = type(value)  # the value itself in the function would keep the first result alive with the memo
    return lambda ins, bases: _instance(owner, {k: part(ins, bases) for k, part in made.items()})


def _instance(cls: type, fields: dict[str, Any]) -> Any:
    made: Any = object.__new__(cls)
    made.__dict__.update(fields)
    return made


def _tensor_recipe(
    value: Tensor, inputs: dict[int, int], storages: dict[int, tuple[int, int]], new: dict[int, int]
) -> Rebuild:
    if id(value) in inputs:
        position = inputs[id(value)]
        return lambda ins, _: ins[position]
    if type(value) is not Tensor:
        raise Opaque(type(value).__name__)
    shape, stride, offset, dtype = tuple(value.shape), value.stride(), value.storage_offset(), value.dtype
    key = storage_key(value)
    if key in new:
        base = new[key]
        return lambda _, bases: _view_of(bases[base], dtype).as_strided(shape, stride, offset)
    if key in storages:
        source, first = storages[key]
        return lambda ins, _: ins[source].as_strided(
            shape, stride, ins[source].storage_offset() + offset - first
        )
    raise Opaque("a tensor that is neither new nor an argument")


def _view_of(base: Tensor, dtype: torch.dtype) -> Tensor:
    return base if base.dtype == dtype else base.view(dtype)
