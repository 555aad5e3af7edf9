"""What is predicted for a row, how far it is from what was published, and how well a ratio of two rows is met."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from configurations import Configuration

from workbench.cost import Cost

FITTED = ("diffusers-torchao", "A100", "CogVideoX-5b")
"""Rows of this source on this card with this model may be fitted: an efficiency that was says so beside its number. Every other row is
held out. Fixed before anything was fitted."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Seconds of the stages that were measured."""

    seconds: float
    low: float
    high: float
    by_kind: Mapping[str, float]


def predicted(row: Configuration, cost: Cost) -> Predicted:
    """The prediction for the stages that the source measured."""
    stages = [stage for stage in cost.price.stages if row.only is None or stage.name in row.only]
    kinds: dict[str, float] = {}
    for stage in stages:
        for kind, seconds in stage.by_kind_s.items():
            kinds[kind] = kinds.get(kind, 0.0) + seconds
    return Predicted(
        seconds=sum(stage.seconds for stage in stages),
        low=sum(stage.low_s for stage in stages),
        high=sum(stage.high_s for stage in stages),
        by_kind=kinds,
    )


def is_fitted(row: Mapping[str, str]) -> bool:
    """Whether a constant may be fitted to this row."""
    source, card, model = FITTED
    return source in row["src"] and card in row["hardware"] and row["model"] == model


def summary(errors: Iterable[float]) -> dict[str, float]:
    """Rows, median and worst of the errors' sizes, and the share within 20 %."""
    sizes = sorted(abs(error) for error in errors)
    if not sizes:
        return {"rows": 0}
    return {
        "rows": len(sizes),
        "median": median(sizes),
        "within": sum(size <= 0.2 for size in sizes) / len(sizes),
        "worst": sizes[-1],
    }


SAME_CARD = ("src", "hardware", "metric", "attn")
MAY_DIFFER = {
    "compiled or not": ("compile",),
    "quantised or not": ("quant",),
    "size": ("frames", "height", "width"),
    "cached or not": ("cache", "task"),
    "model": ("model", "cfg", "dtype", "steps"),
}
"""What a ratio is about -> the columns in which its two rows differ."""
SAME = ("model", "task", "frames", "height", "width", "steps", "quant", "compile", "cache", "offload")


def ratios(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pairs of rows of one source on one card that differ in one thing, with the published ratio of their times and the predicted one."""
    found = []
    for first, second in itertools.combinations(lines, 2):
        if any(first[name] != second[name] for name in SAME_CARD):
            continue
        differ = {name for name in SAME if first[name] != second[name]}
        about = next((what for what, names in MAY_DIFFER.items() if differ and differ <= set(names)), None)
        if about is None:
            continue
        published = float(second["published_s"]) / float(first["published_s"])
        ours = float(second["predicted_s"]) / float(first["predicted_s"])
        found.append(
            {
                "about": about,
                "first": first["id"],
                "second": second["id"],
                "published": published,
                "predicted": ours,
                "error": ours / published - 1,
            }
        )
    return found
