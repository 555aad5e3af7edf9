"""A training loop that can be killed at any moment and goes on where its last checkpoint was.

What a step trains on depends on the seed and the number of the step alone, so a run that was interrupted ends with the same weights as one
that was not (on the same machine with the same threads). The number of steps is fixed once, at the start, from the minutes that the part
has and the time that a step takes; it is kept in the checkpoint.
"""

from __future__ import annotations

import copy
import csv
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench._files import replacing

Losses = Mapping[str, torch.Tensor | float]


@dataclass(kw_only=True)
class Part:
    """One network, or several that are trained together, and how."""

    name: str
    modules: nn.ModuleDict
    losses: Callable[[int, float], Losses]
    """(number of the step, share of the steps done) -> `loss`, which is minimised, and what else is worth a curve."""
    minutes: float
    """What this part may take; the number of steps follows from it."""
    most_steps: int
    learning_rate: float
    phases: tuple[float, ...] = (1.0,)
    """Shares of the steps that take different times: short clips first, longer ones later."""
    validate: Callable[[nn.ModuleDict], Mapping[str, float]] | None = None
    """Figures of the averaged weights on the validation split, ten times in a part."""
    average: float = 0.999
    """Of the exponential moving average of the weights, which is what is kept."""
    weight_decay: float = 0.01


@dataclass(kw_only=True)
class State:
    """What a checkpoint holds beside weights and optimiser."""

    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    """Spent on steps, over all interrupted runs."""
    pace: list[float] = field(default_factory=list)
    """Seconds of a step in each phase, as they were found before the first: what is left to do is told from them."""
    curve: list[dict[str, float]] = field(default_factory=list)
    changes: list[tuple[int, int]] = field(default_factory=list)
    """(step at which it happened, number of steps until then) of each change of `steps`: schedules are of the new number from there on."""

    def done(self, part: Part) -> float:
        """Share of the part's time that the steps until now should have taken."""
        share, reached, whole = self.step / self.steps, 0.0, 0.0
        starts = [0.0, *itertools.accumulate(part.phases)]
        for start, length, seconds in zip(starts, part.phases, self.pace, strict=False):
            whole += length * seconds
            reached += min(max(share - start, 0.0), length) * seconds
        return reached / whole


def say_now(line: str) -> None:
    """Prints a line at once, also into a file."""
    print(line, flush=True)


