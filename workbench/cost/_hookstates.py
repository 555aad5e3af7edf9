"""What diffusers' hooks remember from one call to the next, as arguments that the call does not spell out.

A cache is a set of hooks on a denoiser. They keep tensors between calls, and decide by counters whether a block computes or hands out
what it kept. So a call with hooks below it depends on more than its arguments, and changes more than its results. Here these states are
found, looked at before a call (they belong to its signature, and a replay repeats what the call did to them) and kept with it, so that
it can be made again.

A state holds tensors and counters. By value, counters make every step a call of its own, though steps differ only in what is decided.
A hook may therefore tell in advance what it will do (`Outlook`): then equal decisions on equal tensors are the same call, and the
counters are set as the hook said. Nothing is believed: a call whose hooks end up with other counters is not remembered.

Nothing here knows a hook's class. diffusers keeps the states of a hook with memory (`_is_stateful`) in a `StateManager`, one per named
context (the branches of guidance), or in its attribute `state`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

REGISTRY = "_diffusers_hook"
"""Attribute of a module in which diffusers keeps its hooks."""
_CONTEXTS = "_state_cache"
"""Attribute that tells a `StateManager`: its states by name of the context."""
_STATE = "state"


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

    def enter(self, context: Any) -> None:
        """Says of the coming call what `context` of an earlier one was."""
        if hasattr(self.store, _CONTEXTS):
            self.store.set_context(context)


@dataclass(frozen=True, slots=True)
class HookState:
    """A state before a call."""

    holder: Holder
    fields: dict[str, Any]
    """The state's own dictionary: what the call changes, changes here."""
    outlook: Outlook | None

    @property
    def after(self) -> Mapping[str, Any]:
        """Counters that the hook told in advance."""
        return self.outlook.after if self.outlook is not None else {}

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


def holders(module: nn.Module, known: dict[int, tuple[Holder, ...]]) -> tuple[Holder, ...]:
    """The places below a module (and on it) where hooks remember things, in the module's order."""
    found = known.get(id(module))
    if found is None:
        found = known[id(module)] = (*_own(module), *_below(module, known))
    return found


def _own(module: nn.Module) -> Iterable[Holder]:
    registry = vars(module).get(REGISTRY)
    for name, hook in registry.hooks.items() if registry is not None else ():
        if hook._is_stateful or any(hasattr(value, _CONTEXTS) for value in vars(hook).values()):
            for key, value in vars(hook).items():
                if _remembers(hook, key, value):
                    yield Holder("", hook, name, key)


def _below(module: nn.Module, known: dict[int, tuple[Holder, ...]]) -> Iterable[Holder]:
    for name, child in module._modules.items():
        for held in holders(child, known) if child is not None else ():
            path = f"{name}.{held.path}" if held.path else name
            yield Holder(path, held.hook, held.hook_name, held.attribute)


def states(
    module: nn.Module | None, known: dict[int, tuple[Holder, ...]], *, whole: bool
) -> tuple[HookState, ...]:
    """What hooks below a module remember for the coming call, each state once.

    Args:
        whole: the call is the whole component's, which is what hooks tell an outlook of; a block's alone has counters by value.
    """
    if module is None:
        return ()
    found: dict[int, HookState] = {}
    for holder in holders(module, known):
        state = holder.state()
        if state is None:
            continue
        tell: Callable[[Any], Outlook] | None = getattr(holder.hook, "outlook", None) if whole else None
        earlier = found.get(id(state))
        if earlier is None or (earlier.outlook is None and tell is not None):
            found[id(state)] = HookState(
                earlier.holder if earlier is not None else holder,
                vars(state),
                tell(state) if tell is not None else None,
            )
    return tuple(found.values())


def reinstalled(module: nn.Module, kept: Iterable[KeptState]) -> None:
    """Gives the hooks of a module what those of the same places remembered.

    The tensors in `kept` are taken as they are.
    """
    for state in kept:
        hook = module.get_submodule(state.path)._diffusers_hook.hooks[state.hook_name]
        holder = Holder(state.path, hook, state.hook_name, state.attribute)
        holder.enter(state.context)
        fields = vars(holder.state())
        fields.clear()
        fields.update(state.fields)
