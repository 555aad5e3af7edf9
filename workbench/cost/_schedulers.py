"""Lets a recorder see the steps of schedulers as calls, so that a step that was seen before is replayed.

A scheduler's step is a dozen kernels on latents and a hundred pieces of arithmetic with noise levels. Pipelines that keep one scheduler
per frame (diffusion forcing) make twenty-five equal steps at a time, and a run that differs in its autoencoder's dtype makes all of them
again. Steps are equal if everything that the scheduler holds is: latents by layout, noise levels and timesteps by value.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Hashable, Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor

from workbench.cost._hookstates import Holder, HookState
from workbench.cost._memo import Frame
from workbench.cost._recorder import Recorder

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_CONFIG = "_internal_dict"
"""Attribute in which diffusers keeps a scheduler's configuration."""


@contextlib.contextmanager
def steps_watched(recorder: Recorder, pipe: DiffusionPipeline) -> Iterator[None]:
    """Reports every step of a pipeline's scheduler, and of its copies, to the recorder while the context lasts."""
    kind: Any = type(getattr(pipe, "scheduler", None))
    step = getattr(kind, "step", None)
    if step is None or recorder.memo is None:
        yield
        return
    configurations: dict[int, tuple[Any, str]] = {}

    @functools.wraps(step)
    def watched(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        state = HookState(Holder("", scheduler, "", ""), _Held(scheduler), None)
        config = vars(scheduler).get(_CONFIG)
        known = configurations.setdefault(id(config), (config, ""))
        if not known[1]:  # the configuration is kept with its text so that its id stays its own
            known = configurations[id(config)] = (config, repr(config))
        with torch._C._DisableTorchDispatch():
            values = (
                known[1],
                *_values(args),
                *_values(kwargs.values()),
                *_values(state.remembered().values()),
            )
        frame = Frame(
            functools.partial(step, scheduler),
            f"{kind.__name__}.step",
            None,
            "scheduler",
            args,
            kwargs,
            states=(state,),
            values=values,
        )
        del args, kwargs, state  # the frame alone holds what the step may let go of
        return recorder.call(frame)

    with mock.patch.object(kind, "step", watched):
        yield


class _Held(MutableMapping[str, Any]):
    """All that a scheduler holds but for its configuration, live; a step may add to it."""

    def __init__(self, scheduler: Any) -> None:
        self._fields = vars(scheduler)

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._fields[name] = value

    def __delitem__(self, name: str) -> None:
        del self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in tuple(self._fields) if name != _CONFIG)

    def __len__(self) -> int:
        return len(self._fields) - (_CONFIG in self._fields)

    def clear(self) -> None:
        for name in self:
            del self._fields[name]


def _values(held: Iterable[Any]) -> Iterator[Hashable]:
    """What tables of noise levels and timesteps hold, as bytes. Of latents, of which a small clip's have data, nothing is decided by."""
    for value in held:
        if isinstance(value, Tensor) and not value.is_meta and value.dim() <= 1:
            yield value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        elif isinstance(value, (list, tuple)):
            yield from _values(value)
