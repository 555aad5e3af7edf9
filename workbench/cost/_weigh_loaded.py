"""Weighs what a component is loaded as and what techniques make of it. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.cost.loading import Loaded
from workbench.cost.weigh import stored_parts


@dataclass(frozen=True, slots=True)
class _Seen:
    """A weight at one moment."""

    num_bytes: int
    kind: type
    """A quantised weight is of a class of its own, or in another dtype."""
    dtype: torch.dtype
    shape: torch.Size


Plain = Mapping[str, _Seen]
"""The weights of a component by name."""


def tensors_of(component: nn.Module) -> Plain:
    """Every weight by name; storages that are shared (tied embeddings) count once."""
    seen: set[int] = set()
    found = {}
    for name, tensor in (*component.named_parameters(), *component.named_buffers()):
        found[name] = _Seen(_new_bytes(tensor, seen), type(tensor.data), tensor.dtype, tensor.shape)
    return found


def _new_bytes(tensor: Tensor, seen: set[int]) -> int:
    total = 0
    for part in stored_parts(tensor):
        storage = part.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            total += storage.nbytes()
    return total


def loaded(
    plain: Plain, now: Plain, packing: Callable[[torch.Size, torch.dtype], int] | None = None
) -> Loaded:
    """From what `tensors_of` said without techniques and under them.

    Args:
        packing: bytes that making the new form of a weight takes beside it; None takes those of the form itself.
    """
    replaced = {
        name: tensor
        for name, tensor in plain.items()
        if name in now and (now[name].kind, now[name].dtype) != (tensor.kind, tensor.dtype)
    }
    largest = max(replaced, key=lambda name: replaced[name].num_bytes, default=None)
    beside = form = 0
    if largest is not None:
        of, form = replaced[largest], now[largest].num_bytes
        beside = packing(of.shape, of.dtype) if packing is not None else form
    return Loaded(
        plain_bytes=sum(tensor.num_bytes for tensor in plain.values()),
        largest_bytes=max((tensor.num_bytes for tensor in plain.values()), default=0),
        stored_bytes=sum(tensor.num_bytes for tensor in now.values()),
        originals_bytes=sum(tensor.num_bytes for tensor in replaced.values()),
        largest_original_bytes=replaced[largest].num_bytes if largest is not None else 0,
        packing_bytes=beside,
        largest_packed_bytes=form,
    )
