"""Options that several commands share, and how their texts become numbers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workbench._errors import InputError

# Numbers arrive as text and are read by `_whole` and `_number`: their errors are then sentences like every other error's.
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="A model of the catalogue (workbench models), a folder with configurations, or a hub id.",
    ),
]
Frames = Annotated[
    str | None, typer.Option(metavar="N", help="Video frames; default: the model's native ones.")
]
Height = Annotated[str | None, typer.Option(metavar="PIXELS", help="Default: the model's native height.")]
Width = Annotated[str | None, typer.Option(metavar="PIXELS", help="Default: the model's native width.")]
SettingsText = Annotated[
    str | None,
    typer.Option(metavar="FILE_OR_JSON", help="Techniques by id; default: the library's defaults."),
]
Steps = Annotated[
    str | None, typer.Option(metavar="N", help="Denoising steps; default: the model's native ones.")
]
Guidance = Annotated[
    str | None, typer.Option(metavar="X", help="Classifier-free guidance scale; at most 1 is off.")
]
Batch = Annotated[str | None, typer.Option(metavar="N", help="Videos made by one call; default: 1.")]
DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", help="A card (workbench devices), cpu, or this for the GPU here."
    ),
]
Vram = Annotated[
    str | None,
    typer.Option(
        "--vram-gb",
        metavar="GIB",
        help="With --device a cap below its memory; alone a typical card of that size.",
    ),
]
Ram = Annotated[str | None, typer.Option("--ram-gb", metavar="GIB", help="Host RAM; default: not limited.")]
Desktop = Annotated[
    str | None,
    typer.Option(
        "--desktop-gb",
        metavar="GIB",
        help="What the desktop and other programs hold on the card; default: 0.4 with a display, 0 on data-centre cards.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Seed = Annotated[str, typer.Option(metavar="N")]


def whole(option: str, text: str | None) -> int | None:
    """The whole number that was given, None if nothing was."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{option} must be a whole number, got {text!r}") from None


def number(option: str, text: str | None) -> float | None:
    """The number that was given, None if nothing was."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option} must be a number, got {text!r}") from None


def size_of(
    frames: str | None,
    height: str | None,
    width: str | None,
    steps: str | None,
    guidance: str | None,
    batch: str | None,
) -> dict[str, Any]:
    """The workload's values that were given, as numbers."""
    values: dict[str, Any] = {
        "frames": whole("--frames", frames),
        "height": whole("--height", height),
        "width": whole("--width", width),
        "steps": whole("--steps", steps),
        "guidance": number("--guidance", guidance),
        "batch": whole("--batch", batch),
    }
    return {name: value for name, value in values.items() if value is not None}
