"""Makes the record of one run from the JSON of its measurement, names and units as in `schema.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError
from workbench._units import from_gib
from workbench.records._names import (
    HARNESS,
    QUALITY,
    SCHEMA_VERSION,
    TYPE,
    VARIABLES,
    attributes,
    stage_order,
)

if TYPE_CHECKING:
    import xarray

STATUSES: Final = ("ok", "out_of_memory", "timed_out", "failed")
"""How a run can end."""

_WORKLOAD: Final = ("model", "frames", "height", "width", "steps", "batch", "fps", "guidance", "guidance_2")
_NOT_NETCDF: Final = (bool, dict, list, tuple, type(None))


def build(run: Mapping[str, Any]) -> xarray.Dataset:
    """The record of one run.

    Args:
        run: the JSON of a measurement (`Measurement.to_json`): `id`, `status`, `created_at`, `workload`, `settings`, `measured`,
            `predicted` (`Cost.to_json`, or None), `harness` (how it was run: names of `HARNESS`), `quality` (`Quality.to_json`) and what
            else is known. What is absent is absent in the record.

    Raises:
        InputError: the status is none of `STATUSES`.
    """
    import xarray

    if run["status"] not in STATUSES:
        raise InputError(f"status of a run must be one of {', '.join(STATUSES)}, got {run['status']!r}")
    predicted = run.get("predicted")
    stages = stage_order(frozenset(_by_stage(run["measured"])) | frozenset(_predicted_stages(predicted)))
    values = {
        **_asked(run),
        **_measured(run["measured"], stages),
        **_predicted(predicted, stages),
        **{name: (run.get("harness") or {}).get(name) for name in HARNESS},
        **_quality(run.get("quality")),
    }
    return xarray.Dataset(
        _variables(values), coords=_coordinates([run["id"]], stages), attrs=_file_attributes(run)
    )


def with_quality(record: xarray.Dataset, quality: Mapping[str, Any], reference: str) -> xarray.Dataset:
    """The record of one run with how its clip differs from a reference's.

    Args:
        quality: `Quality.to_json`.
        reference: id of the run that the reference is of.
    """
    return record.assign(_variables({**_quality(quality), "reference": reference}))


def _variables(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is there, as xarray takes it."""
    return {
        name: (VARIABLES[name].dims, _cells(value, VARIABLES[name].dims), attributes(name))
        for name, value in values.items()
        if value is not None
    }


def _quality(quality: Mapping[str, Any] | None) -> dict[str, Any]:
    """Figures of a comparison; `"inf"`, JSON's word for the PSNR of equal clips, is infinite again."""
    if quality is None:
        return {}
    figures = {name: quality.get(name) for name in QUALITY}
    plain = {name: float(value) for name, value in figures.items() if value is not None}
    return {**plain, "quality_absent": json.dumps(list(quality.get("absent", ())))}


def _coordinates(trials: Sequence[str], stages: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    return {"trial": np.array(trials, dtype=object), "stage": np.array(stages, dtype=object)}


def _cells(value: Any, dims: tuple[str, ...]) -> Any:
    import numpy as np

    row = value if "stage" in dims else [value]
    text = any(isinstance(cell, str) for cell in row)
    cells = np.array(row, dtype=object if text else np.float64)
    return cells[None, :] if "stage" in dims else cells


def _file_attributes(run: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: run.get(name) for name in ("versions", "device", "report", "commit")}
    return {
        "type": TYPE,
        "schema_version": SCHEMA_VERSION,
        **{name: attribute(value) for name, value in given.items() if value is not None},
    }


def attribute(value: Any) -> Any:
    """The value as NetCDF can hold it: what it has no type for becomes JSON text."""
    return json.dumps(value, sort_keys=True) if isinstance(value, _NOT_NETCDF) else value


def _asked(run: Mapping[str, Any]) -> dict[str, Any]:
    workload = run.get("workload") or {}
    return {
        **{name: workload.get(name) for name in _WORKLOAD},
        "seed": run.get("seed"),
        "prompt": run.get("prompt"),
        "settings": json.dumps(run.get("settings") or {}, sort_keys=True),
        "profile": run.get("profile") or "",
        "status": run["status"],
        "error": run.get("error") or "",
        "created_at": run["created_at"],
    }


def _by_stage(measured: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {stage["name"]: stage for stage in measured["stages"]}


def _measured(measured: Mapping[str, Any], stages: Sequence[str]) -> dict[str, Any]:
    by_stage = _by_stage(measured)
    rows = [by_stage.get(name, {}) for name in stages]
    memory_names = sorted({name for row in rows for name in row.get("memory", {})})
    nan = float("nan")
    return {
        "total_s": measured["total_s"],
        "load_s": measured.get("load_s"),
        **measured["memory"],
        "stage_s": [row.get("seconds", nan) for row in rows],
        "stage_num_calls": [row.get("num_calls", nan if row else 0) for row in rows],
        **{f"stage_{name}": [row.get("memory", {}).get(name, nan) for row in rows] for name in memory_names},
    }


def _predicted_stages(predicted: Mapping[str, Any] | None) -> dict[str, dict[str, float]]:
    """Numbers of each predicted stage under their names in a record."""
    if predicted is None:
        return {}
    stages: dict[str, dict[str, float]] = {}
    for row in predicted["memory"]["stages"]:
        stages[row["name"]] = {
            "predicted_stage_weights_bytes": from_gib(row["weights_gib"]),
            "predicted_stage_activations_bytes": from_gib(row["activations_gib"]),
            "predicted_stage_allocated_bytes": from_gib(row["peak_allocated_gib"]),
        }
    for row in predicted["time"]["stages"]:
        stages.setdefault(row["name"], {})["predicted_stage_s"] = row["seconds"]
    return stages


def _predicted(predicted: Mapping[str, Any] | None, stages: Sequence[str]) -> dict[str, Any]:
    if predicted is None:
        return {"prediction": ""}
    memory, time = predicted["memory"], predicted["time"]
    by_stage = _predicted_stages(predicted)
    names = sorted({name for row in by_stage.values() for name in row})
    return {
        "prediction": json.dumps(predicted, sort_keys=True),
        "predicted_total_s": time["total_s"],
        "predicted_low_s": time["low_s"],
        "predicted_high_s": time["high_s"],
        "predicted_allocated_bytes": from_gib(memory["peak_allocated_gib"]),
        "predicted_reserved_bytes": from_gib(memory["peak_reserved_gib"]),
        "predicted_required_vram_bytes": from_gib(memory["required_vram_gib"]),
        "predicted_host_ram_bytes": from_gib(memory["host_ram_gib"]),
        **{name: [by_stage.get(stage, {}).get(name, float("nan")) for stage in stages] for name in names},
    }
