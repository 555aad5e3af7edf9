"""What diffusers' hooks remember from one call to the next, as arguments that the call does not spell out.

A cache is a set of hooks on a denoiser. They keep tensors between calls, and decide by counters whether a block computes or hands out
what it kept. So a call with hooks below it depends on more than its arguments, and changes more than its results. Here these states are
found, looked at before a call (they belong to its signature, and a replay repeats what the call did to them) and kept with it, so that
it can be made again.

A state holds tensors and counters. By value, counters make every step a call of its own, though steps differ only in what is decided.
A hook may therefore tell in advance what it will do (`Outlook`): then equal decisions on equal tensors are the same call, and the
counters are set as the hook said. Nothing is believed: a call whose hooks end up with other counters is not remembered.

Nothing here knows a hook's class. diffusers keeps the states of a hook with memory (`_is_stateful`) in a `StateManager`, one per named
context (the branches of guidance), or in its attribute `state`. A module may do without a hook: EasyAnimate's autoencoder leaves the
last frames of each convolution in an attribute for the next frames. Such attributes are found when a call has changed them (`note_kept`),
and from then on they are states too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

REGISTRY = "_diffusers_hook"
"""Attribute of a module in which diffusers keeps its hooks."""
_CONTEXTS = "_state_cache"
"""Attribute that tells a `StateManager`: its states by name of the context."""
_STATE = "state"

Kept = Mapping[type, frozenset[str]]
"""By class of module: attributes in which it keeps tensors from one call to the next."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a hook is going to do in the call that comes, as `hook.outlook(state)` tells it."""

    decision: Hashable
    """All that the call's ops depend on, beside the tensors in the state."""
    after: Mapping[str, Any]
    """The state's counters once the call is over; they are no part of the call's signature."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A place where a hook keeps what it remembers."""

    path: str
    """Of the hooked module, below the module that was asked for."""
    hook: Any
    hook_name: str
    attribute: str

    @property
    def store(self) -> Any:
        """The `StateManager`, or the state itself."""
        return getattr(self.hook, self.attribute)

    @property
    def context(self) -> Any:
        """What the pipeline says about the call: the branch of guidance. None if it says nothing, or the hook does not ask."""
        return getattr(self.store, "_context", None)

    def state(self) -> Any | None:
        """What the coming call will see; None where the branch is not known. A state that is missing is made, as the hook would."""
        if not hasattr(self.store, _CONTEXTS):
            return self.store
        return None if self.context is None else self.store.get_state()

    def fields(self, state: Any) -> MutableMapping[str, Any]:
        """What a state remembers, live: what a call changes, changes here."""
        found: MutableMapping[str, Any] = vars(state)
        return found

    def enter(self, context: Any) -> None:
        """Says of the coming call what `context` of an earlier one was."""
        if hasattr(self.store, _CONTEXTS):
            self.store.set_context(context)


@dataclass(frozen=True, slots=True)
class AttributeHolder(Holder):
    """A module (in the place of the hook) that keeps tensors in attributes of its own."""

    names: frozenset[str] = frozenset()

    @property
    def context(self) -> Any:
        return None

    def state(self) -> Any:
        return self.hook

    def enter(self, context: Any) -> None:
        pass

    def fields(self, state: Any) -> MutableMapping[str, Any]:
        return _Attributes(state, self.names)


class _Attributes(MutableMapping[str, Any]):
    """Some attributes of a module as a mapping; one that is taken out is None, as before the first call."""

    def __init__(self, module: nn.Module, names: frozenset[str]) -> None:
        self._module, self._names = module, sorted(names)

    def __getitem__(self, name: str) -> Any:
        return vars(self._module)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        vars(self._module)[name] = value

    def __delitem__(self, name: str) -> None:
        vars(self._module)[name] = None

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if name in vars(self._module))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        for name in self:
            del self[name]


@dataclass(frozen=True, slots=True)
class HookState:
    """A state before a call."""

    holder: Holder
    fields: MutableMapping[str, Any]
    """The state's own dictionary: what the call changes, changes here."""
    outlook: Outlook | None

    @property
    def after(self) -> Mapping[str, Any]:
        """Counters that the hook told in advance."""
        return self.outlook.after if self.outlook is not None else {}

    @property
    def is_blank(self) -> bool:
        """Whether a module keeps nothing: the same as before anybody knew that it may."""
        return isinstance(self.holder, AttributeHolder) and not any(
            v is not None for v in self.fields.values()
        )

    def remembered(self) -> dict[str, Any]:
        """The fields without those counters, in an order of their own."""
        return {name: self.fields[name] for name in sorted(self.fields) if name not in self.after}

    def came_true(self) -> bool:
        """Whether the counters are, after the call, what the hook said they would be."""
        return all(name in self.fields and self.fields[name] == value for name, value in self.after.items())


