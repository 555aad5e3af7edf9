"""diffusers' cache hooks, each able to tell in advance what it will do in the next call (`cost/_hookstates.py`).

An enabled hook is given one of these classes in place of its own; what it computes stays diffusers' code. Three things differ:

- pyramid attention broadcast and FasterCache keep one state per hook. Pipelines that compute the two branches of guidance in two calls
  would read the conditional branch's attention in the unconditional call; here each branch has a state, as the other caches have.
- the timestep comes from the context of the call (`_contexts.py`) as a number, so that no hook waits for the GPU to look at it.
- first-block cache looks at data. Without data it skips evenly, at a stated rate.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.hooks.faster_cache import (
    FasterCacheBlockHook,
    FasterCacheBlockState,
    FasterCacheDenoiserHook,
    FasterCacheDenoiserState,
)
from diffusers.hooks.first_block_cache import FBCHeadBlockHook
from diffusers.hooks.hooks import ModelHook, StateManager
from diffusers.hooks.mag_cache import MagCacheBlockHook, MagCacheConfig, MagCacheHeadHook
from diffusers.hooks.pyramid_attention_broadcast import (
    PyramidAttentionBroadcastHook,
    PyramidAttentionBroadcastState,
)
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheHook
from torch import Tensor

from workbench.cost._hookstates import Outlook
from workbench.cost._looks import finding


class Clock:
    """The timestep of the call, as the hooks of a denoiser see it."""

    __slots__ = ("states",)  # no dictionary: it is no part of a module's structure (cost/_signature.py)

    def __init__(self) -> None:
        self.states: StateManager | None = None

    def __call__(self) -> float:
        assert self.states is not None
        timestep: float = self.states.context.timestep
        return timestep


class Tally:
    """What a data-dependent cache decided in real runs."""

    __slots__ = ("asked", "skipped")

    def __init__(self) -> None:
        self.asked = self.skipped = 0


def skips(number: int, rate: float) -> bool:
    """Whether the decision of this number (from 0) is to skip, where `rate` of all decisions are, evenly spread."""
    slack = 1e-9  # 0.3 * 10 is a little less than 3
    return math.floor((number + 1) * rate + slack) > math.floor(number * rate + slack)


class FirstBlock(FBCHeadBlockHook):
    """Counts its decisions; without data, takes them by a rate."""

    rate: float
    weightless: bool
    tally: Tally

    def _should_compute_remaining_blocks(self, hidden_states_residual: Tensor) -> bool:
        state = self.state_manager.get_state()
        if state.head_block_residual is None:
            return True
        if self.weightless:
            number = vars(state).setdefault("asked", 0)
            state.asked = number + 1
            with finding(0.0 if skips(number, self.rate) else math.inf):
                return super()._should_compute_remaining_blocks(hidden_states_residual)
        computes = super()._should_compute_remaining_blocks(hidden_states_residual)
        self.tally.asked += 1
        self.tally.skipped += not computes
        return computes

    def outlook(self, state: Any) -> Outlook:
        """By the rate; the first call of a branch computes."""
        if state.head_block_residual is None:
            return Outlook("first", {"should_compute": True})
        number = vars(state).get("asked", 0)
        skipped = skips(number, self.rate)
        return Outlook(skipped, {"should_compute": not skipped, "asked": number + 1})


class TaylorSeer(TaylorSeerCacheHook):
    """By the number of the step."""

    def outlook(self, state: Any) -> Outlook:
        """The hook's own decision on a copy of its counters."""
        ahead = SimpleNamespace(current_step=state.current_step, last_update_step=state.last_update_step)
        asked = SimpleNamespace(**vars(self))
        asked.state_manager = SimpleNamespace(get_state=lambda: ahead)
        computes, _ = TaylorSeerCacheHook._measure_should_compute(asked)
        if computes:
            ahead.last_update_step = ahead.current_step
        return Outlook((computes, state.last_update_step is None), vars(ahead))


class Curve:
    """Magnitude ratios by step, for runs of any number of steps."""

    __slots__ = ("_fitted", "ratios", "states")  # no dictionary, as above: only what is decided by it matters

    def __init__(self, ratios: Iterable[float]) -> None:
        self.ratios = tuple(ratios)
        self.states: StateManager | None = None
        self._fitted: dict[int, list[float]] = {}

    @property
    def num_steps(self) -> int:
        """Of the run, as the context of the call says."""
        steps = self.states.context.num_inference_steps if self.states is not None else None
        return len(self.ratios) if steps is None else steps

    def fitted(self) -> list[float]:
        """The nearest ratio for each step, as numbers: a tensor would make the accumulated error one."""
        steps = self.num_steps
        if steps not in self._fitted:
            last, spread = len(self.ratios) - 1, max(1, steps - 1)
            self._fitted[steps] = [self.ratios[round(step * last / spread)] for step in range(steps)]
        return self._fitted[steps]


