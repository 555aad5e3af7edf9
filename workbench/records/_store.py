"""Keeps records as NetCDF files, one per run, and makes one dataset of many. Touches the disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench._errors import InputError
from workbench._files import replacing
from workbench.records._names import SCHEMA_VERSION, TYPE, VARIABLES, stage_order

if TYPE_CHECKING:
    import xarray


def save(record: xarray.Dataset, path: str | Path) -> Path:
    """Writes a record; the file appears complete or not at all.

    Raises:
        InputError: the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"cannot write the record {str(path)!r}: there is no folder {str(path.parent)!r}")
    with replacing(path) as temporary:
        record.to_netcdf(temporary, engine="netcdf4")
    return path


def load(path: str | Path) -> xarray.Dataset:
    """Reads a record into memory; the file is closed again.

    Raises:
        InputError: no file, no NetCDF, no record, or a newer schema.
    """
    import xarray

    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no record {str(path)!r}")
    try:
        record = xarray.load_dataset(path, engine="netcdf4")
    except (OSError, ValueError) as error:
        raise InputError(f"record {str(path)!r} is damaged: it cannot be read as NetCDF ({error})") from error
    if record.attrs.get("type") != TYPE:
        found = record.attrs.get("type")
        raise InputError(
            f"{str(path)!r} is not a record: its attribute 'type' must be {TYPE!r}, got {found!r}"
        )
    version = int(record.attrs["schema_version"])
    if version > SCHEMA_VERSION:
        raise InputError(
            f"record {str(path)!r} has schema version {version}; this workbench reads up to {SCHEMA_VERSION}: "
            "upgrade diffusion-workbench"
        )
    return record


def merge(records: Iterable[xarray.Dataset | str | Path]) -> xarray.Dataset:
    """One dataset of many records along `trial`, in the order given; a trial that comes twice is kept once.

    What a record lacks is NaN, or "" for text. An attribute that differs between records becomes a text variable along `trial`.

    Raises:
        InputError: no record is given, or a file is none.
    """
    import xarray

    datasets = [load(item) if isinstance(item, (str, Path)) else item for item in records]
    if not datasets:
        raise InputError("merge needs at least one record, got none")
    datasets = _without_repetitions(datasets)
    differing = _differing_attributes(datasets)
    lifted = [_lifted(dataset, differing) for dataset in datasets]
    stages = stage_order(frozenset(str(name) for dataset in lifted for name in dataset["stage"].values))
    merged = xarray.concat(
        [dataset.reindex(stage=list(stages)) for dataset in lifted],
        dim="trial",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="drop_conflicts",
    )
    return _with_empty_text(merged)


def _without_repetitions(datasets: Sequence[xarray.Dataset]) -> list[xarray.Dataset]:
    seen: set[str] = set()
    kept = []
    for dataset in datasets:
        new = [str(trial) not in seen for trial in dataset["trial"].values]
        seen |= {str(trial) for trial in dataset["trial"].values}
        if any(new):
            kept.append(dataset.isel(trial=new))
    return kept


def _differing_attributes(datasets: Sequence[xarray.Dataset]) -> list[str]:
    names = {name for dataset in datasets for name in dataset.attrs}
    return sorted(name for name in names if len({str(dataset.attrs.get(name)) for dataset in datasets}) > 1)


def _lifted(dataset: xarray.Dataset, names: Sequence[str]) -> xarray.Dataset:
    """The dataset with these attributes as text variables along `trial`, where it has not got them as variables already."""
    import numpy as np

    lifted = dataset.copy()
    for name in names:
        value = lifted.attrs.pop(name, None)
        if name not in lifted:
            text = "" if value is None else str(value)
            lifted[name] = (
                "trial",
                np.array([text] * lifted.sizes["trial"], dtype=object),
                {"long_name": name},
            )
    return lifted


def _with_empty_text(merged: xarray.Dataset) -> xarray.Dataset:
    """Text that a record lacked is "" instead of the NaN that joining leaves."""
    for name, variable in merged.data_vars.items():
        known = VARIABLES.get(str(name))
        if variable.dtype == object or (known is not None and known.text):
            merged[name] = variable.where(variable.notnull(), "")
    return merged
