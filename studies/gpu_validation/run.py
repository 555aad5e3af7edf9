"""Measures predicted memory on a GPU: one command, under nine minutes, random weights of real dimensions.

    python studies/gpu_validation/run.py              # on a GPU machine: measures cases.json, then writes the report
    python studies/gpu_validation/run.py --predict    # anywhere with the workbench: writes cases.json anew
    python studies/gpu_validation/run.py --report     # only writes the report of the records that are there
    python studies/gpu_validation/run.py --tiny       # the same at toy size on the CPU

Records are written as they are found, and a second run continues where the first one stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(
    1, str(Path(__file__).parents[2])
)  # the workbench of this checkout, where it is not installed

import json

import report
import supervise

HERE = Path(__file__).parent
BUDGET_S = 510.0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predict", action="store_true", help="write the case file and stop")
    parser.add_argument("--report", action="store_true", help="write the reports of all records and stop")
    parser.add_argument("--tiny", action="store_true", help="toy sizes on the CPU")
    parser.add_argument(
        "--faults", action="store_true", help="with --tiny --predict: also cases that die and hang"
    )
    parser.add_argument("--device", default="h200", help="card that --predict is for (default %(default)s)")
    parser.add_argument("--cases", type=Path, help="case file")
    parser.add_argument("--only", nargs="+", metavar="ID", help="measure or predict these cases only")
    parser.add_argument("--out", type=Path, default=HERE / "records", help="folder of the records")
    parser.add_argument(
        "--budget-s", type=float, default=BUDGET_S, help="seconds for everything (default %(default)s)"
    )
    parser.add_argument("--retry", action="store_true", help="measure cases that failed, died or hung again")
    parser.add_argument(
        "--plain", action="store_true", help="diffusers' own calls even where the workbench can be imported"
    )
    parser.add_argument(
        "--no-predict-here", action="store_true", help="keep to the predictions of the case file"
    )
    given = parser.parse_args()
    if given.cases is None:
        given.cases = given.out / "cases_tiny.json" if given.tiny else HERE / "cases.json"
    return given


def write_cases(given: argparse.Namespace) -> int:
    """Predicts and writes the case file."""
    import cases
    import predict

    chosen = cases.tiny(faults=given.faults) if given.tiny else cases.real()
    if given.only:
        chosen = tuple(case for case in chosen if case.id in given.only)
    given.cases.parent.mkdir(parents=True, exist_ok=True)
    made = predict.write_cases(given.cases, chosen, "cpu" if given.tiny else given.device)
    return 1 if made["refused"] else 0


def measured(given: argparse.Namespace) -> int:
    """Measures the cases of the file."""
    if given.tiny and not given.cases.exists():
        write_cases(given)
    data: dict[str, Any] = json.loads(given.cases.read_text())
    if given.only:
        data["cases"] = [case for case in data["cases"] if case["id"] in given.only]
    run = supervise.Supervisor(
        data, given.out, budget_s=given.budget_s, retry=given.retry, need_gpu=not given.tiny
    )
    reason = run.look()
    if reason:
        print(reason)
        return 1
    predictor = None
    if (
        run.machine["gpu"] is not None
        and run.machine["workbench"] == "importable"
        and not given.no_predict_here
    ):
        predictor = supervise.predicting(given.cases, run.folder / report.PREDICTED_HERE, run.machine)
    try:
        records = run.all()
        if predictor is not None:
            predictor.wait(timeout=run.seconds_left())
    except supervise.subprocess.TimeoutExpired:
        print(
            "not every prediction for this GPU was ready in time; the report takes the case file's for the others"
        )
    finally:
        if predictor is not None and predictor.poll() is None:
            predictor.kill()
    report.write(run.folder)
    return 0 if all(record["status"] in (*supervise.DONE, "skipped") for record in records) else 1


def main() -> int:
    """The command."""
    given = arguments()
    if given.plain:
        os.environ["GPU_VALIDATION_PLAIN"] = "1"
    if given.predict:
        return write_cases(given)
    if given.report:
        return report.write_all(given.out)
    return measured(given)


if __name__ == "__main__":
    raise SystemExit(main())
