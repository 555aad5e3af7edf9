"""What is known of the values of tensors that have no data.

Models ask a few questions of large tensors: is this all zeros, because there is no image? A tensor that a factory made has one value
everywhere, which is remembered for as long as nothing is written to it. Of any other tensor nothing is known but that it is computed:
it is not the same exact number everywhere. A question that this does not answer still fails loudly.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor

_FILLS: Mapping[str, Callable[[tuple[Any, ...]], Any]] = {
    **{f"aten::{name}": lambda _: 0 for name in ("zeros", "zeros_like", "new_zeros")},
    **{f"aten::{name}": lambda _: 1 for name in ("ones", "ones_like", "new_ones")},
    "aten::full": lambda args: args[1],
    "aten::full_like": lambda args: args[1],
    "aten::new_full": lambda args: args[2],
}
"""Factories -> the value that they fill with, from their arguments."""
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {"aten::eq": operator.eq, "aten::ne": operator.ne}


class Known(Enum):
    """What is known of a boolean tensor that is not the same everywhere."""

    SOME_FALSE = "not all are true"
    SOME_TRUE = "not all are false"


def value_of(tensor: Tensor) -> Any:
    """The number that every element of a tensor is, a `Known`, or None if nothing is known."""
    marked = getattr(tensor, "_known_value", None)
    return marked[0] if marked is not None and marked[1] == tensor._version else None


def mark(tensor: Tensor, value: Any) -> None:
    """Remembers what is known of a tensor until it is written to (views share the version that a write raises)."""
    tensor._known_value = (value, tensor._version)


def value_of_result(func: Any, args: tuple[Any, ...]) -> Any:
    """What is known of the result of an op whose operands have no data; None if nothing is."""
    name = func._schema.name
    if name in _FILLS:
        return _FILLS[name](args)
    if name in _COMPARISONS:
        return _compared(_COMPARISONS[name], *args)
    if name == "aten::all":
        return {True: True, False: False, Known.SOME_FALSE: False}.get(value_of(args[0]))
    if name == "aten::any":
        return {True: True, False: False, Known.SOME_TRUE: True}.get(value_of(args[0]))
    return None


def _compared(compare: Callable[[Any, Any], bool], left: Tensor, right: Any) -> Any:
    if isinstance(right, Tensor):
        return None
    value = value_of(left)
    if isinstance(value, (bool, int, float)):
        return compare(value, right)
    if not left.is_floating_point():  # token ids and masks may well be the same number everywhere
        return None
    return Known.SOME_FALSE if compare is operator.eq else Known.SOME_TRUE


def positions(indices: list[Tensor | None]) -> list[Tensor | None]:
    """The indices of an indexing with boolean masks among them replaced by the positions at which they are true, as the op does itself.

    A mask with data says how many rows a tensor without data gives.
    """
    found: list[Tensor | None] = []
    for index in indices:
        is_mask = index is not None and index.dtype == torch.bool and not index.is_meta
        found.extend(index.nonzero().unbind(1) if index is not None and is_mask else (index,))
    return found
