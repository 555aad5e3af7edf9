"""Replays recorded snapshots through the workbench's model of the allocator, and says how far what is reserved agrees, step by step.

    python studies/gpu_validation/replay.py                    # every snapshot under records/
    python studies/gpu_validation/replay.py PATH ...           # these files or folders

Needs the workbench, no GPU and no torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench._errors import InputError
from workbench.cost.allocator.snapshots import Record, compare

RECORDS = Path(__file__).parent / "records"
PATTERN = "*.snapshot.json.gz"


def line(path: Path) -> str:
    """One row of the table: a snapshot's name, options and agreement."""
    record = Record.load(path)
    found = compare(record)
    most = max(found.recorded, default=0) / 2**30
    first = "none" if found.first_difference is None else f"step {found.first_difference}"
    return (
        f"| {path.name.partition('.')[0]} | {record.options.conf() or 'defaults'} | {len(found.recorded)} | {most:.3f} "
        f"| {100 * found.peak_error:+.2f} % | {100 * found.share_equal:.1f} % | {first} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if there is no snapshot or one cannot be replayed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, default=[RECORDS])
    chosen = parser.parse_args(arguments).paths
    paths = [found for path in chosen for found in (sorted(path.rglob(PATTERN)) if path.is_dir() else [path])]
    if not paths:
        print(f"no {PATTERN} in {', '.join(map(str, chosen))}")
        return 1
    print(
        "| snapshot | allocator | steps | reserved GiB | error of the peak | steps equal | first difference |"
    )
    print("|---|---|---|---|---|---|---|")
    failed = False
    for path in paths:
        try:
            print(line(path))
        except (InputError, OSError) as error:
            failed = True
            print(f"| {path.name} | {error} |||||")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
