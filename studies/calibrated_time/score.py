"""How near predictions were: errors, pairs ranked right, and whether the machine was quiet enough to say. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

WORTH_RANKING = 1.1
"""Two cases are a pair to be ranked if one took this many times as long as the other."""
NOISY = 0.1
"""From this spread of repetitions on, a run says nothing of predictions: errors of this size are the machine's own."""


@dataclass(frozen=True, slots=True)
class Row:
    """One case."""

    name: str
    predicted_s: float
    low_s: float
    high_s: float
    measured_s: tuple[float, ...]
    """Every repetition."""

    @property
    def seconds(self) -> float:
        """Median of the repetitions."""
        return median(self.measured_s)

    @property
    def error(self) -> float:
        """Relative error of the prediction: 0.1 is 10 % too long."""
        return self.predicted_s / self.seconds - 1

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median of the repetitions."""
        return (max(self.measured_s) - min(self.measured_s)) / self.seconds

    @property
    def is_inside(self) -> bool:
        """Whether the measured time lies in the predicted band."""
        return self.low_s <= self.seconds <= self.high_s


@dataclass(frozen=True, slots=True)
class Score:
    """All cases together."""

    median_error: float
    worst_error: float
    num_pairs: int
    num_ranked: int
    num_inside: int
    num_cases: int
    spread: float
    """Median over the cases."""

    @property
    def is_noisy(self) -> bool:
        """Whether the machine was too unsteady for this to mean anything."""
        return self.spread > NOISY


def score(rows: Sequence[Row]) -> Score:
    """Scores the rows.

    Raises:
        ValueError: there are none.
    """
    if not rows:
        raise ValueError("there is no row to score")
    pairs = [
        (a, b)
        for a, b in itertools.combinations(rows, 2)
        if max(a.seconds, b.seconds) > WORTH_RANKING * min(a.seconds, b.seconds)
    ]
    errors = [abs(row.error) for row in rows]
    return Score(
        median_error=median(errors),
        worst_error=max(errors),
        num_pairs=len(pairs),
        num_ranked=sum((a.seconds < b.seconds) == (a.predicted_s < b.predicted_s) for a, b in pairs),
        num_inside=sum(row.is_inside for row in rows),
        num_cases=len(rows),
        spread=median(row.spread for row in rows),
    )
