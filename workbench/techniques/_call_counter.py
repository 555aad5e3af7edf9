"""Counts the calls of an object's methods, for techniques that can tell only from a run whether they had something to do."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any


class CallCounter:
    """Numbers of calls by method name."""

    __slots__ = (
        "numbers",
    )  # no dictionary: what was counted is no part of a module's structure (cost/_signature.py)

    def __init__(self) -> None:
        self.numbers: Counter[str] = Counter()

    def count(self, owner: Any, name: str) -> Callable[[], None]:
        """Counts the calls of a method from now on; the result stops that."""
        method, shadowed = getattr(owner, name), vars(owner).get(name)

        @functools.wraps(method)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.numbers[name] += 1
            return method(*args, **kwargs)

        setattr(owner, name, counted)
        return lambda: delattr(owner, name) if shadowed is None else setattr(owner, name, shadowed)
