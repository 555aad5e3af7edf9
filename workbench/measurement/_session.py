"""The file in which a measurement grows, run by run, so that one that is ended goes on where it was. Touches the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError
from workbench.records import build, load, merge, save

if TYPE_CHECKING:
    import xarray


def digest_of(parts: Mapping[str, Any]) -> str:
    """Sixteen hex digits over all that makes one run a repetition of another."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def text(row: xarray.Dataset, name: str) -> str:
    """A text of a row, wherever merging has left it; "" where it is missing."""
    value = row[name].item() if name in row else row.attrs.get(name, "")
    return value if isinstance(value, str) else ""


def number(row: xarray.Dataset, name: str) -> float | None:
    """A number of a row; None where it is missing."""
    value = float(row[name].item()) if name in row else float("nan")
    return None if value != value else value


class Session:
    """Rows of one file, a dataset of one trial each, in the order in which they were measured."""

    def __init__(self, out: Path) -> None:
        """Reads what is there already.

        Raises:
            InputError: the name does not end in .nc, its folder does not exist, or the file is no record.
        """
        if out.suffix.lower() != ".nc":
            raise InputError(f"the record's file name must end in .nc, got {str(out)!r}")
        if not out.parent.is_dir():
            raise InputError(f"cannot write the record {str(out)!r}: there is no folder {str(out.parent)!r}")
        self.out = out
        self._rows: dict[str, xarray.Dataset] = {}
        if out.exists():
            found = load(out)
            for position, trial in enumerate(found["trial"].values):
                self._rows[str(trial)] = found.isel(trial=[position])

    @property
    def folder(self) -> Path:
        """Where clips and logs go: beside the record, under its name."""
        return self.out.with_name(f"{self.out.stem}-runs")

    def folder_of(self, digest: str) -> Path:
        """A new folder for one process; one that went before keeps its clip."""
        number = 1
        while (folder := self.folder / f"{digest[:8]}-{number}").exists():
            number += 1
        return folder

    def rows_of(self, digest: str) -> list[xarray.Dataset]:
        """The rows of one job."""
        return [row for row in self._rows.values() if text(row, "job") == digest]

    def put(self, run: Mapping[str, Any]) -> None:
        """Adds a run, or replaces the one of its id, and writes the file."""
        self.put_row(build(run))

    def put_row(self, row: xarray.Dataset) -> None:
        """The same for a row that is built already."""
        self._rows[str(row["trial"].item())] = row
        self._write()

    def drop(self, rows: list[xarray.Dataset]) -> None:
        """Takes rows out; they are gone from the file with the next run that is added."""
        for row in rows:
            del self._rows[str(row["trial"].item())]

    def clip_of(self, row: xarray.Dataset) -> Path | None:
        """The clip of a row, if its file is there."""
        name = text(row, "clip")
        path = self.out.parent / name
        return path if name and path.is_file() else None

    def clip_name(self, path: Path) -> str:
        """What a row says of a clip: its path from the record's folder."""
        return path.relative_to(self.out.parent).as_posix()

    def _write(self) -> None:
        save(merge(self._rows.values()), self.out)
