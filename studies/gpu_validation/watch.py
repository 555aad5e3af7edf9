"""What is read while a case runs: PyTorch's counters, the device's use, seconds by stage, a memory snapshot. Needs torch only."""

from __future__ import annotations

import contextlib
import gzip
import json
import resource
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

INTERVAL_S = 0.01
"""Between two looks at the device's use."""
MAX_EVENTS = 100_000
"""Allocator events that a snapshot keeps; of more, the last ones."""
_METHODS = ("encode", "decode")
"""Methods through which pipelines call an autoencoder, beside calling the module itself."""
_ACTIONS = (
    "alloc",
    "free_requested",
    "free_completed",
    "segment_alloc",
    "segment_free",
    "segment_map",
    "segment_unmap",
    "oom",
)
# what `_snapshot` calls the events (torch/cuda/memory.py, `TraceEntry`); an event's number in a file is its place here


class Watch:
    """Peaks and seconds by stage. A stage ends where the first call of another one begins; the GPU is waited for there only."""

    def __init__(self, stages: Mapping[str, Mapping[str, str]], *, cuda: bool) -> None:
        self.stages: dict[str, dict[str, Any]] = {}
        self.stage = ""
        """The stage that runs; empty before the first call."""
        self.others_bytes = 0
        self._names, self._cuda = stages, cuda
        self._started = self._since = 0.0
        self._early: dict[str, int] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.total_s = 0.0

    @contextlib.contextmanager
    def watching(self, components: Mapping[str, nn.Module]) -> Iterator[None]:
        """Watches the calls of these components, and the memory, while the context lasts; also when it ends in an error."""
        thread = threading.Thread(target=self._sample, daemon=True)
        with contextlib.ExitStack() as stack:
            for name, module in components.items():
                stack.enter_context(_reported(module, name, self.called))
            self._reset()
            self._started = self._since = self._now()
            thread.start()
            try:
                yield
            finally:
                with contextlib.suppress(RuntimeError):  # after a fault of the GPU nothing can be waited for
                    self._leave()
                self.total_s = time.perf_counter() - self._started
                self._over.set()
                thread.join()

    def called(self, component: str, call: str) -> None:
        """A component is called, `("vae", "AutoencoderKLWan.decode")`."""
        stage = self._names.get(component, {}).get(call, component)
        if stage != self.stage:
            self._leave()
            with self._lock:
                self.stage = stage
                entry = self.stages.setdefault(stage, {"seconds": 0.0, "num_calls": 0})
                _raise(entry, self._early)
                self._early = {}
        self.stages[stage]["num_calls"] += 1

    def _leave(self) -> None:
        now = self._now()
        self._note(self._counted())
        if self.stage:
            self.stages[self.stage]["seconds"] += now - self._since
            self._since = now
        self._reset()

    def overall(self) -> dict[str, int]:
        """The highest of every number over all stages."""
        highest = dict(self._early)
        for entry in self.stages.values():
            _raise(highest, {name: value for name, value in entry.items() if name.endswith("_bytes")})
        return highest

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _reset(self) -> None:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()

    def _counted(self) -> dict[str, int]:
        if not self._cuda:
            return {}
        return {
            "allocated_peak_bytes": torch.cuda.max_memory_allocated(),
            "reserved_peak_bytes": torch.cuda.max_memory_reserved(),
            **_sampled(),
        }

    def _note(self, numbers: Mapping[str, int]) -> None:
        with self._lock:
            _raise(self.stages[self.stage] if self.stage else self._early, numbers)

    def _sample(self) -> None:
        while self._cuda and not self._over.wait(INTERVAL_S):
            self._note(_sampled())


def _raise(peaks: dict[str, Any], numbers: Mapping[str, int]) -> None:
    for name, value in numbers.items():
        peaks[name] = max(peaks.get(name, 0), value)


def device_used() -> int:
    """Bytes in use on the whole device, by whomever."""
    free, total = torch.cuda.mem_get_info()
    return total - free


