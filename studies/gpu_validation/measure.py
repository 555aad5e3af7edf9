"""Measures one case in this process. Needs torch, diffusers, transformers and accelerate; touches the GPU and the disk.

    python studies/gpu_validation/measure.py case.json record.json

`case.json` is one case with its model, as `run.py` hands it over. A record is written in any event but the death of the process.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "PYTORCH_NVML_BASED_CUDA_CHECK", "1"
)  # asking whether there is a GPU must not open it: this process may fork
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import pipes

import torch
import watch
import weights

GIB = 1 << 30
LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "torchao", "bitsandbytes", "numpy")


def main(case_file: Path, record_file: Path) -> None:
    """Runs the case in a file and writes its record."""
    job = json.loads(case_file.read_text())
    record = job["record"]
    try:
        run = Run(job, record, record_file)
        run.measured()
    except pipes.NeedsWorkbenchError as error:
        record |= {"status": "skipped", "reason": f"needs the workbench: {error}"}
    except Exception as error:  # noqa: BLE001 - whatever a case raises is its outcome
        record |= {"status": outcome(error), "error": f"{type(error).__name__}: {error}"[:2000]}
    write(record_file, record)


def outcome(error: BaseException) -> str:
    """`out_of_memory` or `failed`."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
        return "out_of_memory"
    return "failed"


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Writes JSON whole or not at all."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(data, indent=1) + "\n")
    temporary.replace(path)


def machine() -> dict[str, Any]:
    """What this machine is: libraries, GPU, driver."""
    found: dict[str, Any] = {"python": platform.python_version(), "cuda": None, "gpu": None}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    workbench = pipes.workbench_or_none()
    found["workbench"] = "importable" if workbench.there else workbench.error
    found["cpus"] = os.cpu_count()
    found["alloc_conf"] = os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get(
        "PYTORCH_CUDA_ALLOC_CONF", ""
    )
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "gpu_bytes": properties.total_memory,
            "compute_capability": [properties.major, properties.minor],
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
        torch.empty(1, device="cuda")  # opens the device: a process that must not fork fails here
    return found | nvidia_smi()


def nvidia_smi() -> dict[str, Any]:
    """The driver, and bytes in use on the whole card as NVML counts them; nothing where the tool is not there."""
    query = [
        "nvidia-smi",
        "--query-gpu=driver_version,memory.used,memory.total",
        "--format=csv,noheader,nounits",
    ]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        driver, used, total = done.stdout.splitlines()[0].split(", ")
        return {"driver": driver, "nvml_used_bytes": int(used) << 20, "nvml_total_bytes": int(total) << 20}
    return {}


