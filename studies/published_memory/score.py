"""What is predicted for an expressed row, and how far it is from what was published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from express import Expressed
from published import Published

from workbench._units import gib
from workbench.cost import Cost
from workbench.cost.margin import kind_of, known
from workbench.cost.price import required_vram_bytes

SIZES_GB = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 80)
"""What cards are sold with."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """GiB over the stages that were measured."""

    allocated: float
    reserved: float
    device: float
    """Reserved and the context: what nvidia-smi shows."""
    required: float
    """`device`, what the desktop holds, and the margin that a plan leaves, from the residuals of all other rows."""
    margin: float
    """The margin as a part of the prediction, of the allocated peak's kind."""
    weights: float
    """Most weights on the card."""
    stage: str
    """Where the allocated peak is."""
    binds: str


def predicted(expressed: Expressed, cost: Cost, name: str = "") -> Predicted:
    """The prediction for the stages that the source measured; the margin is one that the row of that name had no part in."""
    stages = [
        stage
        for stage in cost.price.stages
        if stage.name not in expressed.without and (not expressed.only or stage.name in expressed.only)
    ]
    peak = max(stages, key=lambda stage: stage.peak_allocated_bytes)
    reserved = max(stage.peak_reserved_bytes for stage in stages)
    device = reserved + cost.device.context_bytes
    others = known().without(name)
    return Predicted(
        allocated=gib(peak.peak_allocated_bytes),
        reserved=gib(reserved),
        device=gib(device),
        required=gib(required_vram_bytes(stages, cost.device, others)),
        margin=others.margin(kind_of(peak.name)).fraction,
        weights=gib(max(stage.weights_bytes for stage in stages)),
        stage=peak.name,
        binds=peak.binds,
    )


def error(figure: Published, found: Predicted) -> float:
    """(predicted - published) / published; for a range or a bound the distance to its nearer end, 0 inside.

    A source that does not say what it measured may mean any of the quantities from allocated to device-level: the error is the distance
    to the nearer end of theirs, 0 in between.
    """
    low, high = quantity(figure.metric, found)
    if figure.high is not None and low > figure.high:
        return (low - figure.high) / figure.high
    if figure.low is not None and high < figure.low:
        return (high - figure.low) / figure.low
    return 0.0


def quantity(metric: str, found: Predicted) -> tuple[float, float]:
    """What is compared with a metric: the same quantity, as (low, high)."""
    if metric == "unstated":
        return found.allocated, found.device
    value = float(getattr(found, metric))
    return value, value


def fit_statements(figure: Published, found: Predicted) -> list[tuple[float, bool, bool]]:
    """(GB, fits by what is published, fits by what is predicted) for every size of card from half to twice the figure.

    Like is compared with like: the published quantity with the same predicted one; an unstated one with the device-level one.
    """
    metric = "device" if figure.metric == "unstated" else figure.metric
    ours = quantity(metric, found)[0]
    middle = figure.value or figure.high or figure.low or 0.0
    statements = []
    for size in SIZES_GB:
        if not middle / 2 <= size <= middle * 2:
            continue
        if figure.high is not None and figure.high <= size:
            statements.append((size, True, ours <= size))
        elif figure.low is not None and figure.low > size:
            statements.append((size, False, ours <= size))
    return [(float(size), theirs, mine) for size, theirs, mine in statements]


def summary(errors: Iterable[float]) -> dict[str, Any]:
    """Number, median and worst of the errors' sizes, and the share within 4 %."""
    sizes: Sequence[float] = sorted(abs(value) for value in errors)
    if not sizes:
        return {"rows": 0, "median": None, "worst": None, "within": None}
    within = sum(value <= 0.04 for value in sizes) / len(sizes)
    return {"rows": len(sizes), "median": median(sizes), "worst": sizes[-1], "within": within}
