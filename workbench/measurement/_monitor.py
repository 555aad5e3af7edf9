"""Memory while a pipeline runs, at its highest by stage. Touches the clock, the process and the GPU.

On the CPU: resident memory of the process, sampled. On a GPU also what PyTorch counts itself (exact) and what the whole device has in
use (sampled); the first under-reports what must be free, the last includes other programs, so all are kept.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

INTERVAL_S: Final = 0.005
"""Between two samples: short against any stage, and a sample takes some ten microseconds."""


class AbstractProbe(abc.ABC):
    """Reads the memory numbers of one kind of machine."""

    @abc.abstractmethod
    def sample(self) -> dict[str, int]:
        """What is in use now, by the name of its peak."""

    @abc.abstractmethod
    def counted(self) -> dict[str, int]:
        """Peaks that the machine itself has counted since `reset`."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Starts the machine's own counting anew."""

    @abc.abstractmethod
    def synchronize(self) -> None:
        """Returns when everything that was asked of the machine is done."""


class CpuProbe(AbstractProbe):
    """Resident memory of this process."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()

    def sample(self) -> dict[str, int]:
        """Resident memory now."""
        return {"rss_peak_bytes": self._process.memory_info().rss}

    def counted(self) -> dict[str, int]:
        """Nothing: a CPU does not count."""
        return {}

    def reset(self) -> None:
        """Nothing to reset."""

    def synchronize(self) -> None:
        """A CPU call is done when it returns."""


class CudaProbe(AbstractProbe):
    """Resident memory, PyTorch's own counters and the whole device's use, of the current CUDA device."""

    def __init__(self) -> None:
        import torch

        self._cuda: Any = torch.cuda
        self._cpu = CpuProbe()

    def sample(self) -> dict[str, int]:
        """Resident memory and the device's use now."""
        free, total = self._cuda.mem_get_info()
        return {**self._cpu.sample(), "device_used_peak_bytes": total - free}

    def counted(self) -> dict[str, int]:
        """What PyTorch allocated and reserved at most."""
        return {
            "allocated_peak_bytes": self._cuda.max_memory_allocated(),
            "reserved_peak_bytes": self._cuda.max_memory_reserved(),
        }

    def reset(self) -> None:
        """Starts PyTorch's counters from what is alive now."""
        self._cuda.reset_peak_memory_stats()

    def synchronize(self) -> None:
        """Waits for every kernel."""
        self._cuda.synchronize()


def probe() -> AbstractProbe:
    """The probe for this machine."""
    import torch

    return CudaProbe() if torch.cuda.is_available() else CpuProbe()


class Monitor:
    """Keeps the highest of every number, by stage. What comes before the first stage counts to the first one."""

    def __init__(self, probe: AbstractProbe, interval_s: float = INTERVAL_S) -> None:
        self.probe = probe
        self.peaks: dict[str, dict[str, int]] = {}
        self._interval_s = interval_s
        self._pending: dict[str, int] = {}
        self._stage: str | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Samples in a thread of its own while the context lasts."""
        self.probe.reset()
        thread = threading.Thread(target=self._sample_until_over, name="workbench-monitor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._note(self.probe.sample() | self.probe.counted())

    def enter(self, stage: str) -> None:
        """The stage changes; called when the machine has finished the one before."""
        self._note(self.probe.sample() | self.probe.counted())
        self.probe.reset()
        with self._lock:
            self._stage = stage
            _raise_to(self.peaks.setdefault(stage, {}), self._pending)
            self._pending = {}
        self._note(self.probe.sample())

    @property
    def overall(self) -> dict[str, int]:
        """The highest over all stages."""
        highest: dict[str, int] = dict(self._pending)
        for peaks in self.peaks.values():
            _raise_to(highest, peaks)
        return highest

    def _sample_until_over(self) -> None:
        while not self._over.wait(self._interval_s):
            self._note(self.probe.sample())

    def _note(self, numbers: dict[str, int]) -> None:
        with self._lock:
            _raise_to(self._pending if self._stage is None else self.peaks[self._stage], numbers)


def _raise_to(peaks: dict[str, int], numbers: dict[str, int]) -> None:
    for name, value in numbers.items():
        peaks[name] = max(peaks.get(name, 0), value)
