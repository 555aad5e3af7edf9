"""Pareto fronts of priced candidates."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.search._result import Candidate


def front(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those that fit and that no other one beats in both time and caution, fastest first.

    Times within a thousandth count as equal; of candidates equal in both the one that needs less host RAM is kept.
    """
    fitting = sorted(
        (c for c in candidates if c.cost.fits),
        key=lambda c: (c.time_rank, c.caution, c.cost.host_ram_bytes, c.order),
    )
    kept: list[Candidate] = []
    least: float = float("inf")
    for candidate in fitting:
        if candidate.caution < least:
            kept.append(candidate)
            least = candidate.caution
    return tuple(kept)
