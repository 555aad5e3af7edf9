"""From rows to the dataset, the records, and how well records of single techniques foretell combinations. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray
from cases import CURVE, EXACT, FIT, HELD_OUT, OTHER_SEED, REFERENCE, ROW

from workbench.models import Workload
from workbench.quality import Loss, QualityRecords, predicted, single_part
from workbench.quality import Row as Measured
from workbench.records._names import SCHEMA_VERSION, TYPE, VARIABLES, attributes
from workbench.techniques import Settings

PROVENANCE = "measured on the miniature"
_QUALITY = (
    "psnr_db",
    "ssim",
    "ms_ssim",
    "vmaf",
    "lpips",
    "variation",
    "variation_difference",
    "temporal_error",
    "seam",
)
_READ = tuple(f"{word}_{label}" for word in ("right", "same") for label in ("colour", "shape", "direction"))

Rows = Sequence[Mapping[str, Any]]


def workload_of(row: Mapping[str, Any]) -> Workload:
    """What the un-optimised run of a row makes."""
    return Workload.for_model("miniature", frames=row["frames"], steps=row["steps"])


def loss_of(row: Mapping[str, Any]) -> Loss:
    """Measured distances by clip, as the model of quality has them."""
    return Loss(
        mse=tuple(0.0 if line["psnr_db"] == "inf" else 10 ** (-line["psnr_db"] / 10) for line in row["scenes"]),
        dssim=tuple(max(0.0, 1.0 - line["ssim"]) for line in row["scenes"]),
        provenance=PROVENANCE,
        source="",
    )  # fmt: skip


def records_of(rows: Rows, about: Mapping[str, Any] | None = None) -> QualityRecords:
    """Records of the fitting set; rows of combinations are not looked at.

    Raises:
        ValueError: no run of another seed is among the rows, without which nothing says where distances end.
    """
    done = [row for row in rows if row["status"] == "ok"]
    other = next((row for row in done if row["offset"] == OTHER_SEED), None)
    if other is None:
        raise ValueError("there is no run of another seed among the rows")
    unrelated = loss_of(other)
    measured = []
    for row in done:
        if row["use"] != FIT or any("changed nothing" in sentence for sentence in row["report"]):
            continue
        part = single_part(Settings.parse(row["settings"]), ROW, workload_of(row))
        if part is not None:
            loss = loss_of(row)
            measured.append(Measured(part=part, mse=loss.mse, dssim=loss.dssim))
    count, first = len(other["scenes"]), done[0]
    size = f"{ROW.defaults.frames} frames of {ROW.defaults.height} x {ROW.defaults.width}"
    return QualityRecords.of(
        measured,
        provenance=PROVENANCE,
        source=f"studies/miniature_quality: {count} scenes of moving shapes, {size}",
        scenes=tuple(line["scene"] for line in other["scenes"]),
        unrelated_mse=unrelated.mse,
        unrelated_dssim=unrelated.dssim,
        about={
            "created_at": first["created_at"],
            "commit": first["commit"],
            "versions": first["versions"],
            **(about or {}),
        },
    )


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One combination: what single techniques foretell, and what was measured."""

    settings: Mapping[str, Any]
    predicted_psnr_db: float
    psnr_db: float
    predicted_ssim: float
    ssim: float


def held_out(rows: Rows, records: QualityRecords) -> tuple[list[HeldOut], list[str]]:
    """Combinations that can be compared, and a sentence for each that cannot."""
    found, missing = [], []
    for row in rows:
        if row["use"] != HELD_OUT:
            continue
        name = json.dumps(row["settings"])
        if row["status"] != "ok":
            missing.append(f"{name} failed: {row['error']}")
            continue
        loss = predicted(Settings.parse(row["settings"]), ROW, workload_of(row), records)
        told = None if loss is None else loss.distance()
        measured = loss_of(row).distance()
        if told is None or measured is None:
            missing.append(f"{name}: {'no record of a part' if told is None else 'nothing changed'}")
            continue
        found.append(
            HeldOut(
                settings=row["settings"],
                predicted_psnr_db=told.psnr_db,
                psnr_db=measured.psnr_db,
                predicted_ssim=told.ssim,
                ssim=measured.ssim,
            )
        )
    return found, missing


