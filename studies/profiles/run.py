"""Makes the profiles that ship with the package: the best plan of every model, at its native workload, for seven card sizes.

    python studies/profiles/run.py                          # all models, those that are up to date left as they are
    python studies/profiles/run.py --models ltx-video       # one
    python studies/profiles/run.py --again                  # all, whatever is there

Each profile is written as it is found, into the package's own folder; a run that was stopped goes on where it was. A profile is up to date
when the installed library versions, the space and the search are those that it was made with. A model that fails is a row of the table
with its error.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from workbench import models
from workbench._errors import ProfileError, UnknownNameError
from workbench._estimate import Predictor
from workbench._files import replacing
from workbench._plan import Limits, searched
from workbench._units import format_seconds
from workbench.cost import Cost
from workbench.devices import resolve
from workbench.models import Workload
from workbench.profiles import ShippedProfiles, load_shipped, shipped_models
from workbench.profiles._shipped import FOLDER, SIZES, Entry
from workbench.profiles._versions import changed_versions
from workbench.search.pins import Pins
from workbench.search.space import VERSION

HERE = Path(__file__).parent
NOT_SHIPPED = ("tiny", "miniature")
"""The package's own small models fit everywhere."""


def up_to_date(name: str, search: dict[str, object], folder: Path) -> ShippedProfiles | None:
    """The profiles that are there, if they were made with what is installed."""
    try:
        there = load_shipped(name, folder)
    except (UnknownNameError, ProfileError):
        return None
    same = dict(there.search) == search and there.workload == Workload.for_model(name)
    return there if same and not changed_versions(there.versions) else None


def made(
    name: str, sizes: list[int], *, trials: int, seed: int, folder: Path, again: bool
) -> ShippedProfiles | None:
    """The profiles of one model, written size by size; None if none are asked for."""
    search = {"space": VERSION, "trials": trials, "seed": seed}
    kept = None if again else up_to_date(name, search, folder)
    predictor: Predictor | None = None
    for size in sizes:
        if kept is not None and size in kept.sizes:
            continue
        predictor = predictor or Predictor(Workload.for_model(name))
        cost, caution = best(predictor, size, trials, seed)
        one = ShippedProfiles.of(
            [(size, cost, caution)], pipeline_class=predictor.spec.pipeline_class, search=search
        )
        kept = one if kept is None else one.with_entries(kept.entries)
        kept.save(folder)
    return kept


def best(predictor: Predictor, size: int, trials: int, seed: int) -> tuple[Cost, int]:
    """The best configuration for a typical card of so many GiB, or the nearest miss, and its caution."""
    device = resolve(None, vram_gb=size)
    plan = searched(predictor, device, limits=Limits(), pins=Pins.NONE, trials=trials, seed=seed)
    found = plan.best or plan.nearest_miss
    assert found is not None, "a plan has a best configuration or a nearest miss"
    return found.cost, found.caution


def cell(entry: Entry | None) -> str:
    """What the table says of one size."""
    if entry is None:
        return ""
    if not entry.fits:
        return f"lacks {entry.missing_gib:.1f} GiB"
    seconds = format_seconds(entry.prediction["time"]["total_s"])
    return f"{seconds}, {entry.prediction['memory']['host_ram_gib']:.0f} GiB RAM, {entry.caution}"


def write_table(failed: dict[str, str], folder: Path, out: Path) -> None:
    """The table for people: every model that has profiles, and those that failed."""
    lines = [
        "# Shipped profiles",
        "",
        "Predicted, nothing of it was run on a GPU: seconds of one video at the model's native workload with the best plan for a typical",
        "card of that size (rates of the catalogue, not calibrated), the host RAM that it takes, and its caution (0: the output is that of",
        "the un-optimised run; `workbench/search/caution.py`). Where nothing fits, what the nearest miss lacks. The settings:",
        "`workbench profiles show MODEL@GIB`.",
        "",
        "| model | " + " | ".join(f"{size} GiB" for size in SIZES) + " | versions |",
        "|---|" + "---|" * len(SIZES) + "---|",
    ]
    for name in shipped_models(folder):
        there = load_shipped(name, folder)
        entries = {entry.vram_gb: entry for entry in there.entries}
        cells = " | ".join(cell(entries.get(size)) for size in SIZES)
        lines.append(
            f"| {name} | {cells} | {', '.join(f'{n} {v}' for n, v in there.versions.items())}, {there.search['space']} |"
        )
    lines += [f"| {name} | {error} |" + " |" * len(SIZES) for name, error in sorted(failed.items())]
    with replacing(out / "profiles.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = [name for name in models.names() if name not in NOT_SHIPPED]
    parser.add_argument("--models", nargs="*", default=everything, help="catalogue names; default: all")
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES), help="GiB; default: all")
    parser.add_argument("--trials", type=int, default=64, help="of the sampler; default: 64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="also what is up to date")
    parser.add_argument("--profiles", type=Path, default=FOLDER, help="folder of the profiles")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the table")
    given = parser.parse_args(arguments)
    started, failed = time.perf_counter(), {}
    for name in given.models:
        try:
            there = made(
                name,
                given.sizes,
                trials=given.trials,
                seed=given.seed,
                folder=given.profiles,
                again=given.again,
            )
            print(
                f"{name:45} {', '.join(str(size) for size in there.sizes if there.entry(size).fits) if there else ''} GiB fit",
                flush=True,
            )
        except Exception as error:  # noqa: BLE001 - a row with its error is the result
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{name:45} {failed[name]}", flush=True)
        write_table(failed, given.profiles, given.out)
    print(
        f"{len(given.models)} models in {time.perf_counter() - started:.0f} s; failed: {', '.join(failed) or 'none'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
