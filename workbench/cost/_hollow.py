"""NumPy arrays without data, for pipelines that pass their frames through NumPy on the way out (a safety checker looks at them there).

A meta tensor has no data to give NumPy. Inside `hollow_arrays` it gives an array of its shape and dtype that repeats a single zero, and
element-wise functions of such an array give another one; `torch.from_numpy` makes a meta tensor of it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from workbench.cost._recorder import Recorder


class HollowArray(np.ndarray[Any, Any]):
    """An array whose every element is the same zero in memory."""

    @classmethod
    def of(cls, shape: tuple[int, ...], dtype: Any) -> HollowArray:
        """The array of this shape and dtype."""
        return np.broadcast_to(np.zeros((), dtype), shape).view(cls)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """The same shape in another dtype."""
        return HollowArray.of(self.shape, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        kwargs.pop("out", None)
        small = [np.zeros((), item.dtype) if isinstance(item, np.ndarray) else item for item in inputs]
        shape = np.broadcast_shapes(*(np.shape(item) for item in inputs))
        return HollowArray.of(shape, ufunc(*small, **kwargs).dtype)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if (
            func is np.stack and set(kwargs) <= {"axis"} and len(args) == 1
        ):  # really stacking them would take seconds
            first, axis = args[0][0], kwargs.get("axis", 0)
            shape = list(first.shape)
            shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, len(args[0]))
            return HollowArray.of(tuple(shape), first.dtype)
        result = super().__array_function__(func, types, args, kwargs)
        return HollowArray.of(result.shape, result.dtype) if isinstance(result, np.ndarray) else result


@contextlib.contextmanager
def hollow_arrays(recorder: Recorder) -> Iterator[None]:
    """Lets meta tensors become NumPy arrays and such arrays become meta tensors, for as long as the context lasts.

    The recorder sees nothing of it: arrays, and tensors that share their memory, are not on the GPU.
    """
    to_array, to_tensor = Tensor.numpy, torch.from_numpy

    def numpy(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not tensor.is_meta:
            return to_array(tensor, *args, **kwargs)
        with recorder.quietly():
            dtype = to_array(torch.empty(0, dtype=tensor.dtype)).dtype
        return HollowArray.of(tuple(tensor.shape), dtype)

    def from_numpy(array: Any) -> Tensor:
        if not isinstance(array, HollowArray):
            return to_tensor(array)
        with recorder.quietly():
            dtype = to_tensor(np.zeros(0, array.dtype)).dtype
            return torch.empty(array.shape, dtype=dtype, device="meta")

    with mock.patch.object(Tensor, "numpy", numpy), mock.patch.object(torch, "from_numpy", from_numpy):
        yield