class RunMagCacheConfig(MagCacheConfig):
    """A MagCache configuration whose ratios fit the run's own number of steps, whatever it is."""

    def __init__(self, curve: Curve, **parameters: Any) -> None:
        self.__dict__.update(parameters, curve=curve, calibrate=False)

    @property
    def num_inference_steps(self) -> int:
        """Of the run."""
        return self.curve.num_steps

    @property
    def mag_ratios(self) -> list[float]:
        """One per step of the run."""
        return self.curve.fitted()


class MagCacheHead(MagCacheHeadHook):
    """By the accumulated error of published ratios."""

    def outlook(self, state: Any) -> Outlook:
        """The hook's own decision on a copy of its counters, with an empty tensor in place of the features, and the step that ends it."""
        ahead = copy.copy(state)
        if state.previous_residual is not None:
            ahead.previous_residual = torch.zeros(())
        asked = copy.copy(self)
        asked.state_manager = SimpleNamespace(_context=self.state_manager.context, get_state=lambda: ahead)
        asked.fn_ref = SimpleNamespace(original_forward=lambda *args, **kwargs: None)
        features = {
            self._metadata.hidden_states_argument_name: torch.zeros(()),
            "encoder_hidden_states": None,
        }
        asked.new_forward(None, **features)
        computes = ahead.should_compute
        MagCacheBlockHook(None, config=self.config)._advance_step(ahead)
        after = {name: value for name, value in vars(ahead).items() if isinstance(value, (bool, int, float))}
        return Outlook((computes, ahead.step_index == 0), after)


class _PerBranch(ModelHook):
    """One state for each branch of guidance."""

    states: StateManager
    state_class: type

    def branch(self) -> None:
        """Takes the place of the one state that the hook was registered with."""
        del self.__dict__["state"]
        self.states = StateManager(self.state_class)

    @property
    def state(self) -> Any:
        """That of the call's branch."""
        return self.states.get_state()

    def reset_state(self, module: Any) -> Any:
        """Forgets all of them."""
        self.states.reset()
        return module


class Broadcast(_PerBranch, PyramidAttentionBroadcastHook):
    """By the number of the call and its timestep."""

    state_class = PyramidAttentionBroadcastState

    def outlook(self, state: Any) -> Outlook:
        """The rule of `PyramidAttentionBroadcastHook.new_forward`."""
        low, high = self.timestep_skip_range
        computes = (
            state.cache is None
            or state.iteration % self.block_skip_range == 0
            or not low < self.current_timestep_callback() < high
        )
        return Outlook(computes, {"iteration": state.iteration + 1})


class FasterDenoiser(_PerBranch, FasterCacheDenoiserHook):
    """By the number of the call and its timestep."""

    state_class = FasterCacheDenoiserState

    def outlook(self, state: Any) -> Outlook:
        """The rule of `FasterCacheDenoiserHook.new_forward`."""
        low, high = self.unconditional_batch_timestep_skip_range
        guesses = (
            not self.is_guidance_distilled
            and state.iteration % self.unconditional_batch_skip_range != 0
            and low < self.current_timestep_callback() < high
        )
        return Outlook(guesses, {"iteration": state.iteration + 1})


class FasterBlock(_PerBranch, FasterCacheBlockHook):
    """By the number of the call and its timestep; in a call with both branches of guidance it computes whatever this says."""

    state_class = FasterCacheBlockState
    timestep_skip_range: tuple[float, float]

    def branch(self) -> None:
        """Also lets calls come to this class, which diffusers bound to its own."""
        super().branch()
        self.fn_ref.forward = functools.partial(self.new_forward, *self.fn_ref.forward.args)

    def new_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        """Computes where there is nothing to reuse: diffusers fails there, if the first timestep is within the range already."""
        if self.state.cache is not None:
            return super().new_forward(module, *args, **kwargs)
        within, self.timestep_skip_range = self.timestep_skip_range, (math.inf, -math.inf)
        try:
            return super().new_forward(module, *args, **kwargs)
        finally:
            self.timestep_skip_range = within

    def outlook(self, state: Any) -> Outlook:
        """The rule of `FasterCacheBlockHook.new_forward`, but for what the denoiser's hook decides."""
        low, high = self.timestep_skip_range
        due = state.cache is None or (state.iteration > 0 and state.iteration % self.block_skip_range == 0)
        reuses = not due and low < self.current_timestep_callback() < high
        return Outlook(reuses, {"iteration": state.iteration + 1})
