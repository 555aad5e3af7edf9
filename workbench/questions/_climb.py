"""Finds the highest rung of a ladder on which something meets the limits, at as few rungs as it can: each new size costs a rehearsal.

Memory and time grow with size, so one bracket is enough: the highest rung that is known to do and the lowest that is not. On a new rung
only the settings that went furthest on others are tried. If one of them does, the rung does. If none does, the rung is given up for
now, and how far they are beyond the limits says where to look next; before the climb ends, everything is tried on the rung above the
one that it ends on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workbench._errors import RehearsalError, SettingsError
from workbench._estimate import Predictor
from workbench._plan import Limits
from workbench._store import Store
from workbench.devices import Device
from workbench.models import Workload
from workbench.questions._fastest import what_binds
from workbench.questions._ladder import Ladder
from workbench.questions._leanest import Press
from workbench.search import Candidate
from workbench.search.pins import Pins
from workbench.techniques import Settings

MANY_RUNGS = 64
"""Rungs after which a climb gives up: a bracket halves at least every other time, so no ladder needs as many."""
MOST_GROWTH = 4.0
"""Times the volume that one step up at most takes: a straight line through two small clips says little of a large one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """What is known of one size."""

    workload: Workload
    is_good: bool
    """Whether something meets the limits."""
    candidate: Candidate
    """What is furthest within the limits, or least beyond them, of what was tried: not the fastest."""
    excess: float
    """The largest share of a limit that it takes when memory is short: at most 1 for a good rung."""
    binds: str
    """What the nearest miss fails by: `memory`, `host RAM`, `time` or `quality`; `""` for a good rung."""
    is_sure: bool
    """False: only the settings that did best on other rungs were tried, and they did not do."""


class Climb:
    """One search for the highest good rung."""

    def __init__(
        self, ladder: Ladder, device: Device, limits: Limits, pins: Pins, tell: Callable[[str], None]
    ) -> None:
        self.ladder, self.device, self.limits, self.pins = ladder, device, limits, pins
        self.rungs: dict[int, Rung] = {}
        self.broken: dict[int, str] = {}
        """Sizes at which the pipeline's own code fails, with what it said: the model's limit, whatever the card."""
        self.store = Store()
        self._tell = tell
        self._champions: list[Settings] = []
        self._presses: dict[int, Press] = {}
        self._latest = 0
        self._alike = 0  # how many of the latest rungs were all good, or all bad

    def run(self) -> int | None:
        """The highest good rung, None if there is none; `rungs` then holds every rung that was looked at.

        Raises:
            RehearsalError: the pipeline fails at every size that was looked at.
        """
        last = self.ladder.last
        at = self.ladder.start if last is None else min(self.ladder.start, last)
        for _ in range(MANY_RUNGS):
            self._look(at, everything=not any(rung.is_sure for rung in self.rungs.values()))
            low, high = self._bracket()
            while high is not None and high == (self.ladder.first if low is None else low + 1):
                if high in self.broken and not self.rungs:
                    raise RehearsalError(self.broken[high])
                if high in self.broken or self.rungs[high].is_sure:
                    return low
                self._look(high, everything=True)
                low, high = self._bracket()
            if low is not None and low == last:
                return low
            at = self._next(low, high)
        return self._bracket()[0]

    def predictor(self, rung: int) -> Predictor:
        """What is known of a rung's workload."""
        return self._press(rung).predictor

    # --- one rung ---------------------------------------------------------------------------------------------------

    def _look(self, at: int, *, everything: bool) -> None:
        workload, press = self.ladder.at(at), self._press(at)
        self._tell(f"{workload.frames} frames of {workload.height} × {workload.width}")
        try:
            press.predictor.log(Settings())
        except RehearsalError as error:
            self.broken[at] = str(error)
            return
        tried = [] if everything else [s for s in self._champions if self._excess(at, s) is not None]
        is_all = not tried
        shown = press.leanest() if is_all else min(tried, key=press.excess)
        is_good = press.excess(shown) <= 1.0
        if shown not in self._champions:
            self._champions.append(shown)
        self._alike = self._alike + 1 if self.rungs and self.rungs[self._latest].is_good == is_good else 1
        self._latest = at
        candidate = press.price(shown)
        self.rungs[at] = Rung(
            workload=workload,
            is_good=is_good,
            candidate=candidate,
            excess=press.excess(shown),
            binds="" if is_good else what_binds(candidate, self.limits),
            is_sure=is_good or is_all,
        )

    def _excess(self, at: int, settings: Settings) -> float | None:
        try:
            return self._press(at).excess(settings)
        except SettingsError:  # chunks of as many frames as there are, for instance
            return None

    def _press(self, at: int) -> Press:
        if at not in self._presses:
            predictor = Predictor(self.ladder.at(at), self.store)
            self._presses[at] = Press(predictor, self.device, self.limits, self.pins)
        return self._presses[at]

    # --- where to look next -----------------------------------------------------------------------------------------

    def _bracket(self) -> tuple[int | None, int | None]:
        """(highest good rung, lowest bad one above it); None where there is none."""
        low = max((at for at, rung in self.rungs.items() if rung.is_good), default=None)
        bad = (*self.broken, *(at for at, rung in self.rungs.items() if not rung.is_good))
        return low, min((at for at in bad if low is None or at > low), default=None)

    def _next(self, low: int | None, high: int | None) -> int:
        last = self.ladder.last
        if high is None:
            assert low is not None
            grown = self._grown(low)
            return grown if last is None else min(grown, last)
        if low is None:
            return max(self.ladder.first, self.ladder.shrunk(high))
        if high in self.broken:
            return (low + high) // 2
        # of results that are all on one side of the crossing the line has learnt little: steps away from it double
        step = 1 << max(0, self._alike - 1)
        at = self._crossing(low, high)
        at = max(at, low + step) if self.rungs[self._latest].is_good else min(at, high - step)
        return min(max(at, low + 1), high - 1)

    def _grown(self, low: int) -> int:
        """Where a straight line through the two highest good rungs meets the limits, between twice and `MOST_GROWTH` times the volume."""
        below = max((at for at in self.rungs if at < low), default=None)
        least = self.ladder.grown(low)
        if below is None:
            return least
        return max(least, self._meeting(below, low, MOST_GROWTH * self.ladder.volume(low)))

    def _crossing(self, low: int, high: int) -> int:
        """The last rung on which the best settings of the good end would do, were their excess a straight line in the volume."""
        return self._meeting(low, high, self.ladder.volume(high))

    def _meeting(self, one: int, other: int, most: float) -> int:
        """The last rung of at most this volume on a straight line through two rungs that is within the limits."""
        settings = self.rungs[one].candidate.settings
        first, second = self.rungs[one].excess, self._excess(other, settings)
        if second is None:
            return (one + other) // 2
        start = self.ladder.volume(one)
        slope = (second - first) / (self.ladder.volume(other) - start)
        target = min(most, start + (1.0 - first) / slope) if slope > 0 else most
        at = one
        while self.ladder.volume(at + 1) <= target:
            at += 1
        return at
