"""What other programs hold of a GPU's memory, as `nvidia-smi` says it."""

from __future__ import annotations

import os
import shutil
import subprocess

from workbench._units import MIB

TIMEOUT_S = 10.0
"""A driver that hangs must not hang a plan."""


def in_use_bytes(uuid: str, pid: int | None = None) -> int | None:
    """Bytes of the GPU that programs other than this one hold; None where nvidia-smi is absent, fails, or does not know the GPU.

    Args:
        uuid: the GPU's, as CUDA has it, with or without `GPU-` in front: indices differ under `CUDA_VISIBLE_DEVICES`.
        pid: the program that is not counted; None is this one.
    """
    everything = _asked("--query-gpu=uuid,memory.used")
    used = dict(_rows(everything)).get(_plain(uuid))
    if used is None:
        return None
    own = str(os.getpid() if pid is None else pid)
    by_program = _asked("--query-compute-apps=gpu_uuid,pid,used_memory")
    mine = 0
    for line in by_program.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 3 and (_plain(cells[0]), cells[1]) == (_plain(uuid), own) and cells[2].isdigit():
            mine += int(cells[2])
    return max(0, used - mine) * MIB


def _asked(query: str) -> str:
    """What nvidia-smi answers, as lines of values without units; empty where it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, query, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout


def _rows(text: str) -> list[tuple[str, int]]:
    cells = ([cell.strip() for cell in line.split(",")] for line in text.splitlines())
    return [(_plain(row[0]), int(row[1])) for row in cells if len(row) == 2 and row[1].isdigit()]


def _plain(uuid: str) -> str:
    return uuid.strip().lower().removeprefix("gpu-")
