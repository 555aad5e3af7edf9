"""What a person sees while a pipeline runs: small objects, the default of which shows nothing."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench._units import format_seconds
from workbench.measurement._pace import Expected, Pace

if TYPE_CHECKING:
    from rich.console import Console


class AbstractProgress(abc.ABC):
    """Told about a run as it goes. Every method returns at once and never fails a run."""

    def expect(self, stages: Mapping[str, Expected]) -> None:  # noqa: B027 - an object that shows no times needs none
        """What is predicted of each stage, in order; called before `start`, if there is a prediction."""

    def beat(self) -> None:  # noqa: B027 - most have nothing to do
        """A component of the pipeline is called: the run goes on."""

    @abc.abstractmethod
    def start(self, title: str, num_steps: int, expected_s: float | None) -> None:
        """A run begins.

        Args:
            num_steps: denoising steps.
            expected_s: the predicted seconds; None when there is no prediction.
        """

    @abc.abstractmethod
    def stage(self, name: str) -> None:
        """A stage begins."""

    @abc.abstractmethod
    def step(self, done: int) -> None:
        """So many denoising steps are done."""

    @abc.abstractmethod
    def close(self, *, well: bool) -> None:
        """The run is over, well or not; called in any case."""


class NoProgress(AbstractProgress):
    """Shows nothing."""

    def start(self, title: str, num_steps: int, expected_s: float | None) -> None:
        """Nothing."""

    def stage(self, name: str) -> None:
        """Nothing."""

    def step(self, done: int) -> None:
        """Nothing."""

    def close(self, *, well: bool) -> None:
        """Nothing."""


class RichProgress(AbstractProgress):
    """A bar over the denoising steps and the decode, with the stage beside it, the time that is left, and a word if the run is slow or
    hung (`_pace.py` has the rule)."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            SpinnerColumn,
            Task,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.text import Text

        def outlook() -> str:
            return "" if self._pace is None else str(self._pace.outlook())

        class OutlookColumn(ProgressColumn):
            """Asks anew at each refresh: that a run hangs is seen while nothing happens."""

            def render(self, task: Task) -> Text:
                return Text("" if task.finished else outlook())

        self._num_steps = 0
        self._expected: Mapping[str, Expected] = {}
        self._pace: Pace | None = None
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]} steps, {task.fields[stage]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[expected]}"),
            OutlookColumn(),
            # on stderr, so that --json on stdout stays one object
            console=Console(stderr=True) if console is None else console,
        )
        self._task = self._bar.add_task("", steps="", stage="", expected="", start=False, visible=False)

    def expect(self, stages: Mapping[str, Expected]) -> None:
        """Keeps it for the time that is left."""
        self._expected = stages

    def beat(self) -> None:
        """The run goes on."""
        if self._pace is not None:
            self._pace.beat()

    def start(self, title: str, num_steps: int, expected_s: float | None) -> None:
        """Shows the bar."""
        self._num_steps = num_steps
        self._pace = Pace(self._expected, num_steps)
        expected = "" if expected_s is None else f"of about {format_seconds(expected_s)}"
        # one more than the steps: the decode comes after them, and a bar that is full would stop its clock
        self._bar.update(
            self._task,
            description=title,
            total=num_steps + 1,
            steps=f"0/{num_steps}",
            stage="starting",
            expected=expected,
            visible=True,
        )
        self._bar.start_task(self._task)
        self._bar.start()

    def stage(self, name: str) -> None:
        """Shows the stage."""
        if self._pace is not None:
            self._pace.stage(name)
        self._bar.update(self._task, stage=name)

    def step(self, done: int) -> None:
        """Moves the bar."""
        if self._pace is not None:
            self._pace.step()
        self._bar.update(self._task, completed=done, steps=f"{done}/{self._num_steps}")

    def close(self, *, well: bool) -> None:
        """Leaves the bar, full if all went well, and gives the terminal back."""
        self._pace = None
        if well:
            self._bar.update(self._task, completed=self._num_steps + 1, stage="done")
        else:
            self._bar.update(self._task, stage="failed")
        self._bar.stop()
