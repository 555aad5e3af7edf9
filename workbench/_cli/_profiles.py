"""`workbench profiles`: the profiles that ship with the package, and files of profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench._cli._app import app
from workbench._cli._options import AsJson, number
from workbench._cli._output import check_folder, print_json, show, working

Reference = Annotated[
    str, typer.Argument(metavar="PROFILE", help="A profile's file, or MODEL@GIB for one that ships.")
]

profiles_app = typer.Typer(help="List, show, compare and use the profiles that ship with the package.")
app.add_typer(profiles_app, name="profiles")


@profiles_app.callback(invoke_without_command=True)
def profiles(context: typer.Context) -> int:
    """List, show, compare and use the profiles that ship with the package."""
    return profiles_list() if context.invoked_subcommand is None else 0


@profiles_app.command("list")
def profiles_list(
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this model, repeatable.")
    ] = None,
    vram_gb: Annotated[
        str | None, typer.Option("--vram-gb", metavar="GIB", help="Only what a card of this size takes.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """List the shipped profiles: predicted time of each model on each size of card."""
    from workbench.profiles import load_shipped, shipped_models
    from workbench.views._profiles import profiles_json, profiles_report

    size = number("--vram-gb", vram_gb)
    shipped = [load_shipped(name) for name in model or shipped_models()]
    print_json(profiles_json(shipped, size)) if as_json else show(profiles_report(shipped, size))
    return 0


@profiles_app.command("show")
def profiles_show(profile: Reference, as_json: AsJson = False) -> int:
    """Show one profile: what it is for, its settings and what is predicted of it."""
    from workbench.profiles._reference import opened
    from workbench.views._profiles import profile_report

    found, stale = opened(profile)
    print_json({**found.to_json(), "stale": stale or None}) if as_json else show(profile_report(found, stale))
    return 0


@profiles_app.command("diff")
def profiles_diff(first: Reference, second: Reference, as_json: AsJson = False) -> int:
    """Put the settings and predicted numbers of two profiles side by side."""
    from workbench.profiles._reference import opened
    from workbench.views._profiles import difference_json, difference_report

    pair = [opened(reference)[0] for reference in (first, second)]
    if as_json:
        print_json(difference_json(pair))
    else:
        show(difference_report(pair, (first, second)))
    return 0


@profiles_app.command("apply")
def profiles_apply(
    profile: Reference,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the profile's file, for generate or your code.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FOLDER",
            help="Try it without weights on this model, or on a folder that save_pretrained wrote.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Write a profile's file, try it on a pipeline without its weights, and say the lines of Python that use it."""
    from workbench.profiles._reference import opened

    check_folder(out)
    found, stale = opened(profile)
    said: list[str] = []
    if to is not None:
        with working("applying", as_json):
            said = _tried(found, to)
    written = None if out is None else str(found.save(out))
    lines = _python(found, profile, written)
    if as_json:
        answer: dict[str, Any] = {
            "profile": found.name,
            "settings": dict(found.settings),
            "stale": stale or None,
            "written": written,
            "applied_to": to,
            "report": said,
            "python": lines,
        }
        print_json(answer)
        return 0
    sections = [
        *([f"applied to {to}, without weights:", *(f"  {sentence}" for sentence in said), ""] if to else []),
        *([f"profile written to {written}", ""] if written else []),
        *([f"note: {stale}", ""] if stale else []),
        "in Python:",
        *(f"  {line}" for line in lines),
    ]
    print("\n".join(sections))
    return 0


def _tried(profile: Any, to: str) -> list[str]:
    """What applying a profile to a pipeline without weights says; the same checks and techniques as on a real one."""
    from workbench.models import resolve_model
    from workbench.models._build import build_meta_pipeline

    spec = resolve_model(to)
    handle = profile.apply(build_meta_pipeline(spec), model=spec)
    said = list(handle.report)
    handle.remove()
    return said or ["nothing to do: the profile is the library's default"]


def _python(profile: Any, reference: str, written: str | None) -> list[str]:
    """The lines that use it."""
    from workbench.search._words import describe_workload

    if written is not None or Path(reference).exists():
        opening = f"wb.Profile.load({(written or reference)!r})"
    else:
        opening = f"wb.Profile.shipped({profile.workload.model!r}, vram_gb={reference.rpartition('@')[2]})"
    names = {"fp32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}
    dtypes = ", ".join(
        f"{name!r}: {names.get(dtype, repr(dtype))}" for name, dtype in profile.prediction["dtypes"].items()
    )
    return [
        "import torch",
        "import workbench as wb",
        f"from diffusers import {profile.pipeline_class}",
        "",
        f"pipe = {profile.pipeline_class}.from_pretrained(FOLDER_OR_HUB_ID, dtype={{{dtypes}}})",
        f"handle = {opening}.apply(pipe)  # handle.report says what was done, handle.remove() undoes it",
        f"# then call pipe for what the profile is made for: {describe_workload(profile.workload)}",
    ]
