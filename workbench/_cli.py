"""The command line: thin, over the same functions that code calls. Importing it imports nothing heavy.

Exit codes: 0, 1 a run that failed, 2 bad input, 3 nothing fits. With `--json` stdout holds one JSON object and nothing else; whatever a
library prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from workbench._errors import InputError, WorkbenchError
from workbench._version import __version__

if TYPE_CHECKING:
    from workbench.models import Workload
    from workbench.search._report import Report

WIDEST = 120
"""Columns beyond which a table is no longer easy to read."""
RUN_FAILED, BAD_INPUT, NOTHING_FITS, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    help="Says how a video diffusion model fits your GPU, how long it takes and what it costs in quality, before anything is run.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Numbers arrive as text and are read by `_whole` and `_number`: their errors are then sentences like every other error's.
Model = Annotated[str, typer.Option(metavar="NAME", help="A model of the catalogue (workbench models).")]
Frames = Annotated[
    str | None, typer.Option(metavar="N", help="Video frames; default: the model's native ones.")
]
Height = Annotated[str | None, typer.Option(metavar="PIXELS", help="Default: the model's native height.")]
Width = Annotated[str | None, typer.Option(metavar="PIXELS", help="Default: the model's native width.")]
Steps = Annotated[
    str | None, typer.Option(metavar="N", help="Denoising steps; default: the model's native ones.")
]
Guidance = Annotated[
    str | None, typer.Option(metavar="X", help="Classifier-free guidance scale; at most 1 is off.")
]
Batch = Annotated[str | None, typer.Option(metavar="N", help="Videos made by one call; default: 1.")]
DeviceName = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="A card (workbench devices).")
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
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Seed = Annotated[str, typer.Option(metavar="N")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; never a traceback for a mistake of the user's.

    Args:
        arguments: without the program's name; None means those of the process.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without "×" shows "?" instead of failing
    # typer shows its own errors in a box of several lines; here every error is one line. Its classes' common base:
    usage_error = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])
    try:
        code = app(
            list(sys.argv[1:] if arguments is None else arguments),
            prog_name="workbench",
            standalone_mode=False,
        )
    except InputError as error:
        return _failed(str(error), BAD_INPUT)
    except WorkbenchError as error:
        return _failed(str(error), RUN_FAILED)
    except usage_error as error:
        return _failed(error.format_message(), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", INTERRUPTED)
    finally:
        if arguments is None:
            gc.freeze()  # the process ends: looking through all of PyTorch for garbage once more takes a second or two
    return code if isinstance(code, int) else 0


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"workbench {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


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
    objective: Annotated[
        list[str] | None,
        typer.Option(metavar="time|quality", help="What to look for, repeatable; default: both."),
    ] = None,
    max_seconds: Annotated[
        str | None, typer.Option(metavar="S", help="Leave out what is expected to take longer.")
    ] = None,
    min_quality: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Leave out what is known to keep less of the quality."),
    ] = None,
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
        **_size(frames, height, width, steps, guidance, batch),
        "objectives": tuple(objective) if objective else None,
        "max_seconds": _number("--max-seconds", max_seconds),
        "min_quality": _number("--min-quality", min_quality),
        "trials": _whole("--trials", trials),
    }
    cap, ram, start = _number("--vram-gb", vram_gb), _number("--ram-gb", ram_gb), _whole("--seed", seed)
    _check_folder(out)
    with _working("planning", as_json):
        found = find(
            cap,
            model=model,
            device=device,
            ram_gb=ram,
            storage=storage,
            seed=start or 0,
            **{name: value for name, value in asked.items() if value is not None},
        )
        if out is not None and found.best is not None:
            found.best.profile().save(out)
    if as_json:
        _print_json(found.to_json())
    else:
        from workbench.search._report import plan_report
        from workbench.search._words import describe_choice

        _show(plan_report(found, describe_choice(device, cap)))
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
    settings: Annotated[
        str | None,
        typer.Option(metavar="FILE_OR_JSON", help="Techniques by id; default: the library's defaults."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the JSON to a file.")] = None,
    as_json: AsJson = False,
) -> int:
    """Predict memory, time and quality of one configuration."""
    from workbench._estimate import estimate as predict

    cap, ram = _number("--vram-gb", vram_gb), _number("--ram-gb", ram_gb)
    workload = _workload(model, _size(frames, height, width, steps, guidance, batch))
    _check_folder(out)
    with _working("estimating", as_json):
        cost = predict(workload, settings, device, vram_gb=cap, ram_gb=ram)
    if out is not None:
        _write(out, json.dumps(cost.to_json(), indent=2, allow_nan=False) + "\n")
    if as_json:
        _print_json(cost.to_json())
    else:
        from workbench.search._report import cost_report
        from workbench.search._words import describe_choice

        _show(cost_report(cost, describe_choice(device, cap)))
        if out is not None:
            print(f"\nestimate written to {out}")
    return 0


@app.command()
def generate(
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What to apply; default: nothing.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="tiny, or a folder that save_pretrained wrote.")
    ] = "tiny",
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="What the video shows.")
    ] = "a red fox runs through the snow",
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
    start = _whole("--seed", seed)
    size = _size(frames, height, width, steps, guidance, None)
    with _clean_stdout():
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
        _print_json(measured.to_json())
    else:
        from workbench.views._measured import measurement_report

        _show(measurement_report(measured))
    return 0


@app.command()
def models(as_json: AsJson = False) -> int:
    """List the models that can be planned for."""
    from workbench.views._catalogues import models_json, models_report

    _print_json(models_json()) if as_json else _show(models_report())
    return 0


@app.command()
def devices(as_json: AsJson = False) -> int:
    """List the cards, with their memory, dense rates and host link."""
    from workbench.views._catalogues import devices_json, devices_report

    _print_json(devices_json()) if as_json else _show(devices_report())
    return 0


@app.command()
def doctor(as_json: AsJson = False) -> int:
    """Show what is installed, what GPU is seen and where traces are kept."""
    from workbench.views._doctor import doctor_report, examine

    with _working("looking", as_json):
        found = examine()
    _print_json(found) if as_json else _show(doctor_report(found))
    return 0


# --- reading what was given ---------------------------------------------------------------------------------------------------


def _whole(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{option} must be a whole number, got {text!r}") from None


def _number(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option} must be a number, got {text!r}") from None


def _size(
    frames: str | None,
    height: str | None,
    width: str | None,
    steps: str | None,
    guidance: str | None,
    batch: str | None,
) -> dict[str, Any]:
    """The workload's values that were given, as numbers."""
    values: dict[str, Any] = {
        "frames": _whole("--frames", frames),
        "height": _whole("--height", height),
        "width": _whole("--width", width),
        "steps": _whole("--steps", steps),
        "guidance": _number("--guidance", guidance),
        "batch": _whole("--batch", batch),
    }
    return {name: value for name, value in values.items() if value is not None}


