"""The command line: thin, over the same functions that code calls. Importing it imports nothing heavy.

Exit codes: 0, 1 a run that failed, 2 bad input, 3 nothing fits. With `--json` stdout holds one JSON object and nothing else; whatever a
library prints goes to stderr.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import cast

import typer

# the commands register themselves, in the order of the help
from workbench._cli import _planning as _planning  # isort: skip
from workbench._cli import _asking as _asking  # isort: skip
from workbench._cli import _running as _running  # isort: skip
from workbench._cli import _measuring as _measuring  # isort: skip
from workbench._cli import _tuning as _tuning  # isort: skip
from workbench._cli import _scanning as _scanning  # isort: skip
from workbench._cli import _calibrating as _calibrating  # isort: skip
from workbench._cli import _profiles as _profiles  # isort: skip
from workbench._cli import _looking as _looking  # isort: skip
from workbench._cli._app import BAD_INPUT, INTERRUPTED, RUN_FAILED, app
from workbench._cli._output import failed
from workbench._errors import InputError, WorkbenchError

__all__ = ("main",)


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
        return failed(str(error), BAD_INPUT)
    except WorkbenchError as error:
        return failed(str(error), RUN_FAILED)
    except usage_error as error:
        return failed(error.format_message(), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return failed("interrupted", INTERRUPTED)
    finally:
        if arguments is None:
            gc.freeze()  # the process ends: looking through all of PyTorch for garbage once more takes a second or two
    return code if isinstance(code, int) else 0
