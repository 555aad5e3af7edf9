"""What the runs of one configuration say together: medians, spread, peaks, quality, and the prediction beside. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from workbench.measurement._measurement import MEANINGS
from workbench.measurement._session import number, text
from workbench.records._names import QUALITY

if TYPE_CHECKING:
    import xarray

SPREAD: Final = "lowest to highest of the runs that went well"
"""What `low` and `high` are. With a handful of runs there is no better measure of spread than all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A number that was measured several times."""

    median: float
    low: float
    """The lowest."""
    high: float
    """The highest."""

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread | None:
        """Of those that are there; None if there are none."""
        known = [value for value in values if value is not None]
        return cls(median=median(known), low=min(known), high=max(known)) if known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSummary:
    """One stage, predicted and measured; None where there is no such number."""

    name: str
    seconds: Spread | None
    predicted_s: float | None
    measured_bytes: int | None
    """The highest of the runs: live tensors beside the weights on the CPU, allocated with the weights on a GPU."""
    predicted_bytes: int | None
    """The same, predicted."""

    @property
    def time_ratio(self) -> float | None:
        """Measured over predicted."""
        return None if self.seconds is None else ratio(self.seconds.median, self.predicted_s)

    @property
    def bytes_ratio(self) -> float | None:
        """Measured over predicted."""
        return ratio(self.measured_bytes, self.predicted_bytes)

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return {**asdict(self), "time_ratio": self.time_ratio, "bytes_ratio": self.bytes_ratio}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One configuration."""

    name: str
    settings: Mapping[str, Any] = field(hash=False)
    profile: str
    status: str
    """`ok` if every run went well, else how the first one that did not ended."""
    error: str
    process: str
    """`fresh` or `caller`, as in a record."""
    num_runs: int
    """Those that went well."""
    total_s: Spread | None
    """Seconds of a call."""
    warmup_s: float | None
    """Of all warm-up calls together, in the process that measured first."""
    load_s: float | None
    stages: tuple[StageSummary, ...]
    memory: Mapping[str, int] = field(hash=False)
    """Bytes, the highest of all runs, named as in `MEANINGS`."""
    predicted: Mapping[str, Any] | None = field(hash=False)
    """`Cost.to_json`; None where nothing was predicted, and then `report` says why."""
    quality: Mapping[str, Any] | None = field(hash=False)
    """Figures named as in a record, None where one is missing; None altogether where there is no clip to compare, or for the baseline."""
    quality_absent: tuple[str, ...]
    """Why figures are missing."""
    clip: Path | None
    """Bytes [F, H, W, 3], `numpy.load` reads them."""
    video: Path | None
    """The same as an mp4."""
    report: tuple[str, ...]
    """What applying did and did not do, and what else the reader must know."""

    @property
    def predicted_s(self) -> float | None:
        """Seconds of a call, predicted."""
        return None if self.predicted is None else float(self.predicted["time"]["total_s"])

    @property
    def time_ratio(self) -> float | None:
        """Measured over predicted."""
        return None if self.total_s is None else ratio(self.total_s.median, self.predicted_s)

    def to_json(self) -> dict[str, Any]:
        """One JSON object; its keys are a contract."""
        quality = None if self.quality is None else _plain(self.quality)
        return {
            "name": self.name,
            "settings": dict(self.settings),
            "profile": self.profile or None,
            "status": self.status,
            "error": self.error,
            "process": self.process,
            "runs": self.num_runs,
            "total_s": None if self.total_s is None else asdict(self.total_s),
            "warmup_s": self.warmup_s,
            "load_s": self.load_s,
            "stages": [stage.to_json() for stage in self.stages],
            "memory": dict(self.memory),
            "predicted": self.predicted,
            "time_ratio": self.time_ratio,
            "quality": quality,
            "quality_absent": list(self.quality_absent),
            "clip": None if self.clip is None else str(self.clip),
            "video": None if self.video is None else str(self.video),
            "report": list(self.report),
        }


