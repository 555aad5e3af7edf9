"""Remembers what single ops answer on meta tensors.

Asking PyTorch for the shape of an element-wise result takes 50-250 microseconds, most of it in Python; a model asks the same thing
thousands of times. Only ops that make new tensors are remembered: a view or an in-place op depends on the very tensors it is given.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from workbench.cost._trace import Op

Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]
"""Shape, strides, dtype."""


@functools.cache
def _makes_new_tensors(func: Any) -> bool:
    """Whether an op's results are all tensors in new storage, by its schema."""
    schema = func._schema
    aliased = any(a.alias_info is not None for a in (*schema.arguments, *schema.returns))
    return not aliased and bool(schema.returns) and all(str(r.type) == "Tensor" for r in schema.returns)


def question(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable | None:
    """A key for an op and its arguments, tensors by layout; None if the answer must not be remembered."""
    if not _makes_new_tensors(func):
        return None
    spell = _spell_pointwise if torch.Tag.pointwise in func.tags else _spell
    try:
        key = (func, tuple(map(spell, args)), tuple((k, spell(v)) for k, v in kwargs.items()))
        hash(key)
    except TypeError:
        return None
    return key


def _spell_pointwise(value: Any) -> Any:
    """Of a number in an element-wise op only the type matters for the layout of the result (blending weights differ row by row)."""
    return type(value) if isinstance(value, (int, float)) else _spell(value)


def _spell(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype, value.is_meta)
    if isinstance(value, (list, tuple)):
        return tuple(map(_spell, value))
    return (type(value), value)


def remember_answer(
    answers: dict[Hashable, Any], key: Hashable, op: Op, inputs: list[Tensor], out: Any
) -> None:
    """Keeps the layouts of an op's results, if they are new tensors on the meta device.

    A schema may keep quiet about an alias (`_unsafe_view`), so the storages are compared.
    """
    single = isinstance(out, Tensor)
    tensors = [out] if single else list(out)
    given = {t.untyped_storage()._cdata for t in inputs}
    if any(isinstance(t, Tensor) and t.untyped_storage()._cdata in given for t in tensors):
        return
    if all(isinstance(t, Tensor) and t.is_meta and type(t) is Tensor for t in tensors):
        answers[key] = (op, [(tuple(t.shape), t.stride(), t.dtype) for t in tensors], single)
