"""What other programs hold, read from a program that answers as nvidia-smi does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench._units import MIB
from workbench.devices._in_use import in_use_bytes

ONE, OTHER = "GPU-6f9619ff-8b86-d011-b42d-00cf4fc964ff", "GPU-00000000-1111-2222-3333-444444444444"


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is searched for programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(folder: Path, gpus: str, programs: str, status: int = 0) -> None:
    script = folder / "nvidia-smi"
    script.write_text(
        f"""#!/bin/sh
case "$1" in
--query-gpu=*) printf '{gpus}' ;;
*) printf '{programs}' ;;
esac
exit {status}
"""
    )
    script.chmod(0o755)


def test_what_others_hold_is_all_but_what_this_program_holds(answers: Path) -> None:
    programs = f"{ONE}, {os.getpid()}, 500\\n{ONE}, 1, 200\\n{OTHER}, {os.getpid()}, 7\\n"
    put(answers, f"{OTHER}, 9000\\n{ONE}, 1100\\n", programs)
    assert in_use_bytes(ONE) == 600 * MIB
    assert in_use_bytes(ONE.removeprefix("GPU-").upper()) == 600 * MIB
    assert in_use_bytes(OTHER, pid=1) == 9000 * MIB


def test_without_an_answer_nothing_is_known(answers: Path) -> None:
    assert in_use_bytes(ONE) is None
    put(answers, f"{ONE}, 100\\n", "", status=9)
    assert in_use_bytes(ONE) is None
    put(answers, f"{ONE}, [N/A]\\n", "")
    assert in_use_bytes(ONE) is None
    put(answers, f"{ONE}, 100\\n", f"{ONE}, {os.getpid()}, [N/A]\\n")
    assert in_use_bytes(ONE) == 100 * MIB
    assert in_use_bytes(OTHER) is None
    assert in_use_bytes("") is None
