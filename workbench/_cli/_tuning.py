"""`workbench tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench._cli._app import NOTHING_FITS, app
from workbench._cli._options import (
    AsJson,
    Forbid,
    Frames,
    Guidance,
    Height,
    MaxCaution,
    MaxSeconds,
    MinQuality,
    Pin,
    Ram,
    Seed,
    Steps,
    Width,
    number,
    pins,
    size_of,
    whole,
)
from workbench._cli._output import check_folder, clean_stdout, print_json, show


@app.command()
def tune(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="miniature, tiny, or a folder that save_pretrained wrote; default: miniature.",
        ),
    ] = None,
    vram_gb: Annotated[
        str | None,
        typer.Option(
            "--vram-gb",
            metavar="GIB",
            help="What a run may take of the GPU, of memory without one; default: all.",
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="S", help="Seconds after which no run is begun; default: 600.")
    ] = "600",
    runs: Annotated[
        str | None, typer.Option(metavar="N", help="At most so many runs; default: as the budget allows.")
    ] = None,
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    ram_gb: Ram = None,
    max_seconds: MaxSeconds = None,
    min_quality: MinQuality = None,
    max_caution: MaxCaution = None,
    pin: Pin = None,
    forbid: Forbid = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What the videos show.")] = None,
    repeats: Annotated[str, typer.Option(metavar="N", help="Measured calls of each run; default: 1.")] = "1",
    warmup: Annotated[str, typer.Option(metavar="N", help="Calls before them; default: 0.")] = "0",
    trials: Annotated[
        str | None, typer.Option(metavar="N", help="Trials of the sampler, by prediction; default: 64.")
    ] = None,
    seed: Seed = "0",
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Study, records and logs; the same folder goes on.")
    ] = Path("tuned"),
    storage: Annotated[
        str | None, typer.Option(metavar="FILE_OR_URL", help="Another place for the study.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the best as a profile.")] = None,
    as_json: AsJson = False,
) -> int:
    """Confirm and refine a plan by real runs on this machine, each in a process of its own."""
    asked: dict[str, Any] = {
        **size_of(frames, height, width, steps, guidance, None),
        "ram_gb": number("--ram-gb", ram_gb),
        "max_seconds": number("--max-seconds", max_seconds),
        "min_quality": number("--min-quality", min_quality),
        "max_caution": whole("--max-caution", max_caution),
        "pin": pins(pin),
        "forbid": forbid,
        "prompt": prompt,
        "runs": whole("--runs", runs),
        "trials": whole("--trials", trials),
        "repeats": whole("--repeats", repeats),
        "warmup": whole("--warmup", warmup),
        "seed": whole("--seed", seed),
        "budget": number("--budget", budget),
        "storage": storage,
    }
    cap = number("--vram-gb", vram_gb)
    check_folder(out)
    with clean_stdout():
        from workbench.measurement import tune as find

        given = {name: value for name, value in asked.items() if value is not None}
        found = find(model, cap, out=folder, watch=_watch(as_json), **given)
        profile = found.profile
        if out is not None and profile is not None:
            profile.save(out)
    if as_json:
        print_json(found.to_json())
    else:
        from workbench.measurement._tuned_report import tuned_report

        show(tuned_report(found))
        if out is not None:
            print(f"\nprofile written to {out}" if profile is not None else "\nno profile written")
    return 0 if found.best is not None else NOTHING_FITS


def _watch(as_json: bool) -> Any:
    """How each run is doing, on stderr; nothing beside JSON."""
    from workbench.measurement import NoWatch, watch_here

    return NoWatch() if as_json else watch_here()