def summary(name: str, rows: Sequence[xarray.Dataset], clip_of: Callable[[Any], Path | None]) -> Measured:
    """The summary of one configuration's rows, at least one.

    Args:
        clip_of: the file of a row's clip, None if there is none.
    """
    good = [row for row in rows if text(row, "status") == "ok"]
    bad = next((row for row in rows if text(row, "status") != "ok"), None)
    first = rows[0]
    clip = next((path for row in good if (path := clip_of(row)) is not None), None)
    video = None if clip is None else clip.with_suffix(".mp4")
    compared = next((row for row in good if text(row, "reference")), None)
    prediction = next((said for row in rows if (said := text(row, "prediction"))), "")
    return Measured(
        name=name,
        settings=json.loads(text(first, "settings") or "{}"),
        profile=text(first, "profile"),
        status="ok" if bad is None else text(bad, "status"),
        error="" if bad is None else text(bad, "error"),
        process=text(first, "process"),
        num_runs=len(good),
        total_s=Spread.of([number(row, "total_s") for row in good]),
        warmup_s=number(first, "warmup_s") if number(first, "warmup_calls") else None,
        load_s=number(first, "load_s"),
        stages=_stages(rows, good),
        memory=_memory(rows),
        predicted=json.loads(prediction) if prediction else None,
        quality=None if compared is None else {key: number(compared, key) for key in QUALITY},
        quality_absent=()
        if compared is None
        else tuple(json.loads(text(compared, "quality_absent") or "[]")),
        clip=clip,
        video=video if video is not None and video.is_file() else None,
        report=_report(rows),
    )


def ratio(measured: float | None, predicted: float | None) -> float | None:
    """Measured over predicted, None where one is missing."""
    return measured / predicted if measured is not None and predicted else None


def _stages(rows: Sequence[xarray.Dataset], good: Sequence[xarray.Dataset]) -> tuple[StageSummary, ...]:
    on_gpu = any(number(row, "allocated_peak_bytes") is not None for row in rows)
    measured, predicted = (
        ("stage_allocated_peak_bytes", "predicted_stage_allocated_bytes")
        if on_gpu
        else ("stage_tensors_peak_bytes", "predicted_stage_activations_bytes")
    )
    names = dict.fromkeys(str(name) for row in rows for name in row["stage"].values)
    found = []
    for name in names:
        at = [row.sel(stage=name) for row in rows if name in row["stage"].values]
        sound = [row.sel(stage=name) for row in good if name in row["stage"].values]
        summed = StageSummary(
            name=name,
            seconds=Spread.of([number(row, "stage_s") for row in sound]),
            predicted_s=_highest(at, "predicted_stage_s"),
            measured_bytes=_whole(_highest(at, measured)),
            predicted_bytes=_whole(_highest(at, predicted)),
        )
        if summed.seconds or summed.predicted_s or summed.measured_bytes:
            found.append(summed)
    return tuple(found)


def _memory(rows: Sequence[xarray.Dataset]) -> dict[str, int]:
    highest = {name: _whole(_highest(rows, name)) for name in MEANINGS}
    return {name: value for name, value in highest.items() if value is not None}


def _highest(rows: Sequence[xarray.Dataset], name: str) -> float | None:
    return max((value for row in rows if (value := number(row, name)) is not None), default=None)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _report(rows: Sequence[xarray.Dataset]) -> tuple[str, ...]:
    """Every sentence once, in order."""
    return tuple(
        dict.fromkeys(sentence for row in rows for sentence in json.loads(text(row, "report") or "[]"))
    )


def _plain(figures: Mapping[str, float | None]) -> dict[str, Any]:
    """JSON has no infinity: the PSNR of equal clips is the word `"inf"`."""
    return {name: "inf" if value == float("inf") else value for name, value in figures.items()}
