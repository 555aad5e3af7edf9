"""Writes `workbench/cost/residuals.csv`: how far predicted memory has been from measured memory, row by row.

    python studies/residuals/run.py

Reads what `studies/published_memory` predicted, traces the figures of `figures.csv`, and reads the records of `studies/gpu_validation`
where there are some. Half a minute on two CPU cores. The margin of a plan comes from this file (`workbench/cost/margin.py`); no constant
of the predictor does.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import traced

from workbench._files import replacing
from workbench._store import versions
from workbench.cost.margin import COLUMNS, FILE, Residual, kind_of, read

HERE = Path(__file__).parent
PUBLISHED = HERE.parent / "published_memory" / "predicted.csv"
RECORDS = HERE.parent / "gpu_validation" / "records"

PROSE = "the figure stands in the README's prose, which names no counter; the table that names one comes from a script"
SAME_RUN = "the weights of a run whose peak counts, in which they are"
NOT_COUNTED = {"TA097": PROSE, "TA100": PROSE, "TA101": PROSE}
"""Published rows whose metric the collection supplied: diffusers-torchao's README, section 'CogVideoX memory savings'."""


def residual(**values: Any) -> Residual:
    """A row of the file, rounded as it is written."""
    for name in ("measured", "predicted"):
        values[name] = round(float(values[name]), 4)
    return Residual(**values)


def installed() -> str:
    """The versions that predict."""
    return ", ".join(f"{name} {version}" for name, version in versions().items())


def published(path: Path = PUBLISHED) -> Iterator[Residual]:
    """Rows that say what they measured, made by the code that is priced; the weights that some had loaded before."""
    for row in rows(path):
        if row["reason"] or row["metric"] not in ("allocated", "reserved") or row["code_base"] != "diffusers":
            continue
        said = json.loads(row["workload"])
        model = said.pop("model")
        said.pop("steps", None)
        not_counted = NOT_COUNTED.get(row["id"], "") or (row["differs"] if row["matched"] != "True" else "")
        vae = f"; VAE of diffusers {row['commit']}" if row["commit"] else ""
        common = {
            "study": "published_memory",
            "id": row["id"],
            "source": row["src"],
            "versions": installed() + vae,
            "model": model,
            "unit": "GiB",
        }
        yield residual(
            **common,
            kind=kind_of(row["stage"]),
            metric=row["metric"],
            case=f"{model} {json.dumps(said)} {row['settings']} {row['stage']} {row['metric']}",
            not_counted=not_counted,
            measured=row["published"].rpartition("→")[2],
            predicted=row[row["metric"]],
        )
        if row["published_weights"]:
            yield residual(
                **common,
                kind="weights",
                metric="allocated",
                case=f"{model} {row['settings']} weights",
                not_counted=not_counted or SAME_RUN,
                measured=row["published_weights"],
                predicted=row["weights"],
            )


def figures(path: Path = HERE / "figures.csv") -> Iterator[Residual]:
    """Published figures of single calls, traced here."""
    for row in rows(path):
        is_slope = row["what"] == "slope"
        if is_slope:
            predicted, size = traced.slope(row["model"]), ""
        else:
            predicted = traced.qwen_vae(row["what"], int(row["height"]), int(row["width"]))
            size = f" {row['height']}x{row['width']}"
        yield residual(
            study="traced",
            id=row["id"],
            source=f"{row['src']}; {row['hardware']}, {row['software']}",
            versions=installed(),
            model=row["model"],
            kind="denoiser" if is_slope else "autoencoder",
            metric="allocated",
            unit="GiB per 1000 tokens" if is_slope else "GiB",
            case=f"{row['model']} {row['what']}{size}",
            not_counted=row["note"],
            measured=row["measured"],
            predicted=predicted,
        )


def validated(folder: Path = RECORDS) -> Iterator[Residual]:
    """Records of `studies/gpu_validation` that ran to their end on a GPU, uncapped or not, with the default allocator."""
    for machine in sorted(folder.glob("*/machine.json")):
        here = machine.with_name("predictions_here.json")
        fresh = json.loads(here.read_text(encoding="utf-8")) if here.exists() else {}
        for path in sorted(machine.parent.glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(record, dict) or record.get("status") != "ok" or not record["machine"]["gpu"]:
                continue
            found = fresh.get(record["case"]["id"], {})
            predicted = found if found and "error" not in found else record["predicted"]
            yield from _of_record(record, predicted)


def _of_record(record: Mapping[str, Any], predicted: Mapping[str, Any]) -> Iterator[Residual]:
    case, machine = record["case"], record["machine"]
    peak = max(predicted["stages"], key=lambda stage: stage["allocated_bytes"])
    software = ", ".join(f"{name} {machine[name]}" for name in ("torch", "diffusers") if machine.get(name))
    for metric in ("allocated", "reserved"):
        measured = record.get("memory", {}).get(f"{metric}_peak_bytes")
        if not measured or (metric == "reserved" and case["allocator"]):
            continue
        under_a_cap = metric == "reserved" and case["cap_gib"] is not None
        yield residual(
            study="gpu_validation",
            id=case["id"],
            source=f"{machine['gpu']}, measured {record['measured_at'][:10]}",
            versions=software,
            model=case["model"],
            kind=kind_of(peak["name"]),
            metric=metric,
            unit="GiB",
            case=f"{case['id']} {machine['gpu']} {metric}",
            not_counted="a cap makes the allocator give cached memory back" if under_a_cap else "",
            measured=measured / 2**30,
            predicted=predicted[f"{metric}_bytes"] / 2**30,
        )


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(found: list[Residual], path: Path) -> None:
    """Writes the file so that it appears whole."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: getattr(row, name) for name in COLUMNS} for row in found)


def main() -> int:
    """The command."""
    write([*published(), *figures(), *validated()], FILE)
    found = read(FILE)
    for row in found.rows:
        print(f"{row.id:8} {row.kind:12} {row.metric:9} {row.fraction:+8.2%} {row.not_counted[:80]}")
    print(f"\n{len(found.rows)} rows, {len(found.counted)} cases count:")
    for (kind, metric), count in sorted(Counter((row.kind, row.metric) for row in found.counted).items()):
        worst = max(r.fraction for r in found.counted if (r.kind, r.metric) == (kind, metric))
        print(f"{kind:12} {metric:9} {count:3} cases, worst under-prediction {worst:+.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
