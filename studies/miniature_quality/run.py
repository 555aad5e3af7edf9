"""The benchmark suite: scenes x techniques x settings on the miniature, what each costs in quality, and what combinations cost.

    python studies/miniature_quality/run.py               # all of it, for the weights in the package
    python studies/miniature_quality/run.py --quick       # two scenes, a few settings: does it run?
    python studies/miniature_quality/run.py --install     # and put the records into the package, for every plan to use

Every run is compared with the un-optimised run of the same prompt and seed. A row is kept as soon as it is made: after a kill the same
command goes on. Prints the rank correlations of issue 6; writes a dataset, tables and figures to the run folder.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray
from analysis import HeldOut, Rows, dataset, held_out, other_scenes, records_of, score
from cases import FULL, QUICK, Sizes, cases, mixed
from report import curves_figure, held_out_figure, held_out_table, said, said_of_curves, said_of_mixed, tables
from runs import Bench, run_all

from workbench._files import replacing
from workbench.miniature._trained import WEIGHTS
from workbench.quality import QualityRecords
from workbench.quality import save as save_records
from workbench.quality._records import SHIPPED
from workbench.records import save as save_dataset

HERE = Path(__file__).parent
RUNS = Path("runs/miniature_quality")
DATASET, RECORDS, TABLES = "miniature_quality.nc", "records.json", "miniature_quality.md"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What one run of the suite gave."""

    rows: Rows
    dataset: xarray.Dataset
    records: QualityRecords
    held_out: list[HeldOut]
    missing: list[str]
    score: dict[str, float]
    score_of_other_scenes: dict[str, float] | None
    """None with a single scene."""

    def figures(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "held_out": held_out_figure(self.held_out, self.score),
            "curves": curves_figure(self.rows),
        }

    def summary(self) -> str:
        """What issue 6 asks, as text."""
        parts = [said(self.score, "Held out")]
        if self.score_of_other_scenes is not None:
            parts.append(said(self.score_of_other_scenes, "Held out, and of scenes that no record saw"))
        parts += [said_of_curves(self.rows), said_of_mixed(self.rows)]
        return "\n".join([*parts, *(f"not compared: {sentence}" for sentence in self.missing)])


def study(
    weights: Path = WEIGHTS,
    out: Path = RUNS,
    sizes: Sizes = FULL,
    *,
    with_vmaf: bool = False,
    say: Callable[[str], None] = print,
) -> Study:
    """Runs what is not yet in `out`, and works out everything.

    Raises:
        InputError: the weights are not there, or `out` has rows of other weights or sizes.
    """
    bench = Bench(weights, out, sizes, with_vmaf=with_vmaf)
    rows = run_all(bench, [*cases(sizes), *mixed(sizes, bench.scan(say))], say)
    records = records_of(rows)
    found, missing = held_out(rows, records)
    figures = score(found)
    many = len(bench.scenes) > 1
    result = Study(
        rows=rows,
        dataset=dataset(rows),
        records=replace(records, about={**records.about, "held_out": figures}),
        held_out=found,
        missing=missing,
        score=figures,
        score_of_other_scenes=other_scenes(rows) if many else None,
    )
    _write(result, out)
    return result


def _write(result: Study, out: Path) -> None:
    save_dataset(result.dataset, out / DATASET)
    save_records(result.records, out / RECORDS)
    with replacing(out / TABLES) as temporary:
        heading = "# What techniques cost in quality, on the miniature\n"
        text = [
            heading,
            "```",
            result.summary(),
            "```\n",
            held_out_table(result.held_out),
            tables(result.rows),
        ]
        temporary.write_text("\n".join(text), encoding="utf-8")
    for name, figure in result.figures().items():
        with replacing(out / f"{name}.html") as temporary:
            figure.write_html(temporary, include_plotlyjs="cdn")


def install(out: Path) -> None:
    """Puts the records into the package, and tables and dataset beside this file."""
    shutil.copy(out / TABLES, HERE / TABLES)
    shutil.copy(out / DATASET, HERE / DATASET)
    with replacing(SHIPPED) as temporary:
        shutil.copy(out / RECORDS, temporary)


def main() -> None:
    """Reads the command line, runs, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="default: those in the package")
    parser.add_argument("--out", type=Path, help=f"run folder; default: {RUNS}, or {RUNS}-quick")
    parser.add_argument("--quick", action="store_true", help="two scenes and a few settings")
    parser.add_argument("--scenes-per-kind", type=int, default=FULL.scenes_per_kind)
    parser.add_argument("--vmaf", action="store_true", help="measure VMAF too, a process per clip")
    parser.add_argument("--install", action="store_true", help="put the records into the package")
    given = parser.parse_args()
    if given.install and (given.quick or given.weights != WEIGHTS):
        parser.error("--install is for the whole suite on the weights in the package")
    if given.scenes_per_kind < 1:
        parser.error(f"--scenes-per-kind must be at least 1, got {given.scenes_per_kind}")
    sizes = replace(QUICK if given.quick else FULL, scenes_per_kind=given.scenes_per_kind)
    out = given.out or (RUNS.with_name(f"{RUNS.name}-quick") if given.quick else RUNS)
    started = time.perf_counter()
    result = study(given.weights, out, sizes, with_vmaf=given.vmaf)
    print(result.summary())
    print(
        f"{len(result.rows)} cases in {(time.perf_counter() - started) / 60:.1f} min (this run); tables, dataset and figures in {out}"
    )
    if given.install:
        install(out)
        print(f"installed in {SHIPPED}")


if __name__ == "__main__":
    main()
