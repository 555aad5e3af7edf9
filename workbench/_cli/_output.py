"""What commands print and write."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError

if TYPE_CHECKING:
    from workbench.search._report import Report

WIDEST = 120
"""Columns beyond which a table is no longer easy to read."""


@contextlib.contextmanager
def clean_stdout() -> Iterator[None]:
    """What a library prints meanwhile goes to stderr, and the lines that say nothing go nowhere."""
    from workbench.models._quiet import quiet_imports

    with contextlib.redirect_stdout(sys.stderr), quiet_imports():
        yield


@contextlib.contextmanager
def working(verb: str, as_json: bool) -> Iterator[Callable[[str], None]]:
    """A clean stdout, and on a terminal a sign that something happens; what is yielded says there what is being looked at."""
    from rich.console import Console

    if as_json:
        with clean_stdout():
            yield lambda words: None
        return
    with clean_stdout(), Console(stderr=True).status(f"{verb} …") as status:
        yield lambda words: status.update(f"{verb} … {words}")


def show(report: Report) -> None:
    """In colour and as wide as is readable on a terminal, as plain text elsewhere."""
    from rich.console import Console

    from workbench.search._render_text import render_report, report_renderable

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(report_renderable(report), width=min(console.width, WIDEST))
    else:
        print(render_report(report))


def print_json(data: dict[str, Any]) -> None:
    """One JSON object."""
    print(json.dumps(data, indent=2, allow_nan=False))


def check_folder(out: Path | None) -> None:
    """A result that cannot be written is said before the work, not after."""
    if out is not None and not out.parent.is_dir():
        raise InputError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}")


def write(path: Path, text: str) -> None:
    """Writes a result."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}") from None


def failed(message: str, code: int) -> int:
    """Says what went wrong in one line; the exit code is passed through."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
