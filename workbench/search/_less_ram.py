"""What a plan would be in a machine with less host RAM: said where nobody has said how much there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench._units import GIB, format_seconds
from workbench.search._words import describe_settings

if TYPE_CHECKING:
    from workbench.search._result import Candidate, Plan

SIZES_GIB = (16, 32, 64, 128)
"""Host RAM that machines have."""
MOST_LINES = 2
"""The sizes just below what the plan needs; the smaller ones are asked for with `ram_gb`."""


def sizes_below(best: Candidate) -> tuple[int, ...]:
    """Sizes in GiB that the plan does not fit into, the largest first."""
    return tuple(size for size in reversed(SIZES_GIB) if size * GIB < best.cost.host_ram_bytes)[:MOST_LINES]


def less_ram_lines(plan: Plan) -> tuple[str, ...]:
    """One sentence for each size."""
    return tuple(_line(size, candidate) for size, candidate in plan.less_ram)


def _line(size: int, candidate: Candidate | None) -> str:
    if candidate is None:
        return f"with {size} GiB: nothing fits"
    cost = candidate.cost
    return f"with {size} GiB: {format_seconds(cost.total_s)}, {describe_settings(cost.settings)}"
