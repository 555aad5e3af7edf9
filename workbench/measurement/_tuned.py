"""What measured tuning gives back: every configuration that was run, predicted beside measured, and the front of what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.devices import Device
from workbench.models import Workload
from workbench.profiles import Profile
from workbench.search import Candidate
from workbench.search.caution import TOLERATED

if TYPE_CHECKING:
    import optuna
    import xarray


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Tried:
    """One configuration that was run for real."""

    candidate: Candidate
    """With what was predicted of it."""
    status: str
    """`ok`, `out_of_memory`, `timed_out` or `failed`."""
    error: str
    seconds: float | None
    """Measured, median over the calls that went well; None if none did."""
    needed_bytes: int | None
    """Measured: on a GPU what PyTorch reserved, with context and desktop; on a CPU weights and live tensors. None if it is not known."""
    cap_bytes: int
    record: Path

    @property
    def fits(self) -> bool:
        """Whether it ran, within the memory that it may take."""
        return self.status == "ok" and (self.needed_bytes is None or self.needed_bytes <= self.cap_bytes)

    @property
    def over_gib(self) -> float:
        """By how much memory was exceeded, for the study's constraint; at most 0 if it ran and fits."""
        if self.needed_bytes is not None and self.needed_bytes > self.cap_bytes:
            return (self.needed_bytes - self.cap_bytes) / 2**30
        if self.status == "ok":
            return 0.0
        # it did not come as far as to say how much it needs: at least a hundredth of the cap
        return max(self.candidate.cost.missing_bytes, self.cap_bytes // 100, 1) / 2**30

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "settings": self.candidate.settings.to_json(),
            "caution": self.candidate.caution,
            "status": self.status,
            "error": self.error or None,
            "fits": self.fits,
            "measured": {
                "total_s": self.seconds,
                "needed_gib": None if self.needed_bytes is None else self.needed_bytes / 2**30,
            },
            "predicted": self.candidate.cost.to_json(),
            "record": str(self.record),
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Tuned:
    """The outcome of measured tuning. Shows itself as a table."""

    workload: Workload
    device: Device
    """Capped as it was."""
    tried: tuple[Tried, ...]
    """In the order in which they were run, those of earlier sessions first."""
    predicted_front: tuple[Candidate, ...]
    study: optuna.Study
    ran: int
    """Configurations that were run in this session."""
    seconds: float
    """Of this session."""
    ended: str
    """Why it ended, in words."""
    folder: Path

    @property
    def front(self) -> tuple[Tried, ...]:
        """Those that fit and that no other beats in both measured time and caution, fastest first."""
        return measured_front(self.tried)

    @property
    def best(self) -> Tried | None:
        """The fastest of tolerated caution that was measured; if there is none, of the least caution. None if nothing that was run fits."""
        front = self.front
        if not front:
            return None
        least = max(TOLERATED, min(tried.candidate.caution for tried in front))
        return next(tried for tried in front if tried.candidate.caution <= least)

    @property
    def profile(self) -> Profile | None:
        """The best as a profile, named after what was measured of it; None if nothing fits."""
        best = self.best
        if best is None:
            return None
        return best.candidate.profile(
            f"{self.workload.model} on {self.device.name}, measured {best.seconds:.3g} s"
        )

    def to_dataset(self) -> xarray.Dataset:
        """The records of everything that was run, merged, without those that another machine has; `records/schema.md` has the names.

        Raises:
            InputError: nothing was run here.
        """
        from workbench.records import merge

        return merge(tried.record for tried in self.tried if tried.record.exists())

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        best = self.best
        return {
            "workload": self.workload.to_json(),
            "device": {"name": self.device.name, "memory_gib": self.device.memory_bytes / 2**30},
            "best": None if best is None else best.to_json(),
            "front": [tried.to_json() for tried in self.front],
            "tried": [tried.to_json() for tried in self.tried],
            "predicted_front": [candidate.cost.to_json() for candidate in self.predicted_front],
            "ran": self.ran,
            "seconds": self.seconds,
            "ended": self.ended,
            "folder": str(self.folder),
        }

    def __repr__(self) -> str:
        from workbench.measurement._tuned_report import tuned_report
        from workbench.search._render_text import render_report

        return render_report(tuned_report(self))


def measured_front(tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """Those that fit and that no other beats in both time and caution, fastest first."""
    front: list[Tried] = []
    for one in sorted((t for t in tried if t.fits), key=lambda t: (t.seconds, t.candidate.caution)):
        if not front or one.candidate.caution < front[-1].candidate.caution:
            front.append(one)
    return tuple(front)


_LEAST_SPREAD = 0.05
"""Logarithm: measurements of one configuration alone differ by a few per cent."""


def worth_a_run(tried: Sequence[Tried], pool: Sequence[Candidate]) -> Candidate | None:
    """Which configuration is tried next, if any.

    The prediction of each is corrected by how far predictions were off so far (the geometric mean of measured over predicted seconds).
    It is worth a run if, with two standard deviations of luck, it would beat what was measured at its caution or below; of several the
    one that promises most. Before anything was measured, the fastest. What is predicted to need as much memory as something that turned
    out not to fit is not tried.
    """
    done = {one.candidate.settings.canonical() for one in tried}
    large = [one for one in tried if not one.fits and one.status in ("ok", "out_of_memory")]
    least = min((one.candidate.cost.required_vram_bytes for one in large), default=math.inf)
    left = [
        candidate
        for candidate in pool
        if candidate.settings.canonical() not in done and candidate.cost.required_vram_bytes < least
    ]
    ratios = [
        math.log(one.seconds / one.candidate.cost.total_s)
        for one in tried
        if one.seconds and one.candidate.cost.total_s > 0
    ]
    if not left or not ratios:
        return min(left, key=lambda candidate: candidate.order, default=None)
    mean = sum(ratios) / len(ratios)
    spread = max(math.sqrt(sum((ratio - mean) ** 2 for ratio in ratios) / len(ratios)), _LEAST_SPREAD)
    front = measured_front(tried)

    def promise(candidate: Candidate) -> float:
        beaten = [one.seconds for one in front if one.candidate.caution <= candidate.caution and one.seconds]
        expected = candidate.cost.total_s * math.exp(mean)
        return expected / min(beaten) if beaten else 0.0

    best = min(left, key=lambda candidate: (promise(candidate), *candidate.order))
    return best if promise(best) * math.exp(-2 * spread) < 1 else None
