"""The matrix for people: a column per family, a row per case, and below it every sentence that a cell stands for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from workbench import models
from workbench._files import replacing

ACTS, REFUSED, TRACED, UNTESTABLE, WRONG = "●", "–", "○", "?", "✗"
_LEGEND = (
    f"{ACTS} acts, seen in a run on the CPU; {TRACED} acts, seen in a trace for CUDA (a CPU cannot run it); {REFUSED} refused by "
    f"`applies_to`, and rightly: it does nothing or fails; {UNTESTABLE} cannot be tried without a GPU; {WRONG} `applies_to` and what "
    "happened disagree, or it was not undone: a fault of ours; empty: not tried."
)


def write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes the matrix as markdown."""
    names = list(dict.fromkeys(row["model"] for row in rows))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    cells = {(row["label"], row["model"]): row for row in rows}
    numbers = {name: k for k, name in enumerate(names, 1)}
    lines = [
        "# Which technique acts on which model",
        "",
        f"Made by `python studies/technique_matrix/run.py` on {date.today().isoformat()} with {_versions(rows)}.",
        "Each technique was applied",
        "to a tiny twin of the model (the same classes, small dimensions, random weights), the twin was run, compared with a run",
        "without, and run again after removal.",
        "",
        _LEGEND,
        "",
        f"| technique | {' | '.join(str(numbers[name]) for name in names)} |",
        f"|---|{':-:|' * len(names)}",
        *(
            f"| {label} | {' | '.join(mark(cells.get((label, name))) for name in names)} |"
            for label in labels
        ),
        "",
        *(f"{number}. {name} ({models.get(name).pipeline_class})" for name, number in numbers.items()),
        "",
        *_sentences("What disagrees", [row for row in rows if row["disagreement"]], "disagreement"),
        *_sentences(
            "What is refused, and why",
            [row for row in rows if row["refusal"] and not row["disagreement"]],
            "refusal",
        ),
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def mark(row: dict[str, Any] | None) -> str:
    """The sign of a cell."""
    if row is None:
        return ""
    if row["disagreement"]:
        return WRONG
    if row["refusal"]:
        return REFUSED
    if row["verdict"] == "acts":
        return ACTS if row["where"] == "run on the CPU" else TRACED
    return UNTESTABLE


def _sentences(title: str, rows: Sequence[dict[str, Any]], key: str) -> list[str]:
    """Each sentence once, with where it holds."""
    places: dict[str, list[str]] = {}
    for row in rows:
        sentence = str(row[key]).replace(f" {row['model']}", " it").replace("|", "\\|")
        places.setdefault(sentence, []).append(f"{row['model']}, {row['label']}")
    found = [f"- {sentence} ({'; '.join(where)})" for sentence, where in places.items()]
    return [f"## {title}", "", *(found or ["Nothing."]), ""]


def _versions(rows: Sequence[dict[str, Any]]) -> str:
    made = list(dict.fromkeys(", ".join(f"{k} {v}" for k, v in row["versions"].items()) for row in rows))
    return " and, earlier rows, ".join(reversed(made)) if made else "nothing yet"
