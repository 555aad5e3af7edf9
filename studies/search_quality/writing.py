"""The rows as CSV and as tables."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scoring import geometric_mean

from workbench._files import replacing

SEARCHES = {"study": "the study", "blind": "TPE without seeds", "random": "random"}
GROUPS = {"diffusers": "diffusers' recipes", "mmgp": "mmgp's presets", "levels": "memory levels"}
COLUMNS = (
    "model",
    "cap_gib",
    "device",
    "seed",
    "points",
    "trials",
    *(f"{name}_{what}" for name in SEARCHES for what in ("hypervolume", "gap")),
)


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A line for each model, cap and seed."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerows({**row, **seed} for seed in row["seeds"])


def speed_ups(rows: Iterable[Mapping[str, Any]], group: str) -> list[float]:
    """For each row in which a recipe of a group fits: the best of them against the fastest plan of at most its caution.

    The best of a group is the one that the plan gains least on."""
    found = []
    for row in rows:
        fitting = [r for r in row["recipes"] if r["group"] == group and r.get("fits")]
        if fitting:
            found.append(min(r["seconds"] / r["plan_s"] for r in fitting))
    return found


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Both tables, with what they rest on."""
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*_searches(rows), "", *_recipes(rows), ""]), encoding="utf-8")


def _searches(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = "| model | cap GiB | points | " + " | ".join(
        f"{title}: hypervolume, gap" for title in SEARCHES.values()
    )
    lines = [f"{head} |", "|---|---:|---:|" + "---:|" * len(SEARCHES)]
    for row in rows:
        cells = [
            f"{min(s[f'{name}_hypervolume'] for s in row['seeds']):.3f}, {_percent(max(s[f'{name}_gap'] for s in row['seeds']))}"
            for name in SEARCHES
        ]
        lines.append(f"| {row['model']} | {row['cap_gib']:g} | {row['points']:,} | {' | '.join(cells)} |")
    trials = rows[0]["trials"] if rows else 0
    seeds = len(rows[0]["seeds"]) if rows else 0
    return [
        f"Each search after {trials} trials against the exact front: the worst of {seeds} seeds. The gap is how much slower than the exact",
        "front its fastest is, at the caution where that is most; ∞ where it has nothing at a caution at which something fits.",
        "",
        *lines,
    ]


def _percent(part: float) -> str:
    return "∞" if math.isinf(part) else f"{100 * part:.1f} %"


def _recipes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| against | rows where one fits | plan faster by, geometric mean | least | most |",
        "|---|---:|---:|---:|---:|",
    ]
    for group, title in GROUPS.items():
        found = speed_ups(rows, group)
        if found:
            mean = geometric_mean(found)
            lines.append(
                f"| the best of {title} | {len(found)} of {len(rows)} | {mean:.2f} x | {min(found):.2f} x | {max(found):.2f} x |"
            )
        else:
            lines.append(f"| the best of {title} | 0 of {len(rows)} | – | – | – |")
    return [
        "Predicted times of the fastest plan of at most a recipe's caution, on the same card:",
        "",
        *lines,
    ]
