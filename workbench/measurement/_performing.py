"""Warm-up calls, then measured ones, of one pipeline under one configuration: what a fresh process does, and what is done in this one.

Touches the clock and the GPU.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.measurement._calling import kwargs_of
from workbench.measurement._job import Job, Take
from workbench.measurement._measurement import Measurement, RunError
from workbench.measurement._progress import AbstractProgress
from workbench.measurement._run import run_once

if TYPE_CHECKING:
    import numpy as np
    from diffusers import DiffusionPipeline

WARM_UP, RUN, COUNTING = "warm-up", "run", "counting tensors"
"""The kinds of calls, as people are told them."""

Began = Callable[[str, int, int], None]
"""Told before each call: its kind, its number from 1, and how many of the kind there are."""
Ran = Callable[[Measurement, float, "np.ndarray[Any, Any] | None"], None]
"""Told after each measured call, and of a call that failed: the measurement, the seconds of the warm-up calls before, the clip as bytes
[F, H, W, 3] (None after a failure)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """How often the pipeline is called."""

    warmup: int = 0
    """Calls before the measured ones; their times are in no record but as a sum."""
    repeats: int = 1
    """Measured calls."""
    count_tensors: bool = True
    """On the CPU: once more with few steps, to count the bytes in live tensors."""


def perform(
    pipe: DiffusionPipeline,
    job: Job,
    take: Take,
    calls: Calls,
    *,
    load_s: float | None,
    report: Callable[[], Sequence[str]],
    progress: AbstractProgress,
    began: Began,
    ran: Ran,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Calls the pipeline as often as asked, with the same seed, and stops at the first call that fails.

    Before each call the GPU's cached blocks are given back, so that what a call reserves is its own and not that of the call before.

    Args:
        load_s: seconds of loading and applying; None when the pipeline was there already.
        report: what applying says; asked after each call, since some of it is known only then.

    Returns:
        The bytes of live tensors by stage, {} where they were not counted; and sentences on why not.
    """

    def whole(measured: Measurement) -> Measurement:
        return dataclasses.replace(
            measured,
            workload=dataclasses.replace(job.workload, steps=job.steps),
            settings=job.settings.to_json(),
            prompt=take.prompt,
            seed=take.seed,
            load_s=load_s,
            report=(*job.notes, *report(), *measured.report),
        )

    warmup_s, steps = 0.0, job.steps
    for number in range(calls.warmup + calls.repeats):
        warming = number < calls.warmup
        _at_rest()
        began(
            WARM_UP if warming else RUN,
            number + 1 if warming else number - calls.warmup + 1,
            calls.warmup if warming else calls.repeats,
        )
        try:
            measured, output = run_once(pipe, kwargs_of(job, take, pipe), progress=progress)
        except RunError as error:
            failed = whole(error.measurement)
            if warming:
                failed = dataclasses.replace(failed, error=f"in warm-up call {number + 1}: {failed.error}")
            ran(failed, warmup_s, None)
            return {}, ()
        if warming:
            warmup_s += measured.total_s
        else:
            ran(whole(measured), warmup_s, _bytes_of(output))
        del output
    return _counted(pipe, job, take, steps, began) if calls.count_tensors and calls.repeats else ({}, ())


def _at_rest() -> None:
    """Nothing of an earlier call is held any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _bytes_of(output: Any) -> np.ndarray[Any, Any]:
    from workbench.measurement._video import to_uint8

    return to_uint8(output.frames[0])


def _counted(
    pipe: DiffusionPipeline, job: Job, take: Take, num_steps: int, began: Began
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Live tensors by stage on the CPU; a GPU's allocator counts itself."""
    import torch

    if torch.cuda.is_available():
        return {}, ()
    from workbench.measurement._run import quiet
    from workbench.measurement._tensors import count

    began(COUNTING, 1, 1)
    with quiet(pipe):
        return count(pipe, kwargs_of(job, take, pipe), num_steps)