def score(found: Sequence[HeldOut]) -> dict[str, float]:
    """Rank correlations and middle errors over the held-out combinations; NaN without any."""
    if not found:
        nan = float("nan")
        return {
            "combinations": 0,
            **dict.fromkeys(("psnr_rank_correlation", "ssim_rank_correlation", "ssim_median_abs_error"), nan),
            **dict.fromkeys(("psnr_median_abs_error_db", "psnr_median_error_db"), nan),
        }
    psnr = np.array([[one.predicted_psnr_db, one.psnr_db] for one in found])
    ssim = np.array([[one.predicted_ssim, one.ssim] for one in found])
    return {
        "combinations": len(found),
        "psnr_rank_correlation": rank_correlation(psnr[:, 0], psnr[:, 1]),
        "ssim_rank_correlation": rank_correlation(ssim[:, 0], ssim[:, 1]),
        "psnr_median_abs_error_db": float(np.median(np.abs(psnr[:, 0] - psnr[:, 1]))),
        "psnr_median_error_db": float(np.median(psnr[:, 0] - psnr[:, 1])),
        "ssim_median_abs_error": float(np.median(np.abs(ssim[:, 0] - ssim[:, 1]))),
    }


def other_scenes(rows: Rows) -> dict[str, float]:
    """The same score where records see every second scene only and combinations are those of the others."""
    odd, even = _only(rows, 1), _only(rows, 0)
    found, _ = held_out(even, records_of(odd))
    return score(found)


def _only(rows: Rows, first: int) -> list[dict[str, Any]]:
    return [{**row, "scenes": row["scenes"][first::2]} for row in rows]


def rank_correlation(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Spearman's: the correlation of ranks, equal values sharing the mean of theirs. NaN where one side does not vary."""
    if len(one) < 2:
        return float("nan")
    first, second = _ranks(one), _ranks(other)
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (ends - (counts - 1) / 2)[place]
    return ranks


def dataset(rows: Rows) -> xarray.Dataset:
    """One trial per case and scene, names and units as in `records/schema.md`; what only this study has is named in its README."""
    lines: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
        (row, line) for row in rows for line in (row["scenes"] or [{}])
    ]
    native = ROW.defaults
    text = {
        "model": lambda row, line: "miniature",
        "prompt": lambda row, line: line.get("prompt", ""),
        "settings": lambda row, line: json.dumps(row["settings"], sort_keys=True),
        "status": lambda row, line: row["status"],
        "error": lambda row, line: row["error"],
        "created_at": lambda row, line: row["created_at"],
        "use": lambda row, line: row["use"],
        "scene": lambda row, line: line.get("scene", ""),
        "scene_kind": lambda row, line: line.get("kind", ""),
    }
    numbers = {
        "frames": lambda row, line: row["frames"],
        "height": lambda row, line: native.height,
        "width": lambda row, line: native.width,
        "steps": lambda row, line: row["steps"],
        "batch": lambda row, line: 1,
        "fps": lambda row, line: native.fps,
        "guidance": lambda row, line: native.guidance,
        "seed": lambda row, line: line["seed"] + row["offset"] if line else None,
        **{name: _figure(name) for name in (*_QUALITY, "feature_distance", *_READ)},
    }
    variables = {
        name: ("trial", np.array([read(*one) for one in lines], dtype=object), _named(name))
        for name, read in text.items()
    } | {
        name: ("trial", np.array([_number(read(*one)) for one in lines]), _named(name))
        for name, read in numbers.items()
    }
    trials = np.array([f"{row['id']}/{line.get('scene', 'failed')}" for row, line in lines], dtype=object)
    attributes = {
        "type": TYPE,
        "schema_version": SCHEMA_VERSION,
        "versions": json.dumps(rows[0]["versions"]),
        "commit": rows[0]["commit"],
    }
    no_stage = np.array([], dtype=object)
    return xarray.Dataset(variables, coords={"trial": trials, "stage": no_stage}, attrs=attributes)


def _figure(name: str) -> Any:
    return lambda row, line: line.get(name)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _named(name: str) -> dict[str, str]:
    return attributes(name) if name in VARIABLES else {"long_name": name.replace("_", " ")}


def middle(row: Mapping[str, Any], name: str) -> float:
    """The median over scenes of one figure of a row; infinite PSNR counts as such."""
    return float(np.median([float(line[name]) for line in row["scenes"]]))


def share(row: Mapping[str, Any], word: str) -> float:
    """Share of readings of colour, shape and direction that are `right`, or the `same` as before."""
    return float(np.mean([line[name] for line in row["scenes"] for name in _READ if name.startswith(word)]))


def chosen(rows: Rows, use: str | Iterable[str]) -> list[Mapping[str, Any]]:
    """Rows that ended well, of these uses."""
    uses = {use} if isinstance(use, str) else set(use)
    return [row for row in rows if row["use"] in uses and row["status"] == "ok"]


ORDER = (REFERENCE, EXACT, FIT, CURVE, HELD_OUT)
