"""The Typer application that every command registers with, and the exit codes."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench._version import __version__

RUN_FAILED, BAD_INPUT, NOTHING_FITS, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    help="Says how a video diffusion model fits your GPU, how long it takes and what it costs in quality, before anything is run.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"workbench {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
