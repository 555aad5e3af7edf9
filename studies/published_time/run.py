"""Predicts what others published of the time of video generation, and prints both beside each other.

    python studies/published_time/run.py
    python studies/published_time/run.py --only TA001 W2022      # these rows; writes nothing

Every row of `rows.csv` is predicted or has its reason in `predicted.csv`. Which rows a constant may be fitted to is fixed in `scoring.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copied
from configurations import Configuration, Unexpressed, express
from drawing import write_figure
from scoring import Predicted, is_fitted, predicted
from writing import write_report

from workbench import devices
from workbench._errors import InputError
from workbench._estimate import Predictor, collector_paused
from workbench.devices import Device
from workbench.models import Workload
from workbench.techniques import Settings

HERE = Path(__file__).parent
COLUMNS = (
    *(
        "id",
        "src",
        "model",
        "card",
        "family",
        "split",
        "published_s",
        "predicted_s",
        "low_s",
        "high_s",
        "error",
    ),
    *("by_kind_s", "basis", "code_base", "compiled", "differs", "only", "workload", "settings", "reason"),
)


@dataclass(frozen=True, slots=True)
class Before(Settings):
    """Settings under a version of PyTorch that chose another kernel for attention."""

    kernel: str = "flash"

    def attention_kernel(self, device: Device) -> str:
        """That kernel."""
        return self.kernel


class Oracle:
    """Predicts rows; what is known of a workload serves every row that has it."""

    def __init__(self) -> None:
        self._known: dict[str, Predictor] = {}

    def predict(self, row: Configuration) -> tuple[Predicted, str, str]:
        """(prediction, the model's family, basis of the device's rates).

        Raises:
            InputError: the workbench refuses the configuration.
        """
        device = devices.get(row.device)
        key = json.dumps([row.model, row.workload])
        if key not in self._known:
            self._known[key] = Predictor(Workload.for_model(row.model, **row.workload))
        with collector_paused():
            settings = Settings.parse(row.settings)
            if row.kernel is not None:
                settings = Before(settings.techniques, row.kernel)
            cost = self._known[key].cost(settings, device)
        return predicted(row, cost), self._known[key].spec.family, device.basis


def scored(row: copied.Row, oracle: Oracle) -> dict[str, Any]:
    """A line of `predicted.csv`; the row's own columns are in it for the ratios."""
    line: dict[str, Any] = {**row, "split": "fitted" if is_fitted(row) else "held out"}
    try:
        said = express(row)
        found, family, basis = oracle.predict(said)
    except Unexpressed as reason:
        return line | {"reason": str(reason)}
    except InputError as reason:
        return line | {"reason": f"the workbench refuses it: {reason}"}
    return line | {
        "card": said.device,
        "family": family,
        "published_s": round(said.seconds, 3),
        "predicted_s": round(found.seconds, 2),
        "low_s": round(found.low, 2),
        "high_s": round(found.high, 2),
        "error": round(found.seconds / said.seconds - 1, 4),
        "by_kind_s": json.dumps({kind: round(seconds, 2) for kind, seconds in found.by_kind.items()}),
        "basis": basis,
        "code_base": said.code_base or "diffusers",
        "compiled": said.compiled,
        "differs": "; ".join(said.differs),
        "only": " ".join(said.only or ()),
        "workload": json.dumps({"model": said.model, **said.workload}),
        "settings": json.dumps(said.settings),
    }


def _printed(line: Mapping[str, Any]) -> str:
    wrong = f"{line['error']:+8.1%}" if "error" in line else " " * 8
    figures = f"{line.get('published_s', line['time_s']):>10} {line.get('predicted_s', ''):>9}"
    return f"{line['id']:6} {line['model']:28.28} {line.get('card', ''):12} {figures} {wrong} {line.get('reason', '')}"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[], help="ids of rows; prints them and writes nothing")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results; default: this one")
    given = parser.parse_args()
    started = time.perf_counter()
    oracle = Oracle()
    lines = []
    for row in copied.read():
        if given.only and row["id"] not in given.only:
            continue
        lines.append(scored(row, oracle))
        if "reason" not in lines[-1] or given.only:
            print(_printed(lines[-1]), flush=True)
    if given.only:
        return 0
    copied.write(given.out / "predicted.csv", COLUMNS, lines)
    write_figure(lines, given.out / "published_time.svg")
    print(write_report(lines, copied.read(HERE / "not_copied.csv"), given.out / "published_time.md"))
    print(f"{len(lines)} rows in {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