def _workload(model: str, size: dict[str, Any]) -> Workload:
    from workbench.models import Workload

    return Workload.for_model(model, **size)


# --- showing what was found ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _clean_stdout() -> Iterator[None]:
    """What a library prints meanwhile goes to stderr, and the lines that say nothing go nowhere."""
    from workbench.models._quiet import quiet_imports

    with contextlib.redirect_stdout(sys.stderr), quiet_imports():
        yield


@contextlib.contextmanager
def _working(verb: str, as_json: bool) -> Iterator[None]:
    """A clean stdout, and on a terminal a sign that something happens."""
    from rich.console import Console

    waiting = contextlib.nullcontext() if as_json else Console(stderr=True).status(f"{verb} …")
    with _clean_stdout(), waiting:
        yield


def _show(report: Report) -> None:
    """In colour and as wide as is readable on a terminal, as plain text elsewhere."""
    from rich.console import Console

    from workbench.search._render_text import render_report, report_renderable

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(report_renderable(report), width=min(console.width, WIDEST))
    else:
        print(render_report(report))


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, indent=2, allow_nan=False))


def _check_folder(out: Path | None) -> None:
    """A result that cannot be written is said before the work, not after."""
    if out is not None and not out.parent.is_dir():
        raise InputError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}") from None


def _failed(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
