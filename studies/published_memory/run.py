"""Predicts what others published of the memory of video generation, and prints both beside each other.

    python studies/published_memory/run.py
    python studies/published_memory/run.py --diffusers-git ~/diffusers     # also with the VAE of the diffusers that was measured
    python studies/published_memory/run.py --only TA001 DD038              # these rows; writes nothing

Every row of `rows.csv` is predicted or has its reason in `predicted.csv`. What was priced with an earlier VAE is kept in `then.csv`, so
that a run without a clone of diffusers has it too. No constant of the workbench is fitted to the rows that are scored.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import older
import rows
from express import Expressed, express
from figure import write_figure
from published import Unexpressed
from report import write_report
from score import Predicted, error, predicted

from workbench import devices
from workbench._errors import InputError
from workbench._estimate import Predictor, collector_paused
from workbench._store import Store, default_folder, versions
from workbench.models import Workload
from workbench.techniques import Settings

HERE = Path(__file__).parent
COLUMNS = (
    *(
        "id",
        "src",
        "model",
        "family",
        "metric",
        "published",
        "allocated",
        "reserved",
        "device",
        "required",
        "margin",
    ),
    *("error", "error_installed", "stage", "binds", "matched", "code_base", "differs", "remarks", "reason"),
    *("low", "high", "published_weights", "weights", "workload", "settings", "card", "card_gb", "commit"),
)
THEN = ("id", "commit", "versions", *Predicted.__dataclass_fields__)


class Oracle:
    """Predicts rows; what is known of a workload serves every row that has it."""

    def __init__(
        self, repository: Path | None = None, then: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self._repository, self._then = repository, dict(then or {})
        self._known: dict[tuple[str | None, str], Predictor] = {}

    def predict(self, name: str, row: Expressed, commit: str | None = None) -> Predicted | None:
        """The prediction with the installed diffusers, or with the VAE of a commit; None if that one is nowhere.

        Raises:
            InputError: the workbench refuses the configuration.
        """
        if commit is not None and self._repository is None:
            return self._kept(name, commit)
        workload = Workload.for_model(row.model, **row.workload)
        key = (commit, json.dumps(workload.to_json()))
        if key not in self._known:
            store = Store() if commit is None else Store(default_folder().with_name(f"older-{commit}"))
            self._known[key] = Predictor(workload, store)
        code = nullcontext() if commit is None else older.installed(self._repository, commit)  # type: ignore[arg-type]
        with collector_paused(), code:
            cost = self._known[key].cost(Settings.parse(row.settings), devices.get(row.device))
        return predicted(row, cost, name)

    def _kept(self, name: str, commit: str) -> Predicted | None:
        kept = self._then.get(name)
        if kept is None or kept["commit"] != commit:
            return None
        fields = Predicted.__dataclass_fields__
        return Predicted(
            **{key: kept[key] if key in ("stage", "binds") else float(kept[key]) for key in fields}
        )


def scored(row: rows.Row, oracle: Oracle) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A line of `predicted.csv`, and one of `then.csv` if the row has one."""
    line: dict[str, Any] = {key: row[key] for key in ("id", "src", "model")} | {"published": row["mem_GB"]}
    try:
        said = express(row)
        now = oracle.predict(row["id"], said)
    except Unexpressed as reason:
        return line | {"reason": str(reason)}, None
    except InputError as reason:
        return line | {"reason": f"the workbench refuses it: {reason}"}, None
    assert now is not None
    then = oracle.predict(row["id"], said, said.commit) if said.commit else None
    found = then or now
    differs = list(said.differs)
    if said.commit and then is None:
        differs.append(f"the VAE of diffusers {said.commit} (--diffusers-git)")
    if "compiled" in " ".join(said.remarks) and found.stage != "decode":
        differs.append("the denoiser was compiled, and the peak is in it")
    line |= _words(said, differs) | {
        key: round(value, 3) for key, value in asdict(found).items() if isinstance(value, float)
    }
    line |= {"stage": found.stage, "binds": found.binds}
    if said.figure is not None:
        line |= {
            "low": said.figure.low,
            "high": said.figure.high,
            "error": round(error(said.figure, found), 4),
        }
        line["error_installed"] = round(error(said.figure, now), 4)
    kept = {"id": row["id"], "commit": said.commit, "versions": json.dumps(versions())}
    return line, None if then is None else kept | asdict(then)


def _words(said: Expressed, differs: list[str]) -> dict[str, Any]:
    """What the columns say of how a row was expressed."""
    card = devices.get(said.device)
    return {
        "family": Predictor(Workload.for_model(said.model)).spec.family,
        "metric": said.figure.metric if said.figure else "ran out of memory",
        "matched": said.code_base is None and not differs,
        "code_base": said.code_base or "diffusers",
        "differs": "; ".join(differs),
        "remarks": "; ".join(said.remarks),
        "published_weights": said.resident,
        "workload": json.dumps({"model": said.model, **said.workload}),
        "settings": json.dumps(said.settings),
        "card": said.device,
        "card_gb": round(card.memory_bytes / 2**30, 2),
        "commit": said.commit,
    }


def _printed(line: Mapping[str, Any]) -> str:
    """Predicted beside published."""
    wrong = f"{line['error']:+8.1%}" if "error" in line else " " * 8
    figures = f"{line['published']:>14} {line.get('allocated', ''):>8} {line.get('reserved', ''):>8}"
    return f"{line['id']:6} {line['model']:28.28} {line.get('metric', ''):10} {figures} {wrong} {line.get('reason', '')}"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--diffusers-git", type=Path, help="a clone of diffusers, for what earlier versions needed"
    )
    parser.add_argument("--only", nargs="*", default=[], help="ids of rows; prints them and writes nothing")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results; default: this one")
    given = parser.parse_args()
    started = time.perf_counter()
    kept = {line["id"]: line for line in rows.read(HERE / "then.csv")} if (HERE / "then.csv").exists() else {}
    oracle = Oracle(given.diffusers_git, kept)
    asked = [row for row in rows.read() if not given.only or row["id"] in given.only]
    both = [scored(row, oracle) for row in asked]
    lines = [line for line, _ in both]
    for line in lines:
        if "reason" not in line or given.only:
            print(_printed(line))
    if given.only:
        return 0
    rows.write(given.out / "predicted.csv", COLUMNS, lines)
    if given.diffusers_git is not None:
        rows.write(given.out / "then.csv", THEN, [then for _, then in both if then is not None])
    left = rows.read(HERE / "not_copied.csv")
    write_figure(lines, given.out / "published_memory.svg")
    print(write_report(lines, left, given.out / "published_memory.md"))
    print(f"{len(lines)} rows in {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
