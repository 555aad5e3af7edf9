"""Which technique acts on which family: tried on the tiny twin of one model of each, compared with what `applies_to` says.

    python studies/technique_matrix/run.py                    # one model of each family, what was not tried yet
    python studies/technique_matrix/run.py --models mochi-1-preview ltx-2 --again
    python studies/technique_matrix/run.py --only cache cfg --again

Every model has a process of its own, and every case a time limit: one that hangs or kills its process is a row that says so. Rows are
kept in `rows/`, written as they are found to a temporary name that is moved, so a run that was stopped goes on where it was. Exits with
1 if a row disagrees with `applies_to`, or a technique is not undone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from table import write_table

from workbench import models
from workbench._files import replacing
from workbench._store import versions

HERE = Path(__file__).parent
LIMIT_S = 300.0
STARTUP_S = 600.0
"""For imports and the search for the twin, before the first case."""
POLL_S = 0.5
COLUMNS = (
    *(
        "model",
        "family",
        "pipeline_class",
        "label",
        "settings",
        "clip",
        "verdict",
        "where",
        "detail",
        "refusal",
        "disagreement",
    ),
    *(
        "restored",
        "flops_ratio",
        "weights_ratio",
        "peak_ratio",
        "output_difference",
        "hooks",
        "seconds",
        "said",
        "versions",
    ),
)


def representatives() -> list[str]:
    """The first model of each family, and of each further pipeline class and set of networks within it."""
    seen: dict[tuple[Any, ...], str] = {}
    for name in models.names():
        spec = models.get(name)
        kinds = tuple(part.class_name for part in spec.components)
        seen.setdefault((spec.family, spec.pipeline_class, kinds), name)
    return list(seen.values())


# --- the rows of one model --------------------------------------------------------------------------------------------


def read_rows(path: Path) -> dict[str, Any]:
    """The rows of a model, and the label of the case that was being tried when they were last written."""
    return json.loads(path.read_text()) if path.exists() else {"rows": [], "trying": None}


def write_rows(path: Path, rows: Sequence[dict[str, Any]], trying: str | None) -> None:
    """Writes the rows of a model so that they appear whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"trying": trying, "rows": list(rows)}, indent=1) + "\n")


def try_model(name: str, path: Path, only: Sequence[str]) -> None:
    """Tries every case that has no row yet; runs in a process of its own."""
    import torch

    torch.set_num_threads(1)  # two threads on two busy cores wait for each other
    from cases import cases

    from workbench.twin import Bench

    spec, rows = models.get(name), read_rows(path)["rows"]
    try:
        bench = Bench(spec)
    except Exception as error:  # noqa: BLE001 - a model without a twin is a row
        write_rows(path, [*rows, failed(name, "the twin", f"{type(error).__name__}: {error}", "fails")], None)
        return
    done = {row["label"] for row in rows}
    clip = bench.twin.workload
    for case in cases(spec, clip):
        if case.label in done or (only and not set(case.settings) & set(only)):
            continue
        write_rows(path, rows, case.label)
        started = time.perf_counter()
        try:
            found = bench.verify(case.settings, **case.workload).to_json()
        except Exception as error:  # noqa: BLE001 - a row with its error is the result
            found = failed(name, case.label, f"{type(error).__name__}: {error}".splitlines()[0], "fails")
        seconds = round(time.perf_counter() - started, 2)
        size = f"{clip.frames}x{clip.height}x{clip.width}"
        rows.append({**described(name), **found, "label": case.label, "clip": size, "seconds": seconds})
        print(f"  {case.label:40} {found['verdict']:18} {found['disagreement'] or ''}", flush=True)
        write_rows(path, rows, None)


def described(name: str) -> dict[str, Any]:
    """What every row of a model says."""
    spec = models.get(name)
    return {"family": spec.family, "pipeline_class": spec.pipeline_class, "versions": versions()}


def failed(name: str, label: str, detail: str, verdict: str) -> dict[str, Any]:
    """A row for what could not be tried."""
    found = {"model": name, "label": label, "settings": {}, "verdict": verdict, "where": "", "detail": detail}
    return {**described(name), **found, "refusal": None, "disagreement": f"{verdict}: {detail}"}


# --- processes --------------------------------------------------------------------------------------------------------


def supervise(name: str, path: Path, only: Sequence[str], limit_s: float) -> None:
    """Starts processes for a model until every case has a row; a case that takes too long, or its process with it, gets one too."""
    command = [
        sys.executable,
        str(HERE / "run.py"),
        "--one",
        name,
        "--out",
        str(path.parent.parent),
        "--only",
        *only,
    ]
    while True:
        process = subprocess.Popen(command)
        code = _ended(process, path, limit_s)
        state = read_rows(path)
        if code == 0:
            return
        label = state["trying"] or "the twin"
        why = f"no end after {limit_s:.0f} s" if code is None else f"the process ended with {code}"
        rows = [*state["rows"], failed(name, label, why, "hangs" if code is None else "fails")]
        write_rows(path, rows, None)
        print(f"  {label:40} {why}", flush=True)
        if label == "the twin":
            return


def _ended(process: subprocess.Popen[bytes], path: Path, limit_s: float) -> int | None:
    """The exit code; None if a case went over its limit and the process was stopped."""
    started = time.monotonic()
    while process.poll() is None:
        time.sleep(POLL_S)
        since = time.time() - path.stat().st_mtime if path.exists() else 0.0
        begun = read_rows(path)["trying"] is not None
        if (begun and since > limit_s) or (not begun and time.monotonic() - started > STARTUP_S + limit_s):
            process.kill()
            process.wait()
            return None
    return process.returncode


# --- results ----------------------------------------------------------------------------------------------------------


def all_rows(out: Path) -> list[dict[str, Any]]:
    """Every row that was ever found, in the order of the catalogue."""
    return [row for name in models.names() for row in read_rows(out / "rows" / f"{name}.json")["rows"]]


def write_csv(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """The rows as data."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            packed = {key: json.dumps(row.get(key)) for key in ("settings", "said", "versions")}
            writer.writerow({**row, **packed})


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=representatives(), help="catalogue names")
    parser.add_argument("--only", nargs="*", default=[], help="technique ids; default: all")
    parser.add_argument("--again", action="store_true", help="try again what has a row")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="time limit of one case in seconds")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results; default: this one")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        try_model(given.one, given.out / "rows" / f"{given.one}.json", given.only)
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in given.models:
        path = given.out / "rows" / f"{name}.json"
        print(name, flush=True)
        if given.again:
            forget(path, given.only)
        supervise(name, path, given.only, given.limit_s)
        rows = all_rows(given.out)
        write_csv(rows, given.out / "technique_matrix.csv")
        write_table(rows, given.out / "technique_matrix.md")
    wrong = [row for row in all_rows(given.out) if row["disagreement"]]
    for row in wrong:
        print(f"{row['model']}, {row['label']}: {row['disagreement']}")
    return 1 if wrong else 0


def forget(path: Path, only: Sequence[str]) -> None:
    """Drops a model's rows of these techniques, or all."""
    rows = read_rows(path)["rows"]
    write_rows(path, [row for row in rows if only and not set(row["settings"]) & set(only)], None)


if __name__ == "__main__":
    sys.exit(main())
