"""What a person sees while processes of their own are measured: small objects, the default of which shows nothing."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from workbench._units import format_gib, format_seconds

if TYPE_CHECKING:
    from rich.console import Console

_HEARTBEAT_S: Final = 30.0
"""Where there is no terminal, a line at least this often: it tells slow from hung."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is known of a process at one moment."""

    title: str
    """The configuration, `"baseline"`."""
    phase: str
    """`"starting"`, `"loading"`, `"warm-up 1 of 1"`, `"run 2 of 3"` or `"counting tensors"`."""
    stage: str
    """As in a record; "" before the first."""
    step: int
    """Denoising steps that are done in this call."""
    num_steps: int
    elapsed_s: float
    """Since the process was started."""
    left_s: float | None
    """Until the process is done, as far as can be said."""
    rss_bytes: int | None
    """Resident memory of the process; None where it cannot be read."""
    gpu_bytes: int | None
    """What PyTorch holds of the GPU; None without one."""

    @property
    def words(self) -> str:
        """One line."""
        parts = [self.phase]
        if self.stage:
            steps = f" {self.step}/{self.num_steps}" if self.stage.startswith("denoise") else ""
            parts.append(self.stage + steps)
        parts.append(format_seconds(self.elapsed_s))
        if self.left_s is not None:
            parts.append(f"about {format_seconds(self.left_s)} left")
        if self.gpu_bytes:
            parts.append(f"GPU {format_gib(self.gpu_bytes)}")
        if self.rss_bytes:
            parts.append(f"RAM {format_gib(self.rss_bytes)}")
        return ", ".join(parts)


class AbstractWatch(abc.ABC):
    """Told several times a second how a process is doing. Every method returns at once and never fails a measurement."""

    @abc.abstractmethod
    def saw(self, seen: Seen) -> None:
        """The process at this moment."""

    @abc.abstractmethod
    def said(self, sentence: str) -> None:
        """Something to keep: a run is done, or has failed."""

    @abc.abstractmethod
    def close(self) -> None:
        """Nothing more comes; called in any case."""


class NoWatch(AbstractWatch):
    """Shows nothing."""

    def saw(self, seen: Seen) -> None:
        """Nothing."""

    def said(self, sentence: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class LineWatch(AbstractWatch):
    """A line on stderr whenever the phase or the stage changes, and every half minute: for logs and pipes."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, soft_wrap=True) if console is None else console
        self._before: tuple[str, str, str] | None = None
        self._printed_s = 0.0

    def saw(self, seen: Seen) -> None:
        """Prints what has changed."""
        now = (seen.title, seen.phase, seen.stage)
        if now != self._before or seen.elapsed_s - self._printed_s >= _HEARTBEAT_S:
            self._before, self._printed_s = now, seen.elapsed_s
            self._console.print(f"{seen.title}: {seen.words}", markup=False, highlight=False)

    def said(self, sentence: str) -> None:
        """Prints it."""
        self._console.print(sentence, markup=False, highlight=False)

    def close(self) -> None:
        """Nothing is open."""


class LiveWatch(AbstractWatch):
    """One line on a terminal that changes as the run goes, a bar over the steps in it; what is said stays above."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[words]}", markup=False),
            # on stderr, so that --json on stdout stays one object
            console=Console(stderr=True, highlight=False) if console is None else console,
            transient=True,
        )
        self._task = self._bar.add_task("", words="", total=1, visible=False)
        self._bar.start()

    def saw(self, seen: Seen) -> None:
        """Moves the bar."""
        # one more than the steps: the decode comes after them, and a bar that is full would look done
        self._bar.update(
            self._task,
            description=seen.title,
            total=seen.num_steps + 1,
            completed=seen.step,
            words=seen.words,
            visible=True,
        )

    def said(self, sentence: str) -> None:
        """Prints it above the bar."""
        self._bar.console.print(sentence, markup=False, highlight=False)

    def close(self) -> None:
        """Gives the terminal back."""
        self._bar.stop()


def watch_here() -> AbstractWatch:
    """A live line where stderr is a terminal, else plain lines."""
    from rich.console import Console

    return LiveWatch() if Console(stderr=True).is_terminal else LineWatch()