def train(
    part: Part,
    folder: Path,
    *,
    steps: int | None = None,
    checkpoint_s: float = 120.0,
    say: Callable[[str], None] = say_now,
) -> nn.ModuleDict:
    """Trains a part to its end, from its checkpoint in `folder` if there is one, and gives its averaged weights in evaluation mode.

    Args:
        steps: how many, instead of what `part.minutes` affords, or of how many it began with.
        checkpoint_s: seconds between checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part.name}.pt"
    averaged = copy.deepcopy(part.modules).requires_grad_(False).eval()
    optimiser = torch.optim.AdamW(
        part.modules.parameters(),
        part.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=part.weight_decay,
        fused=True,
    )
    state = _restored(path, part, averaged, optimiser)
    if not state.steps:
        state.pace = _step_seconds(part)
        each = sum(share * seconds for share, seconds in zip(part.phases, state.pace, strict=True))
        state.steps = steps or max(1, min(part.most_steps, int(part.minutes * 60 / each)))
        say(
            f"{part.name}: {each:.3f} s a step, {state.steps} steps, {state.steps * each / 60:.1f} of {part.minutes:g} min"
        )
    elif steps and steps != state.steps and state.step < min(steps, state.steps):
        say(f"{part.name}: goes on at step {state.step}, with {steps} steps instead of {state.steps}")
        state.changes.append((state.step, state.steps))
        state.steps = steps
    elif state.step < state.steps:
        say(f"{part.name}: goes on at step {state.step} of {state.steps}")
    else:
        say(f"{part.name}: done, {state.steps} steps in {state.seconds / 60:.1f} min")
        return averaged
    _run(part, state, averaged, optimiser, path, checkpoint_s, say)
    return averaged


def _run(
    part: Part,
    state: State,
    averaged: nn.ModuleDict,
    optimiser: torch.optim.Optimizer,
    path: Path,
    checkpoint_s: float,
    say: Callable[[str], None],
) -> None:
    """From `state.step` to `state.steps`."""
    part.modules.train()
    saved = spoken = time.perf_counter()
    seen: list[dict[str, float]] = []
    every, looks = max(1, state.steps // 200), max(1, state.steps // 10)
    while state.step < state.steps:
        started = time.perf_counter()
        seen.append(_step(part, state, averaged, optimiser))
        state.step += 1
        last = state.step == state.steps
        if state.step % every == 0 or last:
            row = {name: statistics.fmean(one[name] for one in seen) for name in seen[-1]}
            seen.clear()
            if part.validate and (state.step % looks < every or last):
                row |= part.validate(averaged)
            state.curve.append({"step": state.step, **row})
        now = time.perf_counter()
        state.seconds += now - started
        if state.curve and (now - spoken > 15 or last):
            spoken = now
            say(_line(part, state))
        if now - saved > checkpoint_s or last:
            _save(path, part, averaged, optimiser, state)
            saved = time.perf_counter()


def _step(
    part: Part, state: State, averaged: nn.ModuleDict, optimiser: torch.optim.Optimizer
) -> dict[str, float]:
    """One step of the optimiser and of the average; the figures that it was made with."""
    for group in optimiser.param_groups:
        group["lr"] = part.learning_rate * rate(state.step, state.steps)
    optimiser.zero_grad(set_to_none=True)
    losses = part.losses(state.step, state.step / state.steps)
    loss = losses["loss"]
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(part.modules.parameters(), 1.0)
    if not math.isfinite(float(norm)):
        raise RuntimeError(
            f"{part.name}: the gradient is not finite at step {state.step}; the last checkpoint is sound"
        )
    optimiser.step()
    decay = min(part.average, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for mean, new in zip(averaged.parameters(), part.modules.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)
    return {
        name: float(value.detach() if isinstance(value, torch.Tensor) else value)
        for name, value in losses.items()
    } | {"gradient": float(norm)}


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: up in a straight line over 3 % of the steps (at most 200), then a cosine down to 2 %."""
    warm = max(1, min(200, int(0.03 * steps)))
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _step_seconds(part: Part) -> list[float]:
    """Seconds of a step in each phase: median of a few forward and backward passes after one to warm up; the weights stay as they are."""

    def timed(progress: float) -> float:
        taken = []
        for number in range(4):
            started = time.perf_counter()
            loss = part.losses(number, progress)["loss"]
            assert isinstance(loss, torch.Tensor)
            loss.backward()
            taken.append(time.perf_counter() - started)
        part.modules.zero_grad(set_to_none=True)
        return statistics.median(taken[1:])

    part.modules.train()
    ends = itertools.accumulate(part.phases)
    # a twentieth for the optimiser, the average, the looks at the validation split and the checkpoints
    return [1.05 * timed(end - share / 2) for share, end in zip(part.phases, ends, strict=True)]


def _line(part: Part, state: State) -> str:
    each = state.seconds / state.step
    shown = "  ".join(f"{name} {value:.4g}" for name, value in state.curve[-1].items() if name != "step")
    done = state.done(part)
    left = state.seconds * (1 - done) / done / 60
    return f"{part.name} {state.step}/{state.steps}  {shown}  {each:.2f} s/step  {left:.1f} min left"


def _save(
    path: Path, part: Part, averaged: nn.ModuleDict, optimiser: torch.optim.Optimizer, state: State
) -> None:
    """Checkpoint and curve, each complete or not at all."""
    held = {
        "modules": part.modules.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "state": vars(state),
    }
    with replacing(path) as temporary:
        torch.save(held, temporary)
    names = list(dict.fromkeys(name for row in state.curve for name in row))
    with replacing(path.with_suffix(".csv")) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in state.curve)


def _restored(path: Path, part: Part, averaged: nn.ModuleDict, optimiser: torch.optim.Optimizer) -> State:
    if not path.exists():
        return State()
    held: dict[str, Any] = torch.load(path, weights_only=True)
    part.modules.load_state_dict(held["modules"])
    averaged.load_state_dict(held["averaged"])
    optimiser.load_state_dict(held["optimiser"])
    return State(**held["state"])
