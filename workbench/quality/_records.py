"""Records of distances: curves of single techniques, made from measured runs and kept as one JSON file. Touches the disk.

Distances are by clip: mean squared error as a share of the full range squared (PSNR is -10 log10 of it), and 1 - SSIM.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from workbench._errors import InputError
from workbench._files import replacing
from workbench.quality._parts import Part

FORMAT: Final = 1
SHIPPED: Final = Path(__file__).parent / "miniature.json"
"""What `studies/miniature_quality/run.py --install` writes; absent until the miniature was measured."""

_NEAR: Final = 2.0
"""How many times nearer to doing nothing than the nearest point a curve may be read, by a straight line to no loss."""
_TINY: Final = 1e-12
"""Below what a byte can show: clips that are equal."""


Ceiling = tuple[tuple[float, ...], tuple[float, ...]]
"""(mean squared error, 1 - SSIM) of unrelated clips, by clip."""


@dataclass(frozen=True, slots=True)
class Row:
    """The runs of one single technique, as measured: a distance per clip."""

    part: Part
    mse: tuple[float, ...]
    dssim: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """Distances by clip at one place of a curve."""

    away: float
    mse: tuple[float, ...]
    dssim: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """What one kind of change costs, by how far it goes."""

    key: str
    variant: float
    points: tuple[Point, ...]
    """By `away`, rising."""

    def at(self, away: float) -> Point | None:
        """Distances there: between two points by the power law through both, below the first in proportion, beyond the last None."""
        first, last = self.points[0], self.points[-1]
        if away > last.away * (1 + 1e-9) or away < first.away / _NEAR:
            return None
        if away <= first.away:
            share = away / first.away
            return Point(away, *(tuple(value * share for value in row) for row in (first.mse, first.dssim)))
        above = next(place for place, point in enumerate(self.points) if point.away >= away * (1 - 1e-9))
        low, high = self.points[above - 1], self.points[above]
        share = math.log(away / low.away) / math.log(high.away / low.away)
        return Point(away, _between(low.mse, high.mse, share), _between(low.dssim, high.dssim, share))


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityRecords:
    """All curves of one model, over the same clips."""

    provenance: str
    """`measured on the miniature` or `measured on this model`."""
    source: str
    """What was run, in words."""
    scenes: tuple[str, ...]
    """Names of the clips."""
    unrelated_mse: tuple[float, ...]
    """By clip: the distance of the un-optimised runs of two seeds, beyond which a clip is simply another one."""
    unrelated_dssim: tuple[float, ...]
    curves: tuple[Curve, ...]
    about: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """When and with what it was made, and how well held-out combinations were predicted."""

    @property
    def ceiling(self) -> Ceiling:
        """Where distances end, clip by clip."""
        return self.unrelated_mse, self.unrelated_dssim

    @classmethod
    def of(cls, rows: Iterable[Row], **known: Any) -> QualityRecords:
        """From measured runs. Two at one place of a curve count with their mean.

        Raises:
            InputError: a row's clips are not those that `scenes` names.
        """
        places: dict[tuple[str, float], dict[float, list[Row]]] = {}
        num_scenes = len(known["scenes"])
        for row in rows:
            if len(row.mse) != num_scenes or len(row.dssim) != num_scenes:
                raise InputError(
                    f"a record of {row.part.key} must have {num_scenes} clips, got {len(row.mse)} and {len(row.dssim)}"
                )
            curve = places.setdefault((row.part.key, row.part.variant), {})
            curve.setdefault(row.part.away, []).append(row)
        curves = [
            Curve(key, variant, tuple(_point(away, found) for away, found in sorted(points.items())))
            for (key, variant), points in sorted(places.items())
        ]
        return cls(curves=tuple(curves), **known)

    def read(self, part: Part) -> Point | None:
        """Distances of one change; None if nothing near it was measured."""
        for key in (part.key, part.otherwise):
            curves = [curve for curve in self.curves if curve.key == key] if key else []
            if curves:
                return min(curves, key=lambda curve: abs(curve.variant - part.variant)).at(part.away)
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of `from_json`."""
        return {
            "format": FORMAT,
            "provenance": self.provenance,
            "source": self.source,
            "about": dict(self.about),
            "scenes": list(self.scenes),
            "unrelated": {"mse": _digits(self.unrelated_mse), "dssim": _digits(self.unrelated_dssim)},
            "curves": [
                {
                    "key": curve.key,
                    "variant": curve.variant,
                    "points": [
                        {"away": point.away, "mse": _digits(point.mse), "dssim": _digits(point.dssim)}
                        for point in curve.points
                    ],
                }
                for curve in self.curves
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> QualityRecords:
        """The inverse of `to_json`.

        Raises:
            InputError: no such object, or of another format.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise InputError(f"quality records must be a JSON object of format {FORMAT}")
        try:
            curves = [
                Curve(
                    row["key"],
                    row["variant"],
                    tuple(Point(p["away"], tuple(p["mse"]), tuple(p["dssim"])) for p in row["points"]),
                )
                for row in data["curves"]
            ]
            return cls(
                provenance=data["provenance"],
                source=data["source"],
                scenes=tuple(data["scenes"]),
                unrelated_mse=tuple(data["unrelated"]["mse"]),
                unrelated_dssim=tuple(data["unrelated"]["dssim"]),
                curves=tuple(curves),
                about=data["about"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"quality records lack or misuse {error}") from error


def save(records: QualityRecords, path: Path) -> None:
    """Writes records; the file appears complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(records.to_json(), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> QualityRecords:
    """Reads records.

    Raises:
        InputError: no file, or not one of records.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"quality records {str(path)!r} cannot be read: {error.strerror or error}"
        ) from error
    except ValueError as error:
        raise InputError(f"quality records {str(path)!r} are no JSON: {error}") from error
    return QualityRecords.from_json(data)


_USED: list[QualityRecords | None] = []
"""What stands in for the shipped records, last first."""


def shipped() -> QualityRecords | None:
    """The records of the miniature that every plan uses: those of the package, or what `use` put in their place; None if there are none."""
    return _USED[-1] if _USED else _packaged()


@functools.cache
def _packaged() -> QualityRecords | None:
    return load(SHIPPED) if SHIPPED.is_file() else None


@contextlib.contextmanager
def use(records: QualityRecords | None) -> Iterator[None]:
    """Other records in place of the shipped ones for a while; None means none at all."""
    _USED.append(records)
    try:
        yield
    finally:
        _USED.pop()


def _point(away: float, rows: Sequence[Row]) -> Point:
    return Point(away, _mean([row.mse for row in rows]), _mean([row.dssim for row in rows]))


def _mean(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(column) for column in zip(*rows, strict=True))


def _between(low: Sequence[float], high: Sequence[float], share: float) -> tuple[float, ...]:
    """The power law through two points, clip by clip; a straight line where one of them shows nothing, as a cache that has not hit yet."""
    return tuple(
        (1 - share) * one + share * other
        if min(one, other) < _TINY
        else math.exp((1 - share) * math.log(one) + share * math.log(other))
        for one, other in zip(low, high, strict=True)
    )


def _digits(values: Sequence[float]) -> list[float]:
    """Four digits: more is noise, and a shipped file is read by people too."""
    return [float(f"{value:.4g}") for value in values]
