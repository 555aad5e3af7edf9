"""Runs the cases of a file one by one, each in a process of its own, within a time budget. Imports the standard library only.

The processes are forked from one that has imported torch and diffusers and has not opened the GPU, so that a case does not pay for the
imports; where that does not work they are started afresh. A case that dies or hangs leaves a record that says so, and the next one runs.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import entry

HERE = Path(__file__).parent
ROOT = str(HERE.parent.parent)
"""The checkout: the workbench is importable there without being installed."""
GIB = 1 << 30
DONE = ("ok", "out_of_memory")
"""Outcomes that a later run does not measure again."""
LOOK_S = 120.0
"""For the first process: it imports torch and diffusers."""
LEAST_S = 10.0
"""With less left no other case is begun."""
RAM_SHARE = 0.9
"""Part of the free host RAM that a case may be predicted to need."""
VISIBLE = 0.88
"""A card shows at least this part of the size on its box (ECC and the driver take the rest), and counts as one of that size."""


class Supervisor:
    """One run over the cases of a file."""

    def __init__(
        self, cases: Mapping[str, Any], out: Path, *, budget_s: float, retry: bool, need_gpu: bool
    ) -> None:
        self.cases, self.out = cases, out
        self._until = time.monotonic() + budget_s
        self._retry, self._need_gpu = retry, need_gpu
        # jobs and logs; it goes with this process, what matters of a log is in the record
        self._temporary = tempfile.TemporaryDirectory(prefix="gpu-validation-", ignore_cleanup_errors=True)
        self._work = Path(self._temporary.name)
        # both kinds of process find the modules of this folder by it
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(HERE), os.environ.get("PYTHONPATH"), ROOT))
        )
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["warm"])
        self.machine: dict[str, Any] = {}
        self.folder = out

    def look(self) -> str:
        """Finds out what this machine is and where its records go; returns why nothing can be measured, or nothing."""
        found = self._work / "machine.json"
        for method in ("forkserver", "spawn"):
            if method == "spawn":
                self._context = multiprocessing.get_context("spawn")
            log = self._work / "machine.log"
            code = self._run(entry.look, (str(found), str(log)), LOOK_S)
            if found.exists():
                break
        if not found.exists():
            return f"nothing can be measured here (exit code {code}): {_tail(log)}"
        self.machine = {**json.loads(found.read_text()), "processes": method, "looked_at": _now()}
        if self._need_gpu and self.machine["gpu"] is None:
            return "PyTorch sees no CUDA device; `--tiny` runs the same cases at toy size on the CPU"
        self.folder = self.out / slug(self.machine["gpu"] or "cpu")
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.folder / "machine.json", self.machine)
        return ""

    def all(self) -> list[dict[str, Any]]:
        """Runs every case that has no record yet; returns the records of this file's cases."""
        for case in self.cases["cases"]:
            record = self._known(case)
            if record is None:
                left = self._until - time.monotonic()
                if left < LEAST_S and not case["fault"]:
                    print("the time is up; run again for the rest", flush=True)
                    break
                record = self._one(case, left)
            print(line(record), flush=True)
        ids = [case["id"] for case in self.cases["cases"]]
        return [record for record in (self._read(name) for name in ids) if record is not None]

    def seconds_left(self) -> float:
        """Of the budget; at least one."""
        return max(1.0, self._until - time.monotonic())

    def _known(self, case: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record of a case that need not be measured again: one of this very case, and with an outcome to keep."""
        name = case["id"]
        record = self._read(name)
        if record is None or record["digest"] != digest(case, self.cases["models"][case["model"]]):
            return None
        if record["status"] in DONE:
            return record
        is_final = not self._retry and record["status"] != "skipped"
        return record if is_final else None

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def _one(self, case: Mapping[str, Any], left: float) -> dict[str, Any]:
        """Measures a case, or says why not; its record is on disk when this returns."""
        target = self.folder / f"{case['id']}.json"
        record: dict[str, Any] = {
            "schema": self.cases["schema"],
            "case": {key: value for key, value in case.items() if key not in ("call", "stages", "predicted")},
            "digest": digest(case, self.cases["models"][case["model"]]),
            "status": "died",
            "measured_at": _now(),
            "machine": self.machine,
            "predicted": case["predicted"],
        }
        reason = why_not(case, self.machine)
        if reason:
            record |= {"status": "skipped", "reason": reason}
            write(target, record)
            return record
        job, log = self._work / f"{case['id']}.json", self._work / f"{case['id']}.log"
        write(job, {"case": case, "model": self.cases["models"][case["model"]], "record": record})
        target.unlink(missing_ok=True)
        limit = min(case["limit_s"], max(left, LEAST_S))
        started = time.monotonic()
        code = self._run(entry.run_case, (str(job), str(target), str(log)), limit)
        written = self._read(case["id"])
        if written is None:
            late = time.monotonic() - started >= limit
            why = f"stopped after {limit:.0f} s" if late else f"exit code {code}"
            written = {**record, "status": "timed_out" if late else "died", "error": f"{why}; {_tail(log)}"}
        written["process_s"] = time.monotonic() - started
        write(target, written)
        return written

    def _run(self, target: Callable[..., None], args: tuple[str, ...], limit: float) -> int | None:
        """Exit code of a process of its own; it is killed at its limit."""
        process = self._context.Process(target=target, args=args, daemon=True)
        process.start()
        process.join(limit)
        if process.is_alive():
            process.kill()
            process.join(10)
        return process.exitcode


def why_not(case: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """Why a case is not run on this machine, or nothing. One with a cap runs even where its prediction does not fit: it is about that."""
    predicted = case["predicted"]
    ram = available_ram()
    if ram is not None and predicted["host_ram_bytes"] > RAM_SHARE * ram:
        return f"predicted to need {predicted['host_ram_bytes'] / GIB:.1f} GiB of host RAM, {ram / GIB:.1f} are available"
    if machine["gpu"] is None:
        return ""
    card = machine["gpu_bytes"]
    if case["cap_gib"] is not None:
        return f"the card has {card / GIB:.1f} GiB" if VISIBLE * case["cap_gib"] * GIB > card else ""
    if predicted["required_vram_bytes"] > card:
        return f"predicted to need {predicted['required_vram_bytes'] / GIB:.1f} GiB, the card has {card / GIB:.1f}"
    return ""


def digest(case: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Tells cases of one name apart: of everything that is measured, so without the prediction."""
    measured = {key: value for key, value in case.items() if key not in ("predicted", "limit_s")}
    return hashlib.sha256(json.dumps([measured, model], sort_keys=True).encode()).hexdigest()[:16]


def available_ram() -> int | None:
    """Bytes of host RAM that a process could have now: the kernel's estimate, or what a container leaves of its limit; None if unknown."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        match = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        found += [int(match[1]) * 1024] if match else []
    limit, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
        found.append(max(0, int(text) - int(used.read_text())))
    return min(found, default=None)


def predicting(cases_file: Path, out: Path, machine: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Begins to predict the cases for this machine's own GPU, beside the measurements and at the lowest priority."""
    script = [sys.executable, str(HERE / "predict.py"), "--again", str(cases_file), str(out)]
    return subprocess.Popen(
        ["nice", "-n", "19", *script, "--gpu", machine["gpu"], "--gpu-bytes", str(machine["gpu_bytes"])],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # a context of its own would count as memory in use
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def line(record: Mapping[str, Any]) -> str:
    """A record in one line."""
    name, status = record["case"]["id"], record["status"]
    peak = record.get("memory", {}).get("allocated_peak_bytes")
    said = record.get("reason") or record.get("error", "").partition("\n")[0][:100]
    if peak is not None:
        said = f"{peak / GIB:.3f} GiB allocated, {record['predicted']['allocated_bytes'] / GIB:.3f} predicted {said}"
    return f"{name}: {status} {said}".rstrip()


def slug(text: str) -> str:
    """A name that can be a folder: `NVIDIA H200` -> `nvidia-h200`."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Writes JSON whole or not at all."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(data, indent=1) + "\n")
    temporary.replace(path)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-500:].strip() if log.exists() else "it printed nothing"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