def _sampled() -> dict[str, int]:
    """What the device has in use now, and what of it PyTorch has not reserved: the context, loaded kernels, other programs."""
    used = device_used()
    return {"device_used_peak_bytes": used, "outside_pytorch_peak_bytes": used - torch.cuda.memory_reserved()}


def host_peaks() -> dict[str, int]:
    """Resident memory of this process at its highest since it began, and what PyTorch has pinned at most."""
    found = {"rss_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if torch.cuda.is_available() and hasattr(torch.cuda, "host_memory_stats"):
        pinned = torch.cuda.host_memory_stats().get("allocated_bytes.peak")
        if pinned is not None:
            found["pinned_peak_bytes"] = pinned
    return found


@contextlib.contextmanager
def _reported(module: nn.Module, name: str, called: Callable[[str, str], None]) -> Iterator[None]:
    """Reports each call of a component, and of its `encode` and `decode`, just before it happens."""
    class_name = type(module).__name__
    hook = module.register_forward_pre_hook(lambda *_: called(name, class_name))
    shadowed = [method for method in _METHODS if callable(getattr(type(module), method, None))]
    before = {method: vars(module).get(method) for method in shadowed}
    for method in shadowed:
        object.__setattr__(module, method, _reporting(module, method, name, called))
    try:
        yield
    finally:
        hook.remove()
        for method, original in before.items():
            if original is not None:
                object.__setattr__(module, method, original)
            elif method in vars(module):
                object.__delattr__(module, method)


def _reporting(module: nn.Module, method: str, name: str, called: Callable[[str, str], None]) -> Any:
    bound, call = getattr(module, method), f"{type(module).__name__}.{method}"

    def report(*args: Any, **kwargs: Any) -> Any:
        called(name, call)
        return bound(*args, **kwargs)

    return report


# --- the snapshot -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def history(path: Path | None) -> Iterator[None]:
    """Records every event of the CUDA allocator while the context lasts and writes them as compact gzipped JSON; None does nothing."""
    if path is None or not torch.cuda.is_available():
        yield
        return
    before = torch.cuda.memory._snapshot()["segments"]
    torch.cuda.memory._record_memory_history("all", context=None, max_entries=MAX_EVENTS)
    try:
        yield
    finally:
        found = torch.cuda.memory._snapshot()
        torch.cuda.memory._record_memory_history(None)
        write_snapshot(path, compact(before, found["device_traces"]), found.get("allocator_settings", {}))


def compact(segments: list[dict[str, Any]], traces: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """What a replay needs: the segments and blocks at the start, and every event as [action, address, bytes, stream].

    Addresses are offsets from the lowest one, streams are numbered in order of appearance.
    """
    events = [entry for trace in traces for entry in trace if entry["action"] in _ACTIONS]
    addresses = [entry["addr"] for entry in events if entry.get("addr")]
    base = min([*addresses, *(segment["address"] for segment in segments)], default=0)
    streams: dict[Any, int] = {}

    def stream(value: Any) -> int:
        return streams.setdefault(value, len(streams))

    held = [
        {
            "address": segment["address"] - base,
            "bytes": segment["total_size"],
            "stream": stream(segment.get("stream", 0)),
            "pool": segment.get("segment_type", ""),
            "blocks": [[block["size"], block["state"]] for block in segment["blocks"]],
        }
        for segment in segments
    ]
    rows = [
        [
            _ACTIONS.index(e["action"]),
            e["addr"] - base if e.get("addr") else 0,
            e["size"],
            stream(e.get("stream", 0)),
        ]
        for e in events
    ]
    return {
        "actions": list(_ACTIONS),
        "segments_at_start": held,
        "events": rows,
        "cut": len(rows) >= MAX_EVENTS,
    }


def write_snapshot(path: Path, snapshot: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Writes it whole or not at all; the same events give the same bytes."""
    text = json.dumps({**snapshot, "allocator_settings": settings}, separators=(",", ":"), default=str)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
    temporary.replace(path)