class Run:
    """One case from its file to its figures."""

    def __init__(self, job: Mapping[str, Any], record: dict[str, Any], record_file: Path) -> None:
        self.case, self.model, self.record = job["case"], job["model"], record
        self.record_file = record_file
        self.cuda = torch.cuda.is_available()
        self.device = "cuda" if self.cuda else "cpu"
        self.workbench = pipes.workbench_or_none()

    def measured(self) -> None:
        """Builds, applies, calls."""
        _fault(self.case.get("fault"))
        self._open()
        started = time.perf_counter()
        self.pipe, self.modules = self._built()
        self.record["applied_by"], self.record["report"] = pipes.apply(
            self.pipe, self.case["settings"], self.workbench
        )
        call, target = self._call()
        gc.collect()
        self.record["setup"] = {
            "seconds": time.perf_counter() - started,
            "weights_bytes": {name: weights.stored_bytes(part) for name, part in self.modules.items()},
            **self._after_setup(),
        }
        self._limit()
        watcher = watch.Watch(self.case["stages"], cuda=self.cuda)
        snapshot = self.record_file.with_suffix(".snapshot.json.gz") if self.case["snapshot"] else None
        try:
            with torch.no_grad(), watch.history(snapshot), watcher.watching(self.modules):
                target(*call[0], **call[1])
            self.record["status"] = "ok"
        except Exception as error:  # noqa: BLE001 - what was counted until then is kept
            self.record |= {"status": outcome(error), "error": f"{type(error).__name__}: {error}"[:2000]}
            self.record["failed_in"] = watcher.stage
        finally:
            self._noted(watcher, snapshot)
        if not self.cuda and self.record["status"] == "ok":
            self._count_tensors(call, target)

    def _open(self) -> None:
        """Opens the device; what is in use then, beside what PyTorch has reserved, is the context and other programs."""
        if not self.cuda:
            return
        if self.case.get("allocator"):
            torch.cuda.memory._set_allocator_settings(self.case["allocator"])
        torch.empty(1, device="cuda")
        torch.cuda.synchronize()
        total = torch.cuda.get_device_properties(0).total_memory  # what fractions are of
        self.record["device"] = {
            "total_bytes": total,
            "context_and_others_bytes": watch.device_used() - torch.cuda.memory_reserved(),
        }

    def _built(self) -> tuple[Any, dict[str, torch.nn.Module]]:
        """The pipeline, or for a single call whose techniques need none just its component."""
        settings = self.case["settings"]
        offloaded = settings.get("offload", {}).get("mode", "none") != "none"
        device = "cpu" if offloaded else self.device
        wanted = self.case["components"]
        modules = {
            part["name"]: weights.build(part, device)
            for part in self.model["components"]
            if part["name"] in wanted
        }
        if self.case["kind"] == "call" and not settings:
            return None, modules
        return pipes.assemble(self.model, modules, self.workbench), modules

    def _call(self) -> tuple[tuple[list[Any], dict[str, Any]], Any]:
        """(arguments, what to call with them)."""
        asked = self.case["call"]
        if self.case["kind"] == "call":
            module = self.modules[asked["component"]]
            args = [pipes.value_of(item, self.device) for item in asked["args"]]
            kwargs = {name: pipes.value_of(item, self.device) for name, item in asked["kwargs"].items()}
            # looked up when it is called: the watch shadows the method
            return (args, kwargs), lambda *a, **k: (
                getattr(module, asked["method"]) if asked["method"] else module
            )(*a, **k)
        kwargs = {name: pipes.value_of(item, "cpu") for name, item in asked["kwargs"].items()}
        kwargs["generator"] = torch.Generator("cpu").manual_seed(0)
        return ([], kwargs), self.pipe

    def _after_setup(self) -> dict[str, int]:
        if not self.cuda:
            return {}
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return {
            "allocated_bytes": torch.cuda.memory_allocated(),
            "allocated_peak_bytes": torch.cuda.max_memory_allocated(),
            "reserved_bytes": torch.cuda.memory_reserved(),
        }

    def _limit(self) -> None:
        """From here on PyTorch may reserve what the emulated card would leave it beside the context."""
        if not self.cuda or self.case["cap_gib"] is None:
            return
        device = self.record["device"]
        cap = min(self.case["cap_gib"] * GIB, device["total_bytes"])
        allowed = cap - device["context_and_others_bytes"]
        torch.cuda.set_per_process_memory_fraction(allowed / device["total_bytes"])
        device["allowed_bytes"] = int(allowed)

    def _noted(self, watcher: watch.Watch, snapshot: Path | None) -> None:
        self.record["stages"] = [{"name": name, **entry} for name, entry in watcher.stages.items()]
        self.record["total_s"] = watcher.total_s
        self.record["memory"] = {**watcher.overall(), **watch.host_peaks(), **nvidia_smi()}
        if snapshot is not None and snapshot.exists():
            self.record["snapshot"] = snapshot.name
        if self.cuda:
            stats = torch.cuda.memory_stats()
            self.record["allocator"] = {
                name: stats.get(name, 0) for name in ("num_alloc_retries", "num_ooms", "num_device_alloc")
            }

    def _count_tensors(self, call: tuple[list[Any], dict[str, Any]], target: Any) -> None:
        """A CPU does not count what is allocated; the workbench's recorder does, in one more call."""
        try:
            from workbench.cost._recorder import Recorder
            from workbench.measurement._tensors import peaks
        except ImportError as error:
            self.record["report"].append(f"live tensors were not counted: {error}")
            return
        recorder, borders = Recorder(hollow=False), []
        names = self.case["stages"]

        def called(component: str, name: str) -> None:
            borders.append((len(recorder.events), names.get(component, {}).get(name, component)))

        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            for name, module in self.modules.items():
                stack.enter_context(watch._reported(module, name, called))
            stack.enter_context(recorder)
            target(*call[0], **call[1])
        live = {name: peak + _held(call) for name, peak in peaks(recorder.events, borders).items()}
        self.record["memory"]["live_tensors_peak_bytes"] = max(live.values())
        for stage in self.record["stages"]:
            stage["live_tensors_peak_bytes"] = live.get(stage["name"])


def _held(call: tuple[list[Any], dict[str, Any]]) -> int:
    """Bytes of the tensors that are there before the call, its arguments, rounded up as the allocator does."""
    tensors = [value for value in (*call[0], *call[1].values()) if isinstance(value, torch.Tensor)]
    return sum(-(-tensor.untyped_storage().nbytes() // 512) * 512 for tensor in tensors)


def _fault(kind: str | None) -> None:
    """What a case does that is there to show that the others survive it."""
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "hang":
        time.sleep(3600)
    elif kind is not None:
        raise ValueError(f"unknown fault {kind!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
