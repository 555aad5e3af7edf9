"""What a person sees while a pipeline runs: small objects, the default of which shows nothing."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from workbench._units import format_seconds

if TYPE_CHECKING:
    from rich.console import Console


class AbstractProgress(abc.ABC):
    """Told about a run as it goes. Every method returns at once and never fails a run."""

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
    """A bar over the denoising steps and the decode, with the stage beside it; a clock that runs on tells slow from hung."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._num_steps = 0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]} steps, {task.fields[stage]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[expected]}"),
            # on stderr, so that --json on stdout stays one object
            console=Console(stderr=True) if console is None else console,
        )
        self._task = self._bar.add_task("", steps="", stage="", expected="", start=False, visible=False)

    def start(self, title: str, num_steps: int, expected_s: float | None) -> None:
        """Shows the bar."""
        self._num_steps = num_steps
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
        self._bar.update(self._task, stage=name)

    def step(self, done: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=done, steps=f"{done}/{self._num_steps}")

    def close(self, *, well: bool) -> None:
        """Leaves the bar, full if all went well, and gives the terminal back."""
        if well:
            self._bar.update(self._task, completed=self._num_steps + 1, stage="done")
        else:
            self._bar.update(self._task, stage="failed")
        self._bar.stop()
