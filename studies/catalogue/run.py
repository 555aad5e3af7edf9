"""Estimates every model of the catalogue at its native workload and writes the table.

    python studies/catalogue/run.py                 # the table, under five minutes on two cores
    python studies/catalogue/run.py --plan-gb 16    # and the best plan for a 16 GB card beside it
    python studies/catalogue/run.py --models ltx-video mochi-1-preview

Rows are written as they are found, to a temporary name that is moved; a model that fails is a row with its error, never a missing row.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import workbench as wb
from workbench import models
from workbench._files import replacing
from workbench._store import versions
from workbench._units import GIB
from workbench.models import Workload

HERE = Path(__file__).parent
DEVICE = "rtx-4090"
DENOISE, DECODE = "denoise", "decode"


def row(name: str, plan_gb: float | None) -> dict[str, Any]:
    """One model: what it needs when everything stays on the card, and what a plan for a smaller card makes of it."""
    spec, workload = models.get(name), Workload.for_model(name)
    started = time.perf_counter()
    found: dict[str, Any] = {
        "model": name,
        "task": spec.task,
        "frames": workload.frames,
        "height": workload.height,
        "width": workload.width,
        "steps": workload.steps,
    }
    try:
        found |= _estimated(workload)
        found["planning_s"] = round(time.perf_counter() - started, 2)
        if plan_gb is not None:
            found |= _planned(name, plan_gb)
        found["status"] = "ok"
    except Exception as error:  # noqa: BLE001 - a row with its error is the result
        found["status"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found


def _estimated(workload: Workload) -> dict[str, Any]:
    cost = wb.estimate(workload, device=DEVICE)
    stages = {stage.name: stage for stage in cost.price.stages}
    denoising = [stage for stage_name, stage in stages.items() if stage_name.startswith(DENOISE)]
    return {
        "weights_gib": round(max(stage.weights_bytes for stage in stages.values()) / GIB, 3),
        "denoiser_activations_gib": round(max(stage.activations_bytes for stage in denoising) / GIB, 3),
        "decode_activations_gib": round(stages[DECODE].activations_bytes / GIB, 3),
        "peak_allocated_gib": round(cost.price.peak_allocated_bytes / GIB, 3),
        "peak_reserved_gib": round(cost.price.peak_reserved_bytes / GIB, 3),
        "required_vram_gib": round(cost.required_vram_bytes / GIB, 3),
        "peak_stage": cost.price.peak_stage,
        "seconds_rtx_4090": round(cost.total_s, 1),
        "low_s": round(cost.price.seconds[1], 1),
        "high_s": round(cost.price.seconds[2], 1),
        "fits_rtx_4090": cost.fits,
    }


def _planned(name: str, plan_gb: float) -> dict[str, Any]:
    started = time.perf_counter()
    plan = wb.plan(plan_gb, model=name)
    best = plan.best
    return {
        "plan_gb": plan_gb,
        "plan_device": plan.device.name,
        "plan_required_vram_gib": None if best is None else round(best.cost.required_vram_bytes / GIB, 3),
        "plan_seconds": None if best is None else round(best.cost.total_s, 1),
        "plan_settings": None if best is None else best.settings.canonical(),
        "plan_planning_s": round(time.perf_counter() - started, 2),
    }


def rows(names: list[str], plan_gb: float | None) -> Iterator[dict[str, Any]]:
    """Every row, said as it is found."""
    for name in names:
        found = row(name, plan_gb)
        print(f"{name:45} {found.get('required_vram_gib', '–'):>8} GiB  {found['status']}", flush=True)
        yield found


def write_csv(found: list[dict[str, Any]], path: Path) -> None:
    """The table as data."""
    columns = list(dict.fromkeys(key for entry in found for key in entry))
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(found)


def write_table(found: list[dict[str, Any]], path: Path) -> None:
    """The table for people."""
    made = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Every catalogue model at its native workload",
        "",
        f"Predicted on {date.today().isoformat()} with {made}. Nothing was run on a GPU. Weights are in the documented dtypes and all",
        "on the card; activations are what a stage needs beside them. The time is what an RTX 4090 would take with catalogue",
        "(uncalibrated) rates; where the required VRAM is above its 24 GiB it is that of a 4090 with enough memory, in brackets.",
        "",
        "| model | clip | steps | weights GiB | denoiser GiB | decode GiB | required VRAM GiB | RTX 4090 |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in found:
        clip = f"{entry['frames']} × {entry['height']} × {entry['width']}"
        if entry["status"] != "ok":
            lines.append(f"| {entry['model']} | {clip} | {entry['steps']} | {entry['status']} | | | | |")
            continue
        seconds = f"{entry['seconds_rtx_4090']:.0f} s"
        lines.append(
            f"| {entry['model']} | {clip} | {entry['steps']} | {entry['weights_gib']:.2f} | {entry['denoiser_activations_gib']:.2f} "
            f"| {entry['decode_activations_gib']:.2f} | {entry['required_vram_gib']:.1f} "
            f"| {seconds if entry['fits_rtx_4090'] else f'({seconds})'} |"
        )
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="*", default=list(models.names()), help="catalogue names; default: all"
    )
    parser.add_argument("--plan-gb", type=float, help="also plan for a typical card of that many GiB")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results; default: this one")
    given = parser.parse_args()
    started, found = time.perf_counter(), []
    for entry in rows([name for name in given.models if name != "tiny"], given.plan_gb):
        found.append(entry)
        write_csv(found, given.out / "catalogue.csv")
        write_table(found, given.out / "catalogue.md")
    failed = [entry["model"] for entry in found if entry["status"] != "ok"]
    print(
        f"{len(found)} models in {time.perf_counter() - started:.0f} s; failed: {', '.join(failed) or 'none'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
