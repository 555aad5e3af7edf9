"""How good a front is against the exact one: hypervolume, the worst gap, and speed against recipes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Front = Sequence[tuple[float, int]]
"""(seconds, caution) of what a search has found, in any order."""


def fastest(front: Front, caution: int) -> float:
    """The least seconds at no more than this caution; infinite if there are none."""
    return min((seconds for seconds, careful in front if careful <= caution), default=math.inf)


def hypervolume(front: Front, reference: tuple[float, int]) -> float:
    """The area that a front dominates up to a reference point, in (natural logarithm of seconds) x caution: a tenth faster counts the same
    for short and for long runs."""
    worst_s, worst = reference
    area = 0.0
    for caution in range(worst):
        seconds = fastest(front, caution)
        if seconds < worst_s:
            area += math.log(worst_s / seconds)
    return area


def reference_of(*fronts: Front) -> tuple[float, int]:
    """Twice the slowest and one more than the most cautious of all fronts."""
    points = [point for front in fronts for point in front]
    return (2 * max(s for s, _ in points), 1 + max(c for _, c in points)) if points else (1.0, 1)


def ratio(front: Front, oracle: Front) -> float:
    """Hypervolume of a front as a part of the exact one's; 1 where nothing fits and none is claimed."""
    if not oracle:
        return 1.0 if not front else math.inf
    reference = reference_of(oracle)
    return hypervolume(front, reference) / hypervolume(oracle, reference)


def worst_gap(front: Front, oracle: Front) -> float:
    """By what part of its time the front's fastest is slower than the exact one's, at the caution where that is most."""
    return max((fastest(front, caution) / seconds - 1 for seconds, caution in oracle), default=0.0)


def geometric_mean(values: Iterable[float]) -> float:
    """Not a number if there are none."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan
