"""What is reached of a theoretical rate, by the size of the work: small tables of measured fractions, and how far predictions miss."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench._errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Fractions of a rate that one kind of op reaches: `seconds(size, width, rate) = fixed_s + size / (rate * fraction)`.

    Between points both coordinates are interpolated by their logarithms; outside the nearest point counts. One point is a constant.
    """

    sizes: tuple[float, ...]
    """Work of one op, ascending: FLOPs of a product, a convolution or an attention, bytes read and written of anything else."""
    widths: tuple[float, ...] = (1.0,)
    """The narrowest dimension of the op, ascending; one entry where it does not matter."""
    fractions: tuple[tuple[float, ...], ...]
    """Above 0 and at most 1: a row for each width, in it one for each size."""
    fixed_s: float = 0.0
    """Seconds that the op takes however small it is."""

    def __post_init__(self) -> None:
        for name, values in (("sizes", self.sizes), ("widths", self.widths)):
            ascending = all(a < b for a, b in itertools.pairwise(values))
            if not values or not ascending or not all(_is_number(v) and v > 0 for v in values):
                raise InputError(f"{name} of a table must be positive and ascending, got {values!r}")
        shape = (len(self.fractions), {len(row) for row in self.fractions})
        if shape != (len(self.widths), {len(self.sizes)}):
            raise InputError(
                f"fractions of a table must be {len(self.widths)} rows of {len(self.sizes)}, got {self.fractions!r}"
            )
        bad = [f for row in self.fractions for f in row if not _is_number(f) or not 0 < f <= 1]
        if bad:
            raise InputError(f"a fraction of a table must be above 0 and at most 1, got {bad[0]!r}")
        if not _is_number(self.fixed_s) or not 0 <= self.fixed_s < 1:
            raise InputError(f"fixed_s of a table must be seconds from 0 to below 1, got {self.fixed_s!r}")

    def fraction(self, size: float, width: float = 1.0) -> float:
        """What an op of this size and width reaches."""
        low, high, weight = _between(self.widths, width)
        i, j, share = _between(self.sizes, size)
        at_low = _mix(self.fractions[low][i], self.fractions[low][j], share)
        at_high = _mix(self.fractions[high][i], self.fractions[high][j], share)
        return _mix(at_low, at_high, weight)

    def seconds(self, size: float, width: float, rate: float) -> float:
        """Seconds of an op.

        Args:
            rate: the theoretical rate, in units of `size` per second.
        """
        return self.fixed_s + (size / (rate * self.fraction(size, width)) if size > 0 else 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "sizes": list(self.sizes),
            "widths": list(self.widths),
            "fractions": [list(row) for row in self.fractions],
            "fixed_s": self.fixed_s,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Table:
        """The inverse of `to_json`.

        Raises:
            InputError: it is no table.
        """
        try:
            return cls(
                sizes=tuple(data["sizes"]),
                widths=tuple(data["widths"]),
                fractions=tuple(tuple(row) for row in data["fractions"]),
                fixed_s=data["fixed_s"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"a table needs sizes, widths, fractions and fixed_s, got {data!r}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeBand:
    """How far a run may lie from its predicted time: within a factor `ratio`, in a share `coverage` of cases."""

    ratio: float
    """At least 1: the true time lies between expected / ratio and expected * ratio."""
    coverage: float
    """The share of new cases that this holds for, if they are like the ones looked at (split conformal prediction)."""
    num_checks: int
    """How many predicted and measured times it rests on."""

    def __post_init__(self) -> None:
        if not _is_number(self.ratio) or self.ratio < 1:
            raise InputError(f"ratio of a time band must be at least 1, got {self.ratio!r}")
        if not _is_number(self.coverage) or not 0 < self.coverage < 1:
            raise InputError(f"coverage of a time band must lie between 0 and 1, got {self.coverage!r}")

    @classmethod
    def of(cls, predicted: Sequence[float], measured: Sequence[float], coverage: float = 0.9) -> TimeBand:
        """The band from times that were predicted and then measured, none of which the prediction was fitted to.

        With n pairs the k-th smallest miss covers k / (n + 1) of new cases (Vovk et al., Algorithmic Learning in a Random World, 2005;
        Lei et al., arXiv 1604.04173). Where n is too small for `coverage`, the largest miss is taken and its smaller coverage stated.

        Raises:
            InputError: there are no pairs, or a time is not positive.
        """
        if not predicted or len(predicted) != len(measured) or min(*predicted, *measured) <= 0:
            raise InputError(
                f"a time band needs pairs of positive seconds, got {predicted!r} and {measured!r}"
            )
        misses = sorted(abs(math.log(m / p)) for p, m in zip(predicted, measured, strict=True))
        count = len(misses)
        rank = min(count, math.ceil((count + 1) * coverage - 1e-9))
        return cls(ratio=math.exp(misses[rank - 1]), coverage=rank / (count + 1), num_checks=count)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ratio": self.ratio, "coverage": self.coverage, "num_checks": self.num_checks}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TimeBand:
        """The inverse of `to_json`.

        Raises:
            InputError: it is no band.
        """
        try:
            return cls(ratio=data["ratio"], coverage=data["coverage"], num_checks=data["num_checks"])
        except (KeyError, TypeError) as error:
            raise InputError(f"a time band needs ratio, coverage and num_checks, got {data!r}") from error


def _between(points: tuple[float, ...], value: float) -> tuple[int, int, float]:
    """(index below, index above, share of the way by logarithm); the end twice where the value lies outside."""
    last = len(points) - 1
    if value <= points[0]:
        return 0, 0, 0.0
    if value >= points[last]:
        return last, last, 0.0
    above = bisect.bisect_right(points, value)
    below = above - 1
    return below, above, math.log(value / points[below]) / math.log(points[above] / points[below])


def _mix(first: float, second: float, share: float) -> float:
    """Between two fractions, by their logarithms."""
    return first if first == second else math.exp((1 - share) * math.log(first) + share * math.log(second))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
