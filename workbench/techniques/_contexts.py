"""Tells the cache hooks of a denoiser about the call that is made, where its pipeline does not.

diffusers' hooks keep a state per named context, which the pipeline opens around each call (`cache_context`). Not every pipeline does, and
none passes the timestep as a number. So the denoiser's class is replaced by one of the same name whose call completes the context first:
outside of what a rehearsal remembers, so that a call that is replayed has its context too.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from diffusers.hooks.hooks import CacheContext, StateManager

from workbench._errors import SettingsError

_TELLER = "_workbench_teller"


class Teller:
    """Knows of one denoiser's calls what its hooks want to be told."""

    __slots__ = (
        "_ordinal",
        "_step",
        "managers",
        "pipe",
        "wants_guidance",
        "wants_timestep",
    )  # no dictionary: it is no part of a module's structure (cost/_signature.py)

    def __init__(
        self,
        pipe: Any,
        managers: tuple[StateManager, ...],
        *,
        wants_timestep: bool = False,
        wants_guidance: bool = False,
    ) -> None:
        self.pipe = pipe
        self.managers = managers
        self.wants_timestep = wants_timestep
        """Whether the hooks look at the timestep; on a GPU that waits for it, once per call."""
        self.wants_guidance = wants_guidance
        """Whether the hooks need both branches of guidance in one call."""
        self._step: int | None = -1
        self._ordinal = 0

    def context(self) -> CacheContext:
        """Of the call that comes: what the pipeline says, completed.

        A pipeline that says nothing makes its calls of a step in a fixed order; the scheduler counts the steps.

        Raises:
            SettingsError: the hooks need both branches of guidance, and the run has one.
        """
        given: CacheContext | None = self.managers[0]._context
        if given is None:
            step = getattr(self.pipe.scheduler, "_step_index", -1)
            self._ordinal = 0 if step != self._step or step == -1 else self._ordinal + 1
            self._step = step
            given = CacheContext(f"call {self._ordinal} of a step")
        if self.wants_guidance and getattr(self.pipe, "do_classifier_free_guidance", True) is False:
            raise SettingsError(
                "cache fastercache guesses the unconditional half of guidance, and this run has none: guidance_scale is at most 1"
            )
        more: dict[str, Any] = {}
        if given.num_inference_steps is None:
            more["num_inference_steps"] = getattr(self.pipe, "num_timesteps", None)
        if self.wants_timestep and given.timestep is None:
            more["timestep"] = float(self.pipe.current_timestep)
        return dataclasses.replace(given, **more) if more else given


def tell(module: Any, teller: Teller) -> Callable[[], None]:
    """Lets `teller` complete the context of each call of a denoiser from now on; the result stops that."""
    kind: Any = type(module)
    object.__setattr__(module, _TELLER, teller)
    module.__class__ = _telling(kind)

    def undo() -> None:
        module.__class__ = kind
        delattr(module, _TELLER)

    return undo


@functools.cache
def _telling(kind: type) -> type:
    """A class like `kind`; one for all denoisers of that class, so that calls of equal ones count as equal."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        teller: Teller = vars(self)[_TELLER]
        given = teller.managers[0]._context
        context = teller.context()
        for manager in teller.managers:
            manager.set_context(context)
        try:
            return kind.__call__(self, *args, **kwargs)
        finally:
            for manager in teller.managers:
                manager.set_context(given)

    return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
