"""Questions beside `plan`: `workbench fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench._cli._app import NOTHING_FITS, app
from workbench._cli._options import (
    AsJson,
    Batch,
    DeviceName,
    Forbid,
    Frames,
    Guidance,
    Height,
    MaxCaution,
    MaxSeconds,
    MinQuality,
    Model,
    Pin,
    Ram,
    Seed,
    Steps,
    Vram,
    Width,
    number,
    pins,
    size_of,
    whole,
)
from workbench._cli._output import check_folder, print_json, show, working

Figure = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figure, as HTML.")]


def given(**values: Any) -> dict[str, Any]:
    """The values that were given: the others keep the function's own defaults."""
    return {name: value for name, value in values.items() if value is not None}


@app.command()
def fit(
    model: Model = "wan2.1-t2v-1.3b",
    maximize: Annotated[
        str, typer.Option(metavar="frames|resolution", help="What to make as large as possible.")
    ] = "frames",
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = None,
    device: DeviceName = None,
    vram_gb: Vram = None,
    ram_gb: Ram = None,
    max_seconds: MaxSeconds = None,
    min_quality: MinQuality = None,
    max_caution: MaxCaution = None,
    pin: Pin = None,
    forbid: Forbid = None,
    trials: Annotated[str | None, typer.Option(metavar="N", help="Trials of the last plan.")] = None,
    seed: Seed = "0",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the best configuration as a profile.")
    ] = None,
    figure: Figure = None,
    as_json: AsJson = False,
) -> int:
    """Find the longest clip, or the largest size, that a card can make."""
    from workbench.questions import fit as find

    asked = given(
        **size_of(frames, height, width, steps, guidance, batch),
        max_seconds=number("--max-seconds", max_seconds),
        min_quality=number("--min-quality", min_quality),
        max_caution=whole("--max-caution", max_caution),
        pin=pins(pin),
        forbid=forbid,
        trials=whole("--trials", trials),
        seed=whole("--seed", seed),
    )
    cap, ram = number("--vram-gb", vram_gb), number("--ram-gb", ram_gb)
    check_folder(out)
    check_folder(figure)
    with working("fitting", as_json) as tell:
        found = find(cap, model=model, maximize=maximize, device=device, ram_gb=ram, tell=tell, **asked)
        best = None if found.plan is None else found.plan.best
        if out is not None and best is not None:
            best.profile().save(out)
        if figure is not None:
            from workbench.views import plot_fit

            plot_fit(found).write_html(figure, include_plotlyjs="cdn")
    if as_json:
        print_json(found.to_json())
    else:
        from workbench.questions._fit_report import fit_report

        show(fit_report(found))
        if out is not None:
            print(f"\nprofile written to {out}" if best is not None else "\nno profile written")
        if figure is not None:
            print(f"\nfigure written to {figure}")
    return 0 if best is not None else NOTHING_FITS
