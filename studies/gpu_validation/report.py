"""Writes measured beside predicted: `report.md` and `report.csv` beside the records. Imports the standard library only."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GIB = 1 << 30
PREDICTED_HERE = "predictions_here.json"
"""Predictions made on the machine that measured, for its own GPU, by case."""
_NOT_RECORDS = ("machine.json", PREDICTED_HERE)
GOALS = {"median": 1.0, "worst": 3.0}
"""Per cent of allocated memory (issue 4)."""
METRICS = ("allocated", "reserved")


def write_all(out: Path) -> int:
    """A report in every folder of records."""
    folders = sorted(path.parent for path in out.glob("*/machine.json"))
    for folder in folders:
        write(folder)
    print(f"{len(folders)} report(s) in {out}")
    return 0 if folders else 1


def write(folder: Path) -> None:
    """The report of one machine's records."""
    records = read(folder)
    rows = [row(record) for record in records]
    columns = list(dict.fromkeys(name for entry in rows for name in entry))
    with (folder / "report.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    (folder / "report.md").write_text(text(json.loads((folder / "machine.json").read_text()), records, rows))


def read(folder: Path) -> list[dict[str, Any]]:
    """The records, each with the prediction that counts: the one for this very GPU where there is one."""
    here = folder / PREDICTED_HERE
    fresh = json.loads(here.read_text()) if here.exists() else {}
    records = [
        json.loads(path.read_text())
        for path in sorted(folder.glob("*.json"))
        if path.name not in _NOT_RECORDS
    ]
    for record in records:
        found = fresh.get(record["case"]["id"])
        if found is not None and "error" not in found:
            record["predicted"] = {**found, "made": "here"}
    return sorted(records, key=lambda record: record["measured_at"])


def row(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as a row of the table: bytes and per cent; empty where nothing was measured."""
    case, predicted, memory = record["case"], record["predicted"], record.get("memory", {})
    is_cpu = record["machine"]["gpu"] is None
    found: dict[str, Any] = {
        "case": case["id"],
        "status": record["status"],
        "applied_by": record.get("applied_by", ""),
        "cap_gib": case["cap_gib"],
        "predicted_for": predicted["device"],
        "predicted": predicted.get("made", "in the case file"),
        "predicted_fits": predicted["fits"],
    }
    for metric in METRICS:
        measured = memory.get(f"{metric}_peak_bytes")
        expected = predicted[f"{metric}_bytes"]
        if metric == "reserved" and case["allocator"] != predicted.get("allocator", ""):
            expected = None  # predicted for an allocator with other options
        found |= _pair(metric, expected, measured if record["status"] == "ok" else None)
    live = memory.get("live_tensors_peak_bytes") if is_cpu else None
    found |= _pair("live_tensors", max(stage["activations_bytes"] for stage in predicted["stages"]), live)
    weights = record.get("setup", {}).get("weights_bytes")
    found |= _pair(
        "weights",
        sum(predicted["weights_bytes"].values()),
        None if weights is None else sum(weights.values()),
    )
    found |= {
        "device_used_peak_bytes": memory.get("device_used_peak_bytes"),
        "outside_pytorch_peak_bytes": memory.get("outside_pytorch_peak_bytes"),
        "context_and_others_bytes": record.get("device", {}).get("context_and_others_bytes"),
        "predicted_required_bytes": predicted["required_vram_bytes"],
        "rss_peak_bytes": memory.get("rss_peak_bytes"),
        "predicted_host_ram_bytes": predicted["host_ram_bytes"],
        "seconds": record.get("total_s"),
        "predicted_seconds": predicted["seconds"],
        "said": record.get("reason") or record.get("error", "").partition("\n")[0],
    }
    return found


def _pair(name: str, predicted: int | None, measured: int | None) -> dict[str, Any]:
    error = None if not measured or predicted is None else 100.0 * (predicted - measured) / measured
    return {
        f"{name}_predicted_bytes": predicted,
        f"{name}_measured_bytes": measured,
        f"{name}_error_percent": error,
    }


def held(record: Mapping[str, Any]) -> str:
    """Whether a case with a cap did what was predicted of it: `yes`, `no`, or empty where that was not tried."""
    if (
        record["case"]["cap_gib"] is None
        or record["machine"]["gpu"] is None
        or record["status"] not in ("ok", "out_of_memory")
    ):
        return ""
    return "yes" if (record["status"] == "ok") == record["predicted"]["fits"] else "no"


# --- the text ---------------------------------------------------------------------------------------------------------


def text(
    machine: Mapping[str, Any], records: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> str:
    """The report."""
    gpu = machine["gpu"]
    libraries = ", ".join(
        f"{name} {machine[name]}"
        for name in ("torch", "diffusers", "transformers", "accelerate", "torchao")
        if machine.get(name)
    )
    where = (
        f"{gpu} ({machine['gpu_bytes'] / GIB:.1f} GiB), CUDA {machine['cuda']}, driver {machine.get('driver', 'unknown')}"
        if gpu
        else "CPU"
    )
    parts = [
        "# Measured beside predicted\n",
        f"{where}; {libraries}. Looked at {machine['looked_at']}. Random weights of real dimensions."
        if gpu
        else f"{where}; {libraries}. Looked at {machine['looked_at']}. No GPU was available: toy sizes, and what is compared is the bytes "
        "in live tensors (recorded op by op, weights not among them) with the predicted activations. Nothing is said here about a GPU.",
        "",
        *_summary(rows),
        "",
        *_caps(records),
        *_table(records, rows),
        *_stage_table(records),
        *_not_measured(rows),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    counts: dict[str, int] = {}
    for entry in rows:
        counts[entry["status"]] = counts.get(entry["status"], 0) + 1
    lines = [f"{len(rows)} cases: {', '.join(f'{count} {status}' for status, count in counts.items())}."]
    for metric in (*METRICS, "live_tensors", "weights"):
        errors = [
            (abs(e), entry["case"]) for entry in rows if (e := entry[f"{metric}_error_percent"]) is not None
        ]
        if not errors:
            continue
        worst, case = max(errors)
        median = statistics.median(error for error, _ in errors)
        goal = ""
        if metric == "allocated":
            holds = median <= GOALS["median"] and worst <= GOALS["worst"]
            goal = f" (goal: {GOALS['median']:g} %, {GOALS['worst']:g} %: {'holds' if holds else 'does not hold'})"
        name = metric.replace("_", " ")
        lines.append(
            f"- {name}: median error {median:.2f} %, worst {worst:.2f} % ({case}), {len(errors)} cases{goal}"
        )
    return lines


def _caps(records: Sequence[Mapping[str, Any]]) -> list[str]:
    tried = [record for record in records if held(record)]
    if not tried:
        return []
    lines = ["| case | cap GiB | plan | predicted | outcome | as predicted |", "|---|---|---|---|---|---|"]
    for record in tried:
        case = record["case"]
        said = "fits" if record["predicted"]["fits"] else "does not fit"
        plan = "yes" if case["planned"] else ""
        lines.append(
            f"| {case['id']} | {case['cap_gib']:g} | {plan} | {said} | {record['status'].replace('_', ' ')} | {held(record)} |"
        )
    return ["## Caps\n", *lines, ""]


def _table(records: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "## Cases\n",
        "GiB, predicted / measured (error). `device` is the most that the whole device had in use, beside the predicted required VRAM.\n",
        "| case | applied by | allocated | reserved | live tensors (CPU) | weights | device | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record, entry in zip(records, rows, strict=True):
        if record["status"] != "ok":
            continue
        device = f"{_gib(entry['predicted_required_bytes'])} / {_gib(entry['device_used_peak_bytes'])}"
        seconds = f"{entry['predicted_seconds']:.2f} / {entry['seconds']:.2f}"
        cells = [_cell(entry, name) for name in (*METRICS, "live_tensors", "weights")]
        lines.append(
            f"| {entry['case']} | {entry['applied_by']} | {' | '.join(cells)} | {device} | {seconds} |"
        )
    return [*lines, ""]


def _stage_table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for record in records:
        predicted = {stage["name"]: stage for stage in record["predicted"]["stages"]}
        for stage in record.get("stages", ()) if record["status"] == "ok" else ():
            expected = predicted.get(stage["name"])
            if expected is None or len(record["stages"]) < 2:
                continue
            if (live := stage.get("live_tensors_peak_bytes")) is not None:
                pairs = [_cell(_pair("x", expected["activations_bytes"], live), "x"), ""]
            else:
                pairs = [
                    _cell(_pair("x", expected[f"{m}_bytes"], stage.get(f"{m}_peak_bytes")), "x")
                    for m in METRICS
                ]
            lines.append(
                f"| {record['case']['id']} | {stage['name']} | {' | '.join(pairs)} | {expected['seconds']:.2f} / {stage['seconds']:.2f} |"
            )
    if not lines:
        return []
    note = "What earlier stages left cached is still reserved in a later one: reserved memory is compared for whole runs above.\n"
    head = [
        note,
        "| case | stage | allocated (CPU: live tensors) | reserved | seconds |",
        "|---|---|---|---|---|",
    ]
    return ["## Stages\n", *head, *lines, ""]


def _not_measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"- {entry['case']}: {entry['status'].replace('_', ' ')}: {entry['said']}"
        for entry in rows
        if entry["status"] != "ok"
    ]
    return ["## Without figures\n", *lines] if lines else []


def _cell(entry: Mapping[str, Any], name: str) -> str:
    measured, error = entry[f"{name}_measured_bytes"], entry[f"{name}_error_percent"]
    if measured is None:
        return "-"
    return f"{_gib(entry[f'{name}_predicted_bytes'])} / {_gib(measured)}" + (
        f" ({error:+.2f} %)" if error is not None else ""
    )


def _gib(value: int | None) -> str:
    return "-" if value is None else f"{value / GIB:.3f}"
