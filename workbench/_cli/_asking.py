"""Questions beside `plan`: `workbench fit`, `cards`, `shadow-prices` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from workbench._cli._output import check_folder, print_json, show, working, write

if TYPE_CHECKING:
    from workbench.search._report import Report

Figure = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figure, as HTML.")]


def given(**values: Any) -> dict[str, Any]:
    """The values that were given: the others keep the function's own defaults."""
    return {name: value for name, value in values.items() if value is not None}


def draw(figure: Any, path: Path) -> None:
    """Writes a figure as a page; plotly's code is fetched when it is opened."""
    write(path, figure.to_html(include_plotlyjs="cdn"))


def answer(data: dict[str, Any], report: Report, figure: Path | None, as_json: bool) -> None:
    """Prints an answer, as JSON or as a report."""
    if as_json:
        print_json(data)
        return
    show(report)
    if figure is not None:
        print(f"\nfigure written to {figure}")


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
    desktop_gb: Desktop = None,
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
        ram_gb=number("--ram-gb", ram_gb),
        desktop_gb=number("--desktop-gb", desktop_gb),
    )
    cap = number("--vram-gb", vram_gb)
    check_folder(out)
    check_folder(figure)
    with working("fitting", as_json) as tell:
        found = find(cap, model=model, maximize=maximize, device=device, tell=tell, **asked)
        best = None if found.plan is None else found.plan.best
        if out is not None and best is not None:
            best.profile().save(out)
        if figure is not None:
            from workbench.views import plot_fit

            draw(plot_fit(found), figure)
    from workbench.questions._fit_report import fit_report

    answer(found.to_json(), fit_report(found), figure, as_json)
    if out is not None and not as_json:
        print(f"\nprofile written to {out}" if best is not None else "\nno profile written")
    return 0 if best is not None else NOTHING_FITS


@app.command()
def cards(
    model: Model = "wan2.1-t2v-1.3b",
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", metavar="NAME", help="A card, repeatable; default: the whole catalogue."),
    ] = None,
    ram_gb: Ram = None,
    desktop_gb: Desktop = None,
    max_seconds: MaxSeconds = None,
    min_quality: MinQuality = None,
    max_caution: MaxCaution = None,
    pin: Pin = None,
    forbid: Forbid = None,
    figure: Figure = None,
    as_json: AsJson = False,
) -> int:
    """Find the smallest card for a workload, the fastest, and the cheapest to rent per clip."""
    from workbench.questions import cards as find

    asked = given(
        **size_of(frames, height, width, steps, guidance, batch),
        ram_gb=number("--ram-gb", ram_gb),
        desktop_gb=number("--desktop-gb", desktop_gb),
        max_seconds=number("--max-seconds", max_seconds),
        min_quality=number("--min-quality", min_quality),
        max_caution=whole("--max-caution", max_caution),
        pin=pins(pin),
        forbid=forbid,
        devices=device or None,
    )
    check_folder(figure)
    with working("planning for", as_json) as tell:
        found = find(model, tell=tell, **asked)
        if figure is not None:
            from workbench.views import plot_cards

            draw(plot_cards(found), figure)
    from workbench.questions._cards_report import cards_report

    answer(found.to_json(), cards_report(found), figure, as_json)
    return 0 if found.smallest is not None else NOTHING_FITS


@app.command(name="shadow-prices")
def shadow_prices(
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
    min_quality: MinQuality = None,
    max_caution: MaxCaution = None,
    pin: Pin = None,
    forbid: Forbid = None,
    figure: Figure = None,
    as_json: AsJson = False,
) -> int:
    """Show the best time under every memory cap, and what one more GiB buys."""
    from workbench.questions import shadow_prices as find

    asked = given(
        **size_of(frames, height, width, steps, guidance, batch),
        vram_gb=number("--vram-gb", vram_gb),
        ram_gb=number("--ram-gb", ram_gb),
        desktop_gb=number("--desktop-gb", desktop_gb),
        min_quality=number("--min-quality", min_quality),
        max_caution=whole("--max-caution", max_caution),
        pin=pins(pin),
        forbid=forbid,
    )
    check_folder(figure)
    with working("pricing", as_json) as tell:
        found = find(model, device=device, tell=tell, **asked)
        if figure is not None and found.steps:
            from workbench.views import plot_shadow_prices

            draw(plot_shadow_prices(found), figure)
    from workbench.questions._shadow_prices_report import shadow_prices_report

    answer(found.to_json(), shadow_prices_report(found), figure if found.steps else None, as_json)
    return 0 if found.steps else NOTHING_FITS


@app.command()
def compare(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="A model, repeatable; default: wan2.1-t2v-1.3b."),
    ] = None,
    frames: Frames = None,
    height: Height = None,
    width: Width = None,
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = None,
    device: Annotated[
        list[str] | None, typer.Option("--device", metavar="NAME", help="A card, repeatable.")
    ] = None,
    vram_gb: Annotated[
        list[str] | None, typer.Option("--vram-gb", metavar="GIB", help="A cap, repeatable.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--settings",
            metavar="FILE_OR_JSON",
            help="Techniques by id, repeatable; 'best' or none: the best plan.",
        ),
    ] = None,
    ram_gb: Ram = None,
    desktop_gb: Desktop = None,
    max_seconds: MaxSeconds = None,
    min_quality: MinQuality = None,
    max_caution: MaxCaution = None,
    pin: Pin = None,
    forbid: Forbid = None,
    figure: Figure = None,
    as_json: AsJson = False,
) -> int:
    """Put cards, models, caps or settings side by side: every combination of what is given."""
    from workbench.questions import compare as find

    asked = given(
        **size_of(frames, height, width, steps, guidance, batch),
        model=model or None,
        device=device or None,
        vram_gb=[number("--vram-gb", text) for text in vram_gb] if vram_gb else None,
        settings=[None if text == "best" else text for text in settings] if settings else None,
        ram_gb=number("--ram-gb", ram_gb),
        desktop_gb=number("--desktop-gb", desktop_gb),
        max_seconds=number("--max-seconds", max_seconds),
        min_quality=number("--min-quality", min_quality),
        max_caution=whole("--max-caution", max_caution),
        pin=pins(pin),
        forbid=forbid,
    )
    check_folder(figure)
    with working("comparing", as_json) as tell:
        found = find(tell=tell, **asked)
        if figure is not None:
            from workbench.views import plot_compare

            draw(plot_compare({side.name: side.candidate.cost for side in found.sides}), figure)
    from workbench.questions._compare_report import comparison_report

    answer(found.to_json(), comparison_report(found), figure, as_json)
    return 0 if any(side.candidate.cost.fits for side in found.sides) else NOTHING_FITS
