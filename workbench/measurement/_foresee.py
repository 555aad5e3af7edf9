"""Predictions for the machine at hand, without touching its GPU from the process that asks. Starts a process; touches the disk.

A process that asks CUDA about memory keeps a context on the GPU, which takes memory from everything that is measured afterwards. So on a
machine with a GPU another process predicts, and ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from workbench.measurement._job import Job
from workbench.models import ModelSpec, Workload, resolve_model
from workbench.techniques import Settings

_ASKED, _ANSWERED = "asked.json", "answered.json"
_LIMIT_S: Final = 1800.0
"""A prediction of the largest models takes minutes; beyond this something hangs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """What is predicted of one configuration, or why nothing is."""

    cost: Mapping[str, Any] | None = field(hash=False)
    """`Cost.to_json`."""
    said: tuple[str, ...]


def foresee(
    spec: ModelSpec, workload: Workload, settings: Sequence[Mapping[str, Any]], *, is_live: bool = False
) -> tuple[Foreseen, ...]:
    """Predicts each of these settings for this machine.

    Args:
        is_live: the model is a pipeline in this process, which another one does not know by its name.
    """
    import torch

    # without CUDA there is nothing to spare, and where it has been started, it is spent already
    if is_live or not torch.cuda.is_available() or torch.cuda.is_initialized():
        return _here(spec, workload, settings)
    with tempfile.TemporaryDirectory(prefix="workbench-") as name:
        folder = Path(name)
        asked = {"model": spec.name, "workload": workload.to_json(), "settings": list(settings)}
        (folder / _ASKED).write_text(json.dumps(asked), encoding="utf-8")
        package = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
        command = [sys.executable, "-P", "-m", "workbench.measurement._foresee", name]
        try:
            subprocess.run(
                command,
                env={**os.environ, "PYTHONPATH": paths},
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=True,
            )
            answered = json.loads((folder / _ANSWERED).read_text(encoding="utf-8"))
        except subprocess.CalledProcessError as error:
            return (_none(error.stderr),) * len(settings)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return (_none(str(error)),) * len(settings)
    return tuple(Foreseen(cost=row["cost"], said=tuple(row["said"])) for row in answered)


def _none(why: str) -> Foreseen:
    last = why.strip().splitlines()[-1:]
    return Foreseen(cost=None, said=(f"no prediction: the process that predicts failed: {''.join(last)}",))


def _here(spec: ModelSpec, workload: Workload, settings: Sequence[Mapping[str, Any]]) -> tuple[Foreseen, ...]:
    from workbench.measurement._run import machine

    device = machine()
    found = []
    for one in settings:
        job = Job(spec=spec, profile=None, workload=workload, settings=Settings.parse(one), notes=())
        cost, said = job.predicted(device)
        found.append(Foreseen(cost=None if cost is None else cost.to_json(), said=said))
    return tuple(found)


def main(folder: Path) -> int:
    """Answers what another process asks."""
    asked = json.loads((folder / _ASKED).read_text(encoding="utf-8"))
    spec = resolve_model(asked["model"])
    found = _here(spec, Workload.from_json(asked["workload"], spec), asked["settings"])
    (folder / _ANSWERED).write_text(json.dumps([asdict(row) for row in found]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
