"""`workbench sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from workbench._cli._output import clean_stdout, print_json

if TYPE_CHECKING:
    from workbench.quality import Sensitivity


@app.command()
def sensitivity(
    model: Annotated[
        str,
        typer.Option(metavar="NAME", help="miniature, tiny, or a folder that save_pretrained wrote."),
    ] = "miniature",
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Of quantisation; may be repeated. Default: int8wo and nf4."),
    ] = None,
    component: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network; default: the first denoiser.")
    ] = None,
    by: Annotated[str, typer.Option(metavar="block|layer", help="What is quantised alone.")] = "block",
    inputs: Annotated[str, typer.Option(metavar="N", help="Calls of the network to compare on.")] = "4",
    clips: Annotated[str, typer.Option(metavar="N", help="Whole runs with all layers quantised.")] = "2",
    high_precision: Annotated[
        str | None,
        typer.Option(metavar="N", help="Print settings that leave the N most sensitive layers as they are."),
    ] = None,
    prompt: Prompt = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The record; default: where plans look for it.")
    ] = None,
    seed: Seed = "0",
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    as_json: AsJson = False,
) -> int:
    """Find out which layers of a model mind being quantised; plans then say "measured on this model"."""
    size = size_of(frames, height, width, steps, guidance, None)
    numbers: dict[str, Any] = {"inputs": whole("--inputs", inputs), "clips": whole("--clips", clips)}
    kinds = tuple(dict.fromkeys(kind)) if kind else ("int8wo", "nf4")
    kept = None if high_precision is None else whole("--high-precision", high_precision)
    with clean_stdout():
        from workbench.measurement import sensitivity as scan
        from workbench.measurement._pipelines import open_pipeline, spec_of

        pipe = open_pipeline(model, spec_of(model))
        pipe.set_progress_bar_config(disable=True)
        found = scan(
            pipe,
            kinds=kinds,
            component=component,
            by=by,
            prompt=prompt,
            seed=whole("--seed", seed) or 0,
            path=out,
            say=lambda line: typer.echo(line, err=True),
            **numbers,
            **size,
        )
    mixed = None if kept is None else {name: found.settings(name, high_precision=kept) for name in kinds}
    if as_json:
        print_json(_json(found, kinds, mixed))
        return 0
    for name in kinds:
        scanned = found.kinds[name]
        print(
            f"{name} on all layers: {scanned.whole:.3g} of the prediction's mean square; each alone, the worst first:"
        )
        distances = dict(zip(found.layers, scanned.distances, strict=True))
        for layer in found.order(name):
            print(f"  {distances[layer]:9.3g}  {found.component}.{layer}")
        if mixed is not None:
            print_json(mixed[name])
    return 0


def _json(found: Sensitivity, kinds: tuple[str, ...], mixed: dict[str, Any] | None) -> dict[str, Any]:
    scans = {
        name: {
            "distances": list(scanned.distances),
            "packed_bytes": list(scanned.packed_bytes),
            "whole": scanned.whole,
            "psnr_db": [min(value, 100.0) for value in scanned.psnr_db],
            "ssim": list(scanned.ssim),
            "order": list(found.order(name)),
        }
        for name, scanned in ((name, found.kinds[name]) for name in kinds)
    }
    return {
        "component": found.component,
        "layers": list(found.layers),
        "layer_bytes": list(found.layer_bytes),
        "kinds": scans,
        "settings": mixed,
    }
