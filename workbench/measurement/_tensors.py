"""Counts the bytes in live tensors during a real run, op by op, with the instrument that predictions are made with. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from workbench.cost._recorder import Recorder
from workbench.cost._trace import ALLOC, BLOCK_BYTES, FREE, round_up
from workbench.cost.calllog import stage_of
from workbench.measurement._stages import calls_reported

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

STEPS: Final = 4
"""Denoising steps that are counted at most: by then a multistep solver (of order 3 at most) holds all that it will ever hold."""


def count(
    pipe: DiffusionPipeline, kwargs: Mapping[str, Any], num_steps: int
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Counts in one more call of the pipeline.

    Args:
        num_steps: denoising steps of the run that was measured.

    Returns:
        The most bytes in live tensors beside the weights, by stage; and a sentence if they could not be counted: a run that went
        well must not be lost for that.
    """
    recorder = Recorder(hollow=False)
    borders: list[tuple[int, str]] = []

    def called(component: str, call: str) -> None:
        borders.append((len(recorder.events), stage_of(component, call)))

    try:
        with calls_reported(pipe, called), recorder:
            pipe(**{**kwargs, "num_inference_steps": min(STEPS, num_steps)})
    except (
        RuntimeError,
        TypeError,
    ) as error:  # an op that no dispatch mode may see; NotImplementedError is a RuntimeError
        return {}, (f"live tensors were not counted: {type(error).__name__}: {error}",)
    return peaks(recorder.events, borders), ()


def peaks(events: Sequence[tuple[Any, ...]], borders: Sequence[tuple[int, str]]) -> dict[str, int]:
    """The most bytes alive in each stage, each storage rounded up as a prediction rounds it.

    Args:
        events: of a `Trace`, without calls that are traces of their own.
        borders: (position in the events, stage) of each call of a component. What comes before the first belongs to its stage.
    """
    highest: dict[str, int] = {}
    sizes: dict[int, int] = {}
    live, passed = 0, 0
    for position, event in enumerate(events):
        while passed < len(borders) and borders[passed][0] <= position:
            passed += 1
        if event[0] == ALLOC:
            sizes[event[1]] = round_up(event[2], BLOCK_BYTES)
            live += sizes[event[1]]
        elif event[0] == FREE:
            live -= sizes.pop(event[1], 0)
        if borders:
            stage = borders[max(passed, 1) - 1][1]
            highest[stage] = max(highest.get(stage, 0), live)
    return highest
