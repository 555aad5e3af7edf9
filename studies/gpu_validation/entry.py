"""What runs in a process of its own. Imports nothing heavy until it is there: `supervise.py` imports this."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def run_case(case_file: str, record_file: str, log_file: str) -> None:
    """Measures one case; what it prints goes to its log."""
    _log_to(log_file)
    import measure

    measure.main(Path(case_file), Path(record_file))


def look(machine_file: str, log_file: str) -> None:
    """Writes what this machine is."""
    _log_to(log_file)
    import measure

    measure.write(Path(machine_file), measure.machine())


def _log_to(log_file: str) -> None:
    """Also what C code prints, and what Python says when it dies."""
    sys.stdout.flush()
    number = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(number, 1)
    os.dup2(number, 2)
    os.close(number)
