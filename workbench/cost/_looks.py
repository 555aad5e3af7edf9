"""What a look at a computed value finds in a run without weights, for code that knows better than to fail.

A pipeline that reads a number out of a computed tensor cannot be rehearsed, with one exception: where a technique states what the
outcome shall be (a cache that skips a call or not), it says so around the look.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_found: contextvars.ContextVar[float | None] = contextvars.ContextVar("found", default=None)


@contextlib.contextmanager
def finding(value: float) -> Iterator[None]:
    """Whoever reads a number out of a tensor without data in here reads `value`; tensors with data are read as they are."""
    token = _found.set(value)
    try:
        yield
    finally:
        _found.reset(token)


def found() -> float | None:
    """What is to be read now; None if nothing was stated."""
    return _found.get()