@dataclass(frozen=True, slots=True)
class KeptState:
    """A state as it was before a call, for another module of the same structure."""

    path: str
    hook_name: str
    attribute: str
    context: Any
    fields: Mapping[str, Any]
    """With copies of tensors (`_calls.py`)."""
    told: frozenset[str]
    """Fields that are counters, and told in advance."""
    decision: Hashable

    def layout(self) -> tuple[Any, ...]:
        """What tells this state from others: where it is, what is decided, and the fields that matter then."""
        fields = [(name, value) for name, value in sorted(self.fields.items()) if name not in self.told]
        return (self.path, self.hook_name, self.attribute, self.decision, fields)


def described(registry: Any) -> Iterable[tuple[str, Any]]:
    """(name, settings) of the hooks of a registry, without what they remember and what follows from the module's class."""
    for name, hook in registry.hooks.items():
        yield (
            name,
            {
                "class": type(hook),
                **{
                    key: value
                    for key, value in vars(hook).items()
                    if key not in ("fn_ref", "_metadata") and not _remembers(hook, key, value)
                },
            },
        )


def _remembers(hook: Any, key: str, value: Any) -> bool:
    return hasattr(value, _CONTEXTS) or (
        key == _STATE and hook._is_stateful and getattr(value, "__dict__", None) is not None
    )


def note_kept(modules: Iterable[nn.Module], kept: dict[type, frozenset[str]]) -> bool:
    """Notes the attributes in which these modules keep tensors; whether one was new."""
    found = False
    for module in modules:
        names = frozenset(name for name, value in vars(module).items() if isinstance(value, Tensor))
        known = kept.get(type(module), frozenset())
        if names - known:
            kept[type(module)], found = known | names, True
    return found


def holders(module: nn.Module, known: dict[int, tuple[Holder, ...]], kept: Kept) -> tuple[Holder, ...]:
    """The places below a module (and on it) where something is remembered, in the module's order."""
    found = known.get(id(module))
    if found is None:
        found = known[id(module)] = (*_own(module, kept), *_below(module, known, kept))
    return found


def _own(module: nn.Module, kept: Kept) -> Iterable[Holder]:
    registry = vars(module).get(REGISTRY)
    for name, hook in registry.hooks.items() if registry is not None else ():
        if hook._is_stateful or any(hasattr(value, _CONTEXTS) for value in vars(hook).values()):
            for key, value in vars(hook).items():
                if _remembers(hook, key, value):
                    yield Holder("", hook, name, key)
    names = kept.get(type(module))
    if names is not None:
        yield AttributeHolder("", module, "", "", names)


def _below(module: nn.Module, known: dict[int, tuple[Holder, ...]], kept: Kept) -> Iterable[Holder]:
    for name, child in module._modules.items():
        for held in holders(child, known, kept) if child is not None else ():
            yield replace(held, path=f"{name}.{held.path}" if held.path else name)


def states(
    module: nn.Module | None, known: dict[int, tuple[Holder, ...]], kept: Kept, *, whole: bool
) -> tuple[HookState, ...]:
    """What hooks and modules below a module remember for the coming call, each state once.

    Args:
        whole: the call is the whole component's, which is what hooks tell an outlook of; a block's alone has counters by value.
    """
    if module is None:
        return ()
    found: dict[int, HookState] = {}
    for holder in holders(module, known, kept):
        state = holder.state()
        if state is None:
            continue
        tell: Callable[[Any], Outlook] | None = getattr(holder.hook, "outlook", None) if whole else None
        earlier = found.get(id(state))
        if earlier is None or (earlier.outlook is None and tell is not None):
            found[id(state)] = HookState(
                earlier.holder if earlier is not None else holder,
                holder.fields(state),
                tell(state) if tell is not None else None,
            )
    return tuple(found.values())


def reinstalled(module: nn.Module, kept: Iterable[KeptState]) -> None:
    """Gives the hooks of a module, and what is below it, what those of the same places remembered.

    The tensors in `kept` are taken as they are.
    """
    for state in kept:
        place = module.get_submodule(state.path)
        if not state.hook_name:
            vars(place).update(state.fields)
            continue
        hook: Any = place._diffusers_hook.hooks[state.hook_name]
        holder = Holder(state.path, hook, state.hook_name, state.attribute)
        holder.enter(state.context)
        fields = vars(holder.state())
        fields.clear()
        fields.update(state.fields)
