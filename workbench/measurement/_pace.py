"""How a run comes along: what is left of it, and whether it is slow or hung. Touches the clock.

The rule: until something was measured, a stage is expected to take what was predicted. From then on everything that is still to come is
expected at the pace so far (measured over predicted seconds of what is done), and a step at the median of the steps so far. A run is slow
if it is behind the prediction by more than `SLOW`. It is taken for hung if nothing has happened for `HUNG` times as long as anything
should take at its slowest: the longest step so far, or without one the predicted high bound at the pace so far; and never sooner than
`LEAST_S`, since the first call of anything loads kernels, and may compile them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from workbench._units import format_seconds
from workbench.cost import Cost

SLOW: Final = 1.5
"""Times the predicted seconds."""
HUNG: Final = 5.0
"""Times the longest that the next event should take."""
LEAST_S: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What is predicted of one stage."""

    seconds: float
    high_s: float


def expected(cost: Cost | None) -> dict[str, Expected]:
    """What a prediction says of each stage, in order; nothing without one."""
    stages = () if cost is None else cost.price.stages
    return {stage.name: Expected(seconds=stage.seconds, high_s=stage.high_s) for stage in stages}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """How a run comes along at one moment."""

    state: str
    """`on time`, `slow` (behind the prediction), `hung` (nothing happens) or `unknown` (nothing is known to compare with)."""
    left_s: float | None
    """Expected seconds to the end; None if unknown."""
    behind: float | None
    """Measured over predicted seconds so far; None if nothing can be compared yet."""
    quiet_s: float
    """Seconds since something last happened."""
    patience_s: float | None
    """Seconds without an event from which on it counts as hung; None if unknown."""

    def __str__(self) -> str:
        """For people: `"slow (2.1 times the predicted time), about 3 min left"`."""
        left = "" if self.left_s is None else f"about {format_seconds(self.left_s)} left"
        if self.state == "hung":
            assert self.patience_s is not None
            return f"hung? nothing for {format_seconds(self.quiet_s)}, at most {format_seconds(self.patience_s)} was to be expected"
        if self.state == "slow":
            return f"slow ({self.behind:.1f} times the predicted time), {left}".rstrip(", ")
        return left


class Pace:
    """Is told what happens, and says how the run comes along. Told by one thread, asked by another.

    Args:
        expected: by stage in the order in which they run; empty if there is no prediction.
        num_steps: denoising steps.
    """

    def __init__(
        self,
        expected: Mapping[str, Expected],
        num_steps: int,
        *,
        least_s: float = LEAST_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._expected = dict(expected)
        self._num_steps = num_steps
        self._least_s = least_s
        self._clock = clock
        self._lock = threading.Lock()
        self._began = self._since = self._last = self._stepped = clock()
        self._stage: str | None = None
        self._took: dict[str, float] = {}
        self._steps: list[float] = []

    def stage(self, name: str) -> None:
        """A stage begins."""
        with self._lock:
            now = self._happened()
            if self._stage is not None:
                self._took[self._stage] = self._took.get(self._stage, 0.0) + now - self._since
                self._since = now
            self._stage, self._stepped = name, now

    def step(self) -> None:
        """A denoising step is done."""
        with self._lock:
            now = self._happened()
            self._steps.append(now - self._stepped)
            self._stepped = now

    def beat(self) -> None:
        """Something else happened: a component was called."""
        with self._lock:
            self._happened()

    def outlook(self) -> Outlook:
        """How it comes along now."""
        with self._lock:
            now = self._clock()
            behind = self._behind(now)
            quiet, patience = now - self._last, self._patience()
            left = self._left(now, behind)
        if patience is not None and quiet > patience:
            state = "hung"
        elif behind is not None and behind > SLOW:
            state = "slow"
        else:
            state = "unknown" if left is None else "on time"
        return Outlook(state=state, left_s=left, behind=behind, quiet_s=quiet, patience_s=patience)

    def _happened(self) -> float:
        self._last = self._clock()
        return self._last

    @property
    def _denoises(self) -> bool:
        return self._stage is not None and self._stage.startswith("denoise")

    def _step_s(self) -> float | None:
        """Seconds of a step as predicted; both experts of a model that has two together make the steps."""
        stages = [one for name, one in self._expected.items() if name.startswith("denoise")]
        return sum(one.seconds for one in stages) / self._num_steps if stages and self._num_steps else None

    def _behind(self, now: float | None = None) -> float | None:
        """Measured over predicted seconds of what is done; with `now` also of the stage that runs, once it takes longer than predicted."""
        took, predicted = 0.0, 0.0
        for name, seconds in self._took.items():
            if name in self._expected and not name.startswith("denoise"):
                took, predicted = took + seconds, predicted + self._expected[name].seconds
        step_s = self._step_s()
        if step_s is not None:
            took, predicted = took + sum(self._steps), predicted + step_s * len(self._steps)
        running = self._expected.get(self._stage or "")
        if now is None or running is None or self._denoises:
            pass
        elif now - self._since > running.seconds:
            took, predicted = took + now - self._since, predicted + running.seconds
        return took / predicted if predicted > 0 else None

    def _patience(self) -> float | None:
        if self._denoises and len(self._steps) > 1:
            longest: float | None = max(self._steps)
        else:
            longest = self._longest(max(1.0, self._behind() or 1.0))
        return None if longest is None else max(HUNG * longest, self._least_s)

    def _longest(self, pace: float) -> float | None:
        """The longest that the next event should take, as predicted, at this pace."""
        running = self._expected.get(self._stage or next(iter(self._expected), ""))
        if running is None:
            return None
        events = self._num_steps if self._denoises and self._num_steps else 1
        return running.high_s / events * pace

    def _left(self, now: float, behind: float | None) -> float | None:
        if not self._expected or (self._stage is not None and self._stage not in self._expected):
            return None
        pace = behind or 1.0
        names = list(self._expected)
        begun = names.index(self._stage) + 1 if self._stage in names else 0
        later = sum(self._expected[name].seconds for name in names[begun:] if not name.startswith("denoise"))
        step_s = self._step_s()
        if self._steps:
            step_s = median(self._steps[1:] or self._steps)
        elif step_s is not None:
            step_s *= pace
        remaining = max(0, self._num_steps - len(self._steps))
        steps = 0.0 if step_s is None else step_s * remaining
        running = self._expected.get(self._stage or "")
        if self._denoises or running is None:
            here = -min(now - self._stepped, step_s or 0.0) if self._denoises and remaining else 0.0
        else:
            here = max(0.0, running.seconds * pace - (now - self._since))
        return max(0.0, here + steps + later * pace)
