"""`workbench plan`, `workbench estimate` and `workbench explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench._cli._app import NOTHING_FITS, app
from workbench._cli._options import (
    AsJson,
    Batch,
    Desktop,
    DeviceName,
    Forbid,
    Frames,
    Guidance,
    Height,
    MaxCaution,
    MaxSeconds,
    MinQuality,
    Model,
    More,
    Pin,
    Ram,
    Seed,
    SettingsText,
    Steps,
    Vram,
    Width,
    number,
    pins,
    size_of,
    whole,
)
from workbench._cli._output import check_folder, print_json, show, working, write


@app.command()
def plan(
    model: Model = "wan2.1-t2v-1.3b",
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = None,
    device: DeviceName = None,
    vram_gb: Vram = None,
    ram_gb: Ram = None,
    desktop_gb: Desktop = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(metavar="time|quality", help="What to look for, repeatable; default: both."),
    ] = None,
    max_seconds: MaxSeconds = None,
    min_quality: MinQuality = None,
    max_caution: MaxCaution = None,
    pin: Pin = None,
    forbid: Forbid = None,
    more: More = False,
    trials: Annotated[str | None, typer.Option(metavar="N", help="Trials of the sampler.")] = None,
    seed: Seed = "0",
    storage: Annotated[
        str | None, typer.Option(metavar="FILE_OR_URL", help="Keep the Optuna study; default: in memory.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the best configuration as a profile.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Find the settings under which a model fits a card, fastest first."""
    from workbench._plan import plan as find

    asked: dict[str, Any] = {
        **size_of(frames, height, width, steps, guidance, batch),
        "objectives": tuple(objective) if objective else None,
        "max_seconds": number("--max-seconds", max_seconds),
        "min_quality": number("--min-quality", min_quality),
        "max_caution": whole("--max-caution", max_caution),
        "pin": pins(pin),
        "forbid": forbid,
        "trials": whole("--trials", trials),
    }
    (cap, ram, desktop), start = _memory(vram_gb, ram_gb, desktop_gb), whole("--seed", seed)
    check_folder(out)
    with working("planning", as_json):
        found = find(
            cap,
            model=model,
            device=device,
            ram_gb=ram,
            desktop_gb=desktop,
            storage=storage,
            more=more,
            seed=start or 0,
            **{name: value for name, value in asked.items() if value is not None},
        )
        if out is not None and found.best is not None:
            found.best.profile().save(out)
    if as_json:
        print_json(found.to_json())
    else:
        from workbench.search._report import plan_report
        from workbench.search._words import describe_choice

        show(plan_report(found, describe_choice(device, cap)))
        if out is not None:
            print(f"\nprofile written to {out}" if found.best is not None else "\nno profile written")
    return 0 if found.best is not None else NOTHING_FITS


@app.command()
def estimate(
    model: Model = "wan2.1-t2v-1.3b",
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = None,
    device: DeviceName = None,
    vram_gb: Vram = None,
    ram_gb: Ram = None,
    desktop_gb: Desktop = None,
    settings: SettingsText = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the JSON to a file.")] = None,
    as_json: AsJson = False,
) -> int:
    """Predict memory, time and quality of one configuration."""
    from workbench._estimate import estimate as predict
    from workbench.models import Workload

    cap, ram, desktop = _memory(vram_gb, ram_gb, desktop_gb)
    size = size_of(frames, height, width, steps, guidance, batch)
    check_folder(out)
    with working("estimating", as_json):
        cost = predict(
            Workload.for_model(model, **size), settings, device, vram_gb=cap, ram_gb=ram, desktop_gb=desktop
        )
    if out is not None:
        write(out, json.dumps(cost.to_json(), indent=2, allow_nan=False) + "\n")
    if as_json:
        print_json(cost.to_json())
    else:
        from workbench.search._report import cost_report
        from workbench.search._words import describe_choice

        show(cost_report(cost, describe_choice(device, cap)))
        if out is not None:
            print(f"\nestimate written to {out}")
    return 0


@app.command()
def explain(
    model: Model = "wan2.1-t2v-1.3b",
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = None,
    device: DeviceName = None,
    vram_gb: Vram = None,
    ram_gb: Ram = None,
    desktop_gb: Desktop = None,
    settings: SettingsText = None,
    as_json: AsJson = False,
) -> int:
    """Say what is alive at the memory peak, tensor by tensor, and what would lower it."""
    from workbench._explain import explain as find_out
    from workbench.models import Workload

    cap, ram, desktop = _memory(vram_gb, ram_gb, desktop_gb)
    size = size_of(frames, height, width, steps, guidance, batch)
    with working("explaining", as_json):
        found = find_out(
            Workload.for_model(model, **size), settings, device, vram_gb=cap, ram_gb=ram, desktop_gb=desktop
        )
    if as_json:
        print_json(found.to_json())
    else:
        from workbench.search._explained import explanation_report
        from workbench.search._words import describe_choice

        show(explanation_report(found, describe_choice(device, cap)))
    return 0


def _memory(
    vram_gb: str | None, ram_gb: str | None, desktop_gb: str | None
) -> tuple[float | None, float | None, float | None]:
    return number("--vram-gb", vram_gb), number("--ram-gb", ram_gb), number("--desktop-gb", desktop_gb)
