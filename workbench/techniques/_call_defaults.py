"""Other defaults for a pipeline's call: what a profile sets, a caller may still overrule."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from workbench.techniques._technique import Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def call_with(pipe: DiffusionPipeline, sentence: str, **defaults: Any) -> Handle:
    """Gives the pipeline a class of the same name whose call has these defaults.

    A class, because Python looks `__call__` up on the class; the handle puts the pipeline's own back.
    """
    kind = type(pipe)
    positional = tuple(inspect.signature(kind.__call__).parameters)[1:]

    @functools.wraps(kind.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        for name, value in defaults.items():
            if name not in positional[: len(args)]:
                kwargs.setdefault(name, value)
        return kind.__call__(self, *args, **kwargs)

    pipe.__class__ = type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
    handle = Handle()
    handle.did(sentence, lambda: setattr(pipe, "__class__", kind))
    return handle
