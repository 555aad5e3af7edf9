"""Options that several commands share, and how their texts become numbers."""

from __future__ import annotations

import json
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
Prompt = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What the video shows; default: what the model knows.")
]
MaxSeconds = Annotated[
    str | None, typer.Option(metavar="S", help="Leave out what is expected to take longer.")
]
MinQuality = Annotated[
    str | None,
    typer.Option(metavar="PERCENT", help="Leave out what is known to keep less of the quality."),
]
MaxCaution = Annotated[
    str | None,
    typer.Option(metavar="N", help="Leave out what strays further from the un-optimised run."),
]
Pin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TECHNIQUE=VALUE",
        help="Keep as given, repeatable: steps=30, quantization.transformer=int8wo, offload={JSON}.",
    ),
]
Forbid = Annotated[
    list[str] | None,
    typer.Option(metavar="TECHNIQUE[=VALUE]", help="Do not use, repeatable: quantization, quantization=nf4."),
]
More = Annotated[
    bool,
    typer.Option(
        "--more",
        help="Search also what takes traces of its own (caches, more kinds of quantisation): minutes.",
    ),
]


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


def pins(texts: list[str] | None) -> dict[str, Any] | None:
    """What was pinned, as `plan(pin=)` takes it; None if nothing was."""
    if not texts:
        return None
    pinned: dict[str, Any] = {}
    for text in texts:
        path, has_value, value = text.partition("=")
        name, _, key = path.partition(".")
        if not name or (key and not has_value) or (has_value and not value):
            raise InputError(f"--pin must be TECHNIQUE, TECHNIQUE=VALUE or TECHNIQUE.KEY=VALUE, got {text!r}")
        read: Any = _value(value) if has_value else {}
        before = pinned.get(name)
        if name in pinned and not (key and isinstance(before, dict)):
            raise InputError(f"--pin {name} is given twice: {before!r} and {read!r}")
        pinned[name] = {**(before or {}), key: read} if key else read
    return pinned


def _value(text: str) -> Any:
    """JSON where it is JSON, `30` or `{"mode": "model"}`, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


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
