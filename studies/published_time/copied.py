"""The published times that this study scores: copied once from a larger collection, word for word.

    python studies/published_time/copied.py ../shared/published_measurements.csv

writes `rows.csv` (every generation with a time) and `not_copied.csv` (the others: id and reason).
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from workbench._files import replacing

HERE = Path(__file__).parent
COLUMNS = (
    *("id", "src", "model", "task", "frames", "height", "width", "batch", "steps", "cfg", "dtype", "quant"),
    *("offload", "vae", "attn", "compile", "cache", "hardware", "metric", "time_s", "note"),
)
Row = Mapping[str, str]


def read(path: Path = HERE / "rows.csv") -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes rows so that the file appears whole; other columns are left out."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def why_not(row: Row) -> str | None:
    """Why a row of the collection is not copied; None if it is."""
    if "training" in row["task"]:
        return "training"
    if not re.search(r"\d", row["time_s"]):
        return "no time"
    return None


def main() -> int:
    """The command."""
    collection = read(Path(sys.argv[1]))
    reasons = {row["id"]: why_not(row) for row in collection}
    write(HERE / "rows.csv", COLUMNS, [row for row in collection if reasons[row["id"]] is None])
    left = [{"id": name, "reason": reason} for name, reason in reasons.items() if reason is not None]
    write(HERE / "not_copied.csv", ("id", "reason"), left)
    print(f"{len(collection)} rows, {len(collection) - len(left)} copied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
