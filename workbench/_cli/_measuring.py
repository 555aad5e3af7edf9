"""`workbench measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench._cli._app import RUN_FAILED, app
from workbench._cli._options import (
    AsJson,
    Frames,
    Guidance,
    Height,
    Prompt,
    Seed,
    Steps,
    Width,
    number,
    size_of,
    whole,
)
from workbench._cli._output import clean_stdout, print_json, show


@app.command()
def measure(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="miniature, tiny, or a folder that save_pretrained wrote; default: the profile's if it ships, else miniature.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE_OR_JSON", help="A candidate, techniques by id; repeatable."),
    ] = None,
    profile: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A candidate, a profile; repeatable.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="FILE_OR_JSON", help="What they are compared with; default: the pipeline as it is."
        ),
    ] = None,
    prompt: Prompt = None,
    negative_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it should not be.")
    ] = None,
    seed: Seed = "0",
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    repeats: Annotated[str, typer.Option(metavar="N", help="Measured calls of each.")] = "3",
    warmup: Annotated[str, typer.Option(metavar="N", help="Calls before them.")] = "1",
    limit_s: Annotated[
        str | None,
        typer.Option(
            "--limit-s", metavar="S", help="What loading and each call may take; default: any time."
        ),
    ] = None,
    vram_gb: Annotated[
        str | None,
        typer.Option("--vram-gb", metavar="GIB", help="What PyTorch may reserve on the GPU; default: all."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The record, which grows run by run; the same command again measures only what is missing in it.",
        ),
    ] = Path("measure.nc"),
    again: Annotated[
        str, typer.Option(metavar="WHAT", help="Measure again: nothing, failed or all.")
    ] = "nothing",
    as_json: AsJson = False,
) -> int:
    """Measure settings against the un-optimised run, each in a fresh process: time, memory and quality beside the prediction."""
    options: dict[str, Any] = {
        "baseline": baseline,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "seed": whole("--seed", seed),
        "repeats": whole("--repeats", repeats),
        "warmup": whole("--warmup", warmup),
        "limit_s": number("--limit-s", limit_s),
        "vram_gb": number("--vram-gb", vram_gb),
        "out": out,
        "again": again,
        **size_of(frames, height, width, steps, guidance, None),
    }
    with clean_stdout():
        from workbench.measurement import measure as make
        from workbench.measurement import watch_here

        found = make(model, [*(profile or []), *(settings or [])], watch=watch_here(), **options)
    if as_json:
        print_json(found.to_json())
    else:
        from workbench.measurement import measurements_report

        show(measurements_report(found))
    # a candidate, or a baseline, that cannot run is a finding; nothing that ran is a failure
    return 0 if any(one.num_runs for one in found) else RUN_FAILED
