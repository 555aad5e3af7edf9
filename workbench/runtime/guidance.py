"""Classifier-free guidance in as many denoiser calls as wanted: both branches in one call, or one branch per call.

Shapes: B batch of a call as the pipeline makes it.

A pipeline computes the two branches of guidance either as one call on a batch of both, or as two calls. Neither is exposed as a choice,
but both can be turned into the other around the denoiser, because a denoiser treats the elements of its batch alike.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

_LATENTS = ("hidden_states", "sample")
"""Names of the argument that a denoiser denoises."""
_REPEATED = "encoder_hidden_states"
"""Conditioning that some pipelines repeat for every frame, so that it has a multiple of B rows, the branches still one after the other."""


_NO_ROWS = ("scale", "seqlens", "pos")
"""How the names of lists of numbers end that have nothing to do with the batch: strengths by layer, where texts begin, positions."""


def batch_of(arguments: Mapping[str, Any]) -> int | None:
    """B of a call; None if it has no latents."""
    for name in _LATENTS:
        if isinstance(arguments.get(name), Tensor):
            batch: int = arguments[name].shape[0]
            return batch
    return None


def arguments_of(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """A call's arguments by name."""
    return dict(signature.bind(*args, **kwargs).arguments)


class SplitGuidance:
    """Makes one call per half of the batch and joins what they give: the activations of a half at a time.

    Every argument that is a tensor with B rows is halved, in a dictionary too; anything else goes to both halves, lists and tuples first of
    all: they hold rotary tables, whose rows are positions. A call with an odd batch is made as it is.
    """

    __slots__ = ("calls", "context", "signature", "split")

    def __init__(
        self,
        signature: inspect.Signature,
        context: Callable[[str], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self.signature = signature
        """Of the denoiser's forward."""
        self.context = context
        """Opens a context of diffusers' caches, so that each half has memories of its own."""
        self.calls = self.split = 0

    def call(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call in two halves, or as it is."""
        self.calls += 1
        arguments = arguments_of(self.signature, args, kwargs)
        batch = batch_of(arguments)
        if batch is None or batch % 2:
            return run(*args, **kwargs)
        self.split += 1
        halves = []
        for number in range(2):
            part = {name: _half(name, value, number, batch) for name, value in arguments.items()}
            with self.context(f"half {number}") if self.context is not None else nullcontext():
                halves.append(run(**part))
            del part  # or the first half's arguments would live while the second one computes
        return _joined(*halves)

    def said(self, name: str) -> str | None:
        """What it did to a denoiser."""
        if not self.calls:
            return None
        if not self.split:
            return f"cfg sequential changed nothing for {name}: its pipeline computes one branch of guidance per call, or there is one"
        return f"{name} computed {self.split} of {self.calls} calls in two halves"


def _has_rows(name: str, value: Any, batch: int | None) -> bool:
    """Whether an argument is a tensor with a row for each element of the batch, and not one that is as long by chance."""
    if not isinstance(value, Tensor) or not value.dim() or value.shape[0] != batch:
        return False
    return value.dim() > 1 or not name.endswith(_NO_ROWS)


def _half(name: str, value: Any, number: int, batch: int) -> Any:
    if isinstance(value, Tensor):
        repeated = name.startswith(_REPEATED) and value.dim() > 0 and value.shape[0] % batch == 0
        return value.chunk(2)[number] if repeated or _has_rows(name, value, batch) else value
    if type(value) is dict:  # more conditioning by name, of an image adapter as a list
        items = {key: item if type(item) is list else [item] for key, item in value.items()}
        halved = {key: [_half(key, part, number, batch) for part in item] for key, item in items.items()}
        return {key: halved[key] if type(item) is list else halved[key][0] for key, item in value.items()}
    return value


def _joined(first: Any, second: Any) -> Any:
    """Results of the same kind, tensors one after the other."""
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    if isinstance(first, tuple):
        return tuple(_joined(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, Mapping):
        return type(first)(**{name: _joined(first[name], second[name]) for name in first})
    return first


class JoinedGuidance:
    """Computes the second branch of guidance together with the first, and hands it out when the pipeline asks for it.

    The pipeline wants the first branch's result before it asks for the second's. But the second call differs from the first in the
    prompt only, and prompts are the same at every step: what the first step showed is what the next ones will ask for. So the first step
    is made in two calls, and from then on a first call is made on a batch of both. A result is handed out only to a call whose arguments
    are the very tensors that it was computed from, unchanged; should another call come instead, guessing stops for good.
    """

    __slots__ = ("_before", "_pair", "_ready", "calls", "joined", "signature", "why_not")

    def __init__(self, signature: inspect.Signature) -> None:
        self.signature = signature
        """Of the denoiser's forward."""
        self.calls = self.joined = 0
        self.why_not = ""
        """What keeps the branches apart, if anything does."""
        self._before: Seen | None = None
        self._pair: tuple[Seen, Seen] | None = None
        self._ready: tuple[Seen, Any] | None = None

    def call(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call, the call on both branches, or what was computed for it before."""
        self.calls += 1
        arguments = arguments_of(self.signature, args, kwargs)
        ready, self._ready = self._ready, None
        if ready is not None:
            expected, result = ready
            if expected.are(arguments):
                self.joined += 1
                return result
            self.why_not = "the pipeline did not ask for the second branch as it had at first"
        second = self._second(arguments)
        if second is None:
            self._learn(arguments)
            return run(*args, **kwargs)
        batch = batch_of(arguments)
        joint = {name: _stacked(name, value, second[name], batch) for name, value in arguments.items()}
        expected = Seen(second)
        del second, arguments
        result = run(**joint)
        self._ready = (expected, _rows(result, 1))
        return _rows(result, 0)

    def said(self, name: str) -> str | None:
        """What it did to a denoiser."""
        if not self.calls:
            return None
        if not self.joined:
            usual = "its pipeline computes both branches of guidance in one call, or there is one"
            return f"cfg batched changed nothing for {name}: {self.why_not or usual}"
        done = f"{name} computed both branches of guidance in one call for {2 * self.joined} of {self.calls} calls"
        return f"{done}, then stopped: {self.why_not}" if self.why_not else done

    def _learn(self, arguments: Mapping[str, Any]) -> None:
        """Recognises the second call of a step: the latents of the first, another prompt."""
        before, self._before = self._before, Seen(arguments)
        if before is None or self.why_not or not before.same(arguments, _LATENTS):
            return
        batch = batch_of(arguments)
        differing = [name for name in arguments if not before.same(arguments, (name,))]
        for name in differing:
            first, second = before.value(name), arguments[name]
            if not _is_stackable(name, first, second, batch):
                self.why_not = f"the two branches differ in {name}, which cannot be stacked"
                return
        self._pair = before.only(differing), self._before.only(differing)

    def _second(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """The arguments that the second call of this step will have, if this is the first one; else None."""
        if self._pair is None or self.why_not:
            return None
        first, second = self._pair
        if not first.same(arguments, first.names()):
            return None
        values = {name: second.value(name) for name in second.names()}
        return None if any(value is None for value in values.values()) else {**arguments, **values}


class Seen:
    """Arguments of a call, recognised later without being kept alive."""

    __slots__ = ("_marks",)

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._marks: dict[str, Any] = {name: _mark(value) for name, value in arguments.items()}

    def names(self) -> tuple[str, ...]:
        """Of the arguments."""
        return tuple(self._marks)

    def only(self, names: list[str]) -> Seen:
        """Some of them."""
        chosen = Seen({})
        chosen._marks = {name: self._marks[name] for name in names}
        return chosen

    def value(self, name: str) -> Any:
        """An argument; None if it is a tensor that lives no more."""
        return _value(self._marks[name])

    def same(self, arguments: Mapping[str, Any], names: tuple[str, ...]) -> bool:
        """Whether arguments of these names, where there are any, are the same objects, unchanged."""
        return all(_is(self._marks.get(name), arguments.get(name)) for name in names)

    def are(self, arguments: Mapping[str, Any]) -> bool:
        """Whether these are the same arguments, all of them."""
        return arguments.keys() == self._marks.keys() and self.same(arguments, self.names())


class _TensorMark:
    """A tensor, weakly, and how often it had been written to."""

    __slots__ = ("ref", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.ref = weakref.ref(tensor)
        self.version = _version(tensor)


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _mark(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _TensorMark(value)
    return tuple(map(_mark, value)) if type(value) in (list, tuple) else value


def _value(mark: Any) -> Any:
    return mark.ref() if isinstance(mark, _TensorMark) else mark


def _is(mark: Any, value: Any) -> bool:
    if isinstance(mark, _TensorMark):
        return mark.ref() is value and mark.version == _version(value)
    if type(value) in (list, tuple):
        return type(mark) is tuple and len(mark) == len(value) and all(map(_is, mark, value))
    return mark is value or (isinstance(value, (bool, int, float, str)) and mark == value)


def _is_stackable(name: str, first: Any, second: Any, batch: int | None) -> bool:
    return _has_rows(name, first, batch) and isinstance(second, Tensor) and first.shape == second.shape


def _stacked(name: str, first: Any, second: Any, batch: int | None) -> Any:
    """An argument for both branches; what has no rows of the batch serves both as it is."""
    return torch.cat([first, second]) if _has_rows(name, first, batch) else first


def _rows(result: Any, number: int) -> Any:
    """The first or the second half of each tensor of a result."""
    if isinstance(result, Tensor):
        return result.chunk(2)[number]
    if isinstance(result, tuple):
        return tuple(_rows(item, number) for item in result)
    if isinstance(result, Mapping):
        return type(result)(**{name: _rows(item, number) for name, item in result.items()})
    return result
