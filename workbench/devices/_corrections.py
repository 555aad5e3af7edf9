"""What real jobs say of predicted times: by kind of stage, the factor between what was measured and what the rates alone predict. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from workbench._errors import InputError

MOST: Final = 2.0
"""A factor beyond this, or below its inverse, is no correction: something else is wrong. It stops there."""
LEAST_RUNS: Final = 3
"""So many runs of a kind of stage before it is corrected: of two, nobody can say which is the odd one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """Of one kind of stage."""

    factor: float
    """Median over the runs of measured / predicted seconds, within `MOST`."""
    num_runs: int
    spread: float
    """Median factor by which a run lies off that median; at least 1."""

    def __post_init__(self) -> None:
        numbers = (self.factor, self.spread)
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise InputError(f"a correction needs finite numbers, got {numbers!r}")
        if not 1 / MOST <= self.factor <= MOST or self.spread < 1 or self.num_runs < LEAST_RUNS:
            raise InputError(
                f"a correction has a factor between {1 / MOST:g} and {MOST:g}, a spread of at least 1 and at least {LEAST_RUNS} runs, "
                f"got {self.factor!r}, {self.spread!r} and {self.num_runs!r}"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"factor": self.factor, "num_runs": self.num_runs, "spread": self.spread}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Correction:
        """The inverse of `to_json`.

        Raises:
            InputError: it is no correction.
        """
        try:
            return cls(factor=data["factor"], num_runs=data["num_runs"], spread=data["spread"])
        except (KeyError, TypeError) as error:
            raise InputError(f"a correction needs factor, num_runs and spread, got {data!r}") from error


def kind_of(stage: str) -> str:
    """The kind of a stage: the two experts of a model denoise alike."""
    return "denoise" if stage.startswith("denoise") else stage


def corrections(rows: Iterable[Mapping[str, Any]], least: int = LEAST_RUNS) -> dict[str, Correction]:
    """The correction of each kind of stage that enough runs went through.

    Args:
        rows: `stage`, `predicted_s` by the rates alone, and `measured_s`, one for each stage of each run.
        least: runs that it takes.
    """
    ratios: dict[str, list[float]] = {}
    for row in rows:
        ratios.setdefault(kind_of(row["stage"]), []).append(row["measured_s"] / row["predicted_s"])
    return {kind: _of(found) for kind, found in ratios.items() if len(found) >= max(least, LEAST_RUNS)}


def _of(ratios: list[float]) -> Correction:
    middle = median(ratios)
    spread = math.exp(median(abs(math.log(ratio / middle)) for ratio in ratios))
    return Correction(factor=min(MOST, max(1 / MOST, middle)), num_runs=len(ratios), spread=spread)
