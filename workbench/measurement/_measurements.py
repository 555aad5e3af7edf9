"""`Measurements`: what `measure` gives back. Shows itself as a table, in a terminal and in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError
from workbench.measurement._session import Session, number, text
from workbench.measurement._summary import SPREAD, Measured, ratio, summary
from workbench.records import merge

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, kw_only=True, repr=False)
class Measurements:
    """A baseline and candidates, measured."""

    records: xarray.Dataset = field(hash=False, compare=False)
    """One row per run, as `records/schema.md` has it."""
    baseline: Measured
    candidates: tuple[Measured, ...]
    workload: Mapping[str, Any] = field(hash=False)
    """What was made, as in a record; a configuration's own steps act on top."""
    prompt: str
    seed: int
    device: Mapping[str, Any] | None = field(hash=False)
    """What it ran on; None for a GPU that the catalogue does not know, or where no process came so far as to say."""
    versions: Mapping[str, str] = field(hash=False)
    record: Path
    """The file of the records."""

    @classmethod
    def of(cls, rows: Mapping[str, Sequence[xarray.Dataset]], session: Session) -> Measurements:
        """The summaries of rows by configuration, the baseline first."""
        found = [summary(name, of_name, session.clip_of) for name, of_name in rows.items()]
        whole = [row for of_name in rows.values() for row in of_name]
        first = whole[0]
        device = next((said for row in whole if (said := text(row, "device"))), "")
        versions = next((said for row in whole if (said := text(row, "versions"))), "{}")
        names = ("frames", "height", "width", "guidance", "guidance_2", "batch", "fps")
        return cls(
            records=merge(whole),
            baseline=found[0],
            candidates=tuple(found[1:]),
            workload={
                "model": text(first, "model"),
                **{name: _plain(number(first, name)) for name in names},
                "steps": _plain(number(first, "steps")),
            },
            prompt=text(first, "prompt"),
            seed=int(number(first, "seed") or 0),
            device=json.loads(device) if device else None,
            versions=json.loads(versions),
            record=session.out,
        )

    def __iter__(self) -> Iterator[Measured]:
        return iter((self.baseline, *self.candidates))

    def __getitem__(self, name: str) -> Measured:
        """A configuration by its name.

        Raises:
            InputError: there is none of this name.
        """
        by_name = {measured.name: measured for measured in self}
        if name not in by_name:
            raise InputError(f"no configuration {name!r} was measured: there are {', '.join(by_name)}")
        return by_name[name]

    def speedup(self, measured: Measured) -> float | None:
        """How many times as fast as the baseline, by the medians; None where one of them has no time."""
        if self.baseline.total_s is None or measured.total_s is None:
            return None
        return ratio(self.baseline.total_s.median, measured.total_s.median)

    @property
    def is_good(self) -> bool:
        """Whether every run of every configuration went well."""
        return all(measured.status == "ok" for measured in self)

    def to_json(self) -> dict[str, Any]:
        """One JSON object: what `--json` prints; its keys are a contract."""
        return {
            "workload": dict(self.workload),
            "prompt": self.prompt,
            "seed": self.seed,
            "device": self.device,
            "spread": SPREAD,
            "baseline": {**self.baseline.to_json(), "speedup": 1.0 if self.baseline.total_s else None},
            "candidates": [
                {**measured.to_json(), "speedup": self.speedup(measured)} for measured in self.candidates
            ],
            "record": str(self.record),
            "versions": dict(self.versions),
        }

    def __repr__(self) -> str:
        from workbench.measurement._measurements_report import measurements_report
        from workbench.search._render_text import render_report

        return render_report(measurements_report(self))

    def _repr_html_(self) -> str:
        from workbench.measurement._measurements_report import measurements_report
        from workbench.search._render_html import render_report

        return render_report(measurements_report(self))


def _plain(value: float | None) -> float | int | None:
    return int(value) if value is not None and value == int(value) else value
