"""Calibrates this machine's CPU, predicts small real pipelines, then runs them, all in one go.

    python studies/calibrated_time/run.py
    python studies/calibrated_time/run.py --budget-s 10 --repeats 2 --only wan

Goals: median error of end-to-end time at most 15 %, and at least 90 % of the pairs that differ by more than 10 % ranked right. Nothing is
fitted to the cases: predictions are made before the first of them runs. Repetitions are interleaved, so that a disturbance hits all cases;
the first repetition of each warms up and is not counted. Exit code 1: a goal was missed; 3: the machine was too noisy to say.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from score import NOISY, Row, Score, score  # noqa: E402
from small import CASES, Case  # noqa: E402

MEDIAN_ERROR, RANKED = 0.15, 0.90


def predicted(cases: list[Case], device: Any) -> list[tuple[float, float, float]]:
    """(expected, low, high) seconds of each case."""
    from workbench import estimate
    from workbench.models import Workload, resolve_model

    found = []
    for case in cases:
        workload = Workload.for_model(
            resolve_model(case.spec), frames=case.frames, height=case.size, width=case.size, steps=case.steps
        )
        found.append(estimate(workload, dict(case.settings), device).price.seconds)
    return found


class Ready:
    """A case that can be run again and again: the pipeline with random weights, and its techniques."""

    def __init__(self, case: Case) -> None:
        from workbench.models import Workload
        from workbench.models._build import assemble, build_component, call_kwargs, set_guidance
        from workbench.techniques import Settings
        from workbench.twin._weights import fill

        self.case, self.settings = case, Settings.parse(dict(case.settings))
        spec = case.spec
        self.workload = Workload.for_model(
            spec, frames=case.frames, height=case.size, width=case.size, steps=case.steps
        )
        modules = {name: build_component(spec, name, "cpu") for name in spec.component_names()}
        for name, module in modules.items():
            fill(module, name, seed=0)
        self.pipe: Any = assemble(spec, modules)
        set_guidance(self.workload, self.pipe)
        self.pipe.set_progress_bar_config(disable=True)
        self.kwargs = self.settings.call_kwargs(call_kwargs(spec, self.workload, self.pipe))

    def seconds(self) -> float:
        """One run, end to end, with the techniques applied before and removed after it."""
        from workbench.techniques import apply_all

        handle = apply_all(self.pipe, self.settings)
        try:
            began = time.perf_counter()
            self.pipe(**self.kwargs)
            return time.perf_counter() - began
        finally:
            handle.remove()


def measured(cases: list[Case], repeats: int) -> list[tuple[float, ...]]:
    """Seconds of each repetition of each case; one more comes first and is not counted."""
    ready = [Ready(case) for case in cases]
    rounds = []
    for number in range(repeats + 1):
        print(f"round {number} of {repeats}", file=sys.stderr)
        rounds.append([one.seconds() for one in ready])
    return list(zip(*rounds[1:], strict=True))


def table(rows: list[Row], found: Score, facts: dict[str, Any]) -> str:
    """Everything as Markdown."""
    lines = [
        "| case | predicted s | measured s | error | spread | inside the band |",
        "|---|---:|---:|---:|---:|---|",
        *(
            f"| {row.name} | {row.predicted_s:.3f} | {row.seconds:.3f} | {100 * row.error:+.0f} % | {100 * row.spread:.0f} % | "
            f"{'yes' if row.is_inside else 'no'} |"
            for row in rows
        ),
        "",
        f"- median error {100 * found.median_error:.1f} % (goal {100 * MEDIAN_ERROR:.0f} %), worst {100 * found.worst_error:.0f} %",
        f"- {found.num_ranked} of {found.num_pairs} pairs that differ by more than 10 % ranked right "
        f"({100 * found.num_ranked / max(1, found.num_pairs):.0f} %, goal {100 * RANKED:.0f} %)",
        f"- {found.num_inside} of {found.num_cases} measured times inside the band, which states a coverage of "
        f"{100 * facts['coverage']:.0f} % (factor {facts['ratio']:.2f})",
        f"- repetitions differ by {100 * found.spread:.0f} % (median)"
        + (f": TOO NOISY, above {100 * NOISY:.0f} %, so none of this counts" if found.is_noisy else ""),
        f"- calibrated in {facts['calibration_s']:.0f} s, its repetitions differed by {100 * facts['calibration_noise']:.0f} %; "
        f"{facts['machine']}; {facts['versions']}; {facts['created_at']}",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs the study; exit code as in the docstring above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget-s", type=float, default=75.0, help="of the calibration")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument(
        "--out", type=Path, default=None, help="folder for calibrated_time.csv and .md; default: print only"
    )
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in case.name]
    if not cases or arguments.repeats < 2:
        parser.error("there must be at least one case and two repeats")
    with tempfile.TemporaryDirectory() as folder:  # the user's own calibration and traces stay as they are
        os.environ |= {"WORKBENCH_CONFIG_DIR": folder, "WORKBENCH_CACHE_DIR": folder, "HF_HUB_OFFLINE": "1"}
        return _run(cases, arguments)


def _run(cases: list[Case], arguments: argparse.Namespace) -> int:
    import workbench as wb
    from workbench.devices import resolve

    calibration = wb.calibrate(
        "cpu", budget_s=arguments.budget_s, progress=lambda what: print(what, file=sys.stderr)
    )
    predictions = predicted(cases, resolve("cpu"))
    times = measured(cases, arguments.repeats)
    rows = [
        Row(case.name, *seconds, measured_s=taken)
        for case, seconds, taken in zip(cases, predictions, times, strict=True)
    ]
    found, band = score(rows), calibration.device.band
    assert band is not None
    facts = {
        "coverage": band.coverage,
        "ratio": band.ratio,
        "calibration_s": calibration.seconds,
        "calibration_noise": calibration.noise,
        "machine": calibration.machine,
        "created_at": calibration.created_at,
        "versions": ", ".join(f"{name} {version}" for name, version in calibration.versions.items()),
    }
    text = table(rows, found, facts)
    print(text)
    if arguments.out is not None:
        _write(arguments.out, rows, facts, text)
    if found.is_noisy:
        return 3
    return int(found.median_error > MEDIAN_ERROR or found.num_ranked < RANKED * found.num_pairs)


def _write(folder: Path, rows: list[Row], facts: dict[str, Any], text: str) -> None:
    from workbench._files import replacing

    folder.mkdir(parents=True, exist_ok=True)
    with (
        replacing(folder / "calibrated_time.csv") as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["case", "predicted_s", "low_s", "high_s", "measured_s", "facts"])
        for row in rows:
            shown = [
                row.name,
                row.predicted_s,
                row.low_s,
                row.high_s,
                json.dumps(row.measured_s),
                json.dumps(facts),
            ]
            writer.writerow(shown)
    with replacing(folder / "calibrated_time.md") as path:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
