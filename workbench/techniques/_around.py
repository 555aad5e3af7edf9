"""Does something around every call of a network, outside of what a rehearsal sees as the call.

What is wrapped around `forward` is part of the call: a rehearsal remembers and replays it with the rest. What decides which calls are
made has to stay outside. Python looks `__call__` up on the class, so the network gets a class of the same name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol


class Around(Protocol):
    """Stands between the caller and the network. Give it no dictionary (`__slots__`): what it knows is no part of the network."""

    def call(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Is made in place of `run(*args, **kwargs)`."""


def around_calls(module: Any, name: str, around: Around) -> Callable[[], None]:
    """Puts `around` between a network and whoever calls it; the result takes it away again, last put first taken.

    Args:
        name: tells it from others around the same network.
    """
    kind: Any = type(module)
    attribute = f"_workbench_{name}"
    object.__setattr__(module, attribute, around)
    module.__class__ = _surrounded(kind, attribute)

    def undo() -> None:
        module.__class__ = kind
        object.__delattr__(module, attribute)

    return undo


@functools.cache
def _surrounded(kind: Any, attribute: str) -> type:
    """A class like `kind`; one for all networks of that class, so that calls of equal ones count as equal."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return vars(self)[attribute].call(functools.partial(kind.__call__, self), args, kwargs)

    return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
