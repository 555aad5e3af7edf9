"""Pareto fronts of what a search has priced."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from workbench.search._result import Candidate

EQUALLY_FAST = 0.02
"""Part of a time by which two candidates are not told apart: no prediction is closer than that."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(Generic[T]):
    """What something is compared by."""

    seconds: float
    caution: int
    host_ram_bytes: int
    order: tuple[Any, ...]
    """Decides between equals; the seconds first."""
    item: T


def undominated(rows: Iterable[Row[T]]) -> tuple[Row[T], ...]:
    """Those that no other one beats in both time and caution, fastest first.

    Of rows that are equally fast the one of least caution is kept, and of these the one that needs least host RAM: nothing is given up for
    nothing.
    """
    left = sorted(rows, key=lambda row: row.order)
    kept: list[Row[T]] = []
    while left:
        slowest = left[0].seconds * (1 + EQUALLY_FAST)
        equal = [row for row in left if row.seconds <= slowest]
        kept.append(min(equal, key=lambda row: (row.caution, row.host_ram_bytes, row.order)))
        left = [row for row in left if row.caution < kept[-1].caution]
    return tuple(kept)


def front(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those that fit and that no other one beats in both time and caution (`undominated`), fastest first."""
    rows = [
        Row(
            seconds=candidate.cost.total_s,
            caution=candidate.caution,
            host_ram_bytes=candidate.cost.host_ram_bytes,
            order=candidate.order,
            item=candidate,
        )
        for candidate in candidates
        if candidate.cost.fits
    ]
    return tuple(row.item for row in undominated(rows))
