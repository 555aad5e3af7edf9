"""`workbench generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench._cli._app import app
from workbench._cli._options import (
    AsJson,
    Frames,
    Guidance,
    Height,
    Prompt,
    Seed,
    Steps,
    Width,
    size_of,
    whole,
)
from workbench._cli._output import clean_stdout, print_json, show


@app.command()
def generate(
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What to apply; default: nothing.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="miniature, tiny, or a folder that save_pretrained wrote; default: the profile's if it ships, else miniature.",
        ),
    ] = None,
    prompt: Prompt = None,
    negative_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it should not be.")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The video; a record is written beside it.")
    ] = Path("clip.mp4"),
    seed: Seed = "0",
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    as_json: AsJson = False,
) -> int:
    """Make a video with a profile applied, and measure it beside the prediction."""
    start = whole("--seed", seed)
    size = size_of(frames, height, width, steps, guidance, None)
    with clean_stdout():
        from workbench.measurement import RichProgress
        from workbench.measurement import generate as make

        measured = make(
            profile,
            model=model,
            prompt=prompt,
            negative_prompt=negative_prompt,
            out=out,
            seed=start or 0,
            progress=RichProgress(),
            **size,
        )
    if as_json:
        print_json(measured.to_json())
    else:
        from workbench.views._measured import measurement_report

        show(measurement_report(measured))
    return 0
