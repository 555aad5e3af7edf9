"""Pareto fronts of priced candidates."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.search._result import Candidate

EQUALLY_FAST = 0.02
"""Part of a time by which two candidates are not told apart: no prediction is closer than that."""


def front(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those that fit and that no other one beats in both time and caution, fastest first.

    Of candidates that are equally fast the one of least caution is kept, and of these the one that needs least host RAM: nothing is given
    up for nothing.
    """
    left = sorted((c for c in candidates if c.cost.fits), key=lambda c: c.order)
    kept: list[Candidate] = []
    while left:
        slowest = left[0].cost.total_s * (1 + EQUALLY_FAST)
        equal = [c for c in left if c.cost.total_s <= slowest]
        kept.append(min(equal, key=lambda c: (c.caution, c.cost.host_ram_bytes, c.order)))
        left = [c for c in left if c.caution < kept[-1].caution]
    return tuple(kept)
