"""Tells the cache hooks of a denoiser about the call that is made, where its pipeline does not.

diffusers' hooks keep a state per named context, which the pipeline opens around each call (`cache_context`). Not every pipeline does, and
none passes the timestep as a number. So the context is completed around each call (`_around.py`), one that a rehearsal replays too.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

from diffusers.hooks.hooks import CacheContext, StateManager

from workbench._errors import SettingsError


class Teller:
    """Knows of one denoiser's calls what its hooks want to be told."""

    __slots__ = (
        "_calls",
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
        self._calls: dict[
            str, tuple[weakref.ref[Any], int]
        ] = {}  # by branch: its state, and calls since that was made

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
        is_first = not self.managers[0]._state_cache  # later a pipeline may let the scale vary
        if self.wants_guidance and is_first and self.pipe.guidance_scale <= 1:
            raise SettingsError(
                "cache fastercache guesses the unconditional half of guidance, and this run has none: guidance_scale is at most 1"
            )
        more: dict[str, Any] = {}
        if given.num_inference_steps is None:
            more["num_inference_steps"] = getattr(self.pipe, "num_timesteps", None)
        if self.wants_timestep and given.timestep is None:
            more["timestep"] = float(self.pipe.current_timestep)
        return dataclasses.replace(given, **more) if more else given

    def call(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call, in its context."""
        given, context = self.managers[0]._context, self.context()
        for manager in self.managers:
            manager.set_context(context)
        try:
            return run(*args, **kwargs)
        finally:
            for manager in self.managers:
                manager.set_context(given)
            self._forget_at_the_end(context)

    def _forget_at_the_end(self, context: CacheContext) -> None:
        """Drops what a branch keeps after its last step: the pipeline would keep it until the video is decoded."""
        name = context.name
        state = self.managers[0]._state_cache.get(name)
        if state is None:
            return
        seen, count = self._calls.get(name, (None, 0))
        count = count + 1 if seen is not None and seen() is state else 1
        self._calls[name] = weakref.ref(state), count
        if count == context.num_inference_steps:
            for manager in self.managers:
                manager._state_cache.pop(name, None)
