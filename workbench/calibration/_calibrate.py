"""`calibrate`: benchmarks this machine's GPU or CPU and keeps what it finds. Touches the clock, the GPU and the disk."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError
from workbench._store import versions
from workbench.calibration._fit import Sample, fitted
from workbench.cost.roofline import compute_seconds
from workbench.devices import (
    Calibration,
    Device,
    TimeBand,
    cpu,
    machine_name,
    save_calibration,
    this_machine,
)
from workbench.models._quiet import quiet_imports

if TYPE_CHECKING:
    import torch

    from workbench.calibration._blocks import Block
    from workbench.calibration._cases import Series

DEFAULT_BUDGET_S: Final = 75.0
_MOST_ROUNDS: Final = 5
_BLOCK_REPEATS: Final = 5
_FIRST_ROUND: Final = 0.4
"""Part of the time that the first round of benchmarks may take."""
NOISY: Final = 0.2
"""From this spread between rounds on, other work on the machine disturbed the measurements."""


def calibrate(
    device: Device | str | None = None,
    *,
    budget_s: float = DEFAULT_BUDGET_S,
    save: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Calibration:
    """Measures what this machine's GPU or CPU reaches, and keeps it: times are then predicted from it.

    Args:
        device: `"cpu"`, `"this"` (its GPU), or a card that must be the one in this machine; None means the GPU if PyTorch sees one that
            the catalogue knows, else the CPU.
        budget_s: about how long to measure. More means more rounds and larger ops; from a few seconds on it is enough for a first look.
        save: False only measures.
        progress: is told what is being measured.

    Raises:
        InputError: the device is not this machine's, or the budget is not positive.
    """
    if isinstance(budget_s, bool) or not isinstance(budget_s, int | float) or not 0 < budget_s <= 3600:
        raise InputError(f"budget_s must be seconds above 0 and at most 3600, got {budget_s!r}")
    base = _own_device(device)
    import torch

    with torch.no_grad(), quiet_imports(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the modules that are timed
        calibration = _Bench(base, float(budget_s), progress or (lambda _: None)).run()
    if save:
        save_calibration(calibration)
    return calibration


def _own_device(device: Device | str | None) -> Device:
    """The catalogue's row of what is to be measured."""
    name = device.name if isinstance(device, Device) else device
    if name == "cpu":
        return cpu()
    found = this_machine()
    if name is None and found is None:
        return cpu()
    if found is None:
        raise InputError(
            f"calibrate measures this machine, which has no GPU that the catalogue knows; got {name!r}"
        )
    if name not in (None, "this", found.name):
        raise InputError(f"calibrate measures this machine, whose GPU is {found.name}; got {name!r}")
    return found


@dataclass(slots=True)
class _Timed:
    make: Callable[[], Callable[[], object]]
    sample: Sample
    loops: int
    rounds: list[float]


class _Bench:
    """One calibration."""

    def __init__(self, base: Device, budget_s: float, progress: Callable[[str], None]) -> None:
        self.base = base
        self.on_gpu = base.architecture != "cpu"
        self.where = "cuda" if self.on_gpu else "cpu"
        self.budget_s = budget_s
        self.progress = progress
        self.began = time.perf_counter()

    def run(self) -> Calibration:
        """Measures and fits."""
        timed = self._first_round(self._series())
        self._more_rounds(timed)
        samples = [self._sample(one) for one in timed]
        source = self._source()
        links = self._links() if self.on_gpu else {}
        rough = fitted(self.base, samples, launch_s=0.0, links=links, source=source)
        self.progress("what the host does between ops")
        launch_s = self._launch_seconds(rough)
        device = fitted(self.base, samples, launch_s=launch_s, links=links, source=source)
        self.progress("checking against small models")
        checks = self._checks(device)
        band = TimeBand.of([row["predicted_s"] for row in checks], [row["measured_s"] for row in checks])
        from workbench.calibration._clock import spread

        return Calibration(
            device=replace(device, band=band),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - self.began, 1),
            machine=machine_name(),
            noise=spread([one.rounds for one in timed]),
            versions=versions(),
            samples=tuple(sample.to_json() for sample in samples),
            checks=tuple(checks),
        )

    def _dtypes(self) -> list[torch.dtype]:
        import torch

        if not self.on_gpu:
            return [torch.float32, torch.bfloat16]
        half = [torch.float16] if "fp16" in self.base.dense_flops else []
        return [torch.float32, *half, *([torch.bfloat16] if "bf16" in self.base.dense_flops else [])]

    def _series(self) -> Sequence[Series]:
        from workbench.calibration._cases import all_series

        largest = min(2**30, self.base.memory_bytes // 16) if self.on_gpu else 2**28
        return tuple(all_series(self.where, self._dtypes(), largest))

    def _first_round(self, series: Sequence[Series]) -> list[_Timed]:
        """Every benchmark once, as far as each series gets in its share of the time."""
        from workbench.calibration._clock import loops_for, once, per_call

        timed: list[_Timed] = []
        until = self.began + _FIRST_ROUND * self.budget_s
        for number, one in enumerate(series):
            self.progress(one.name)
            began, known = time.perf_counter(), len(timed)
            share = max(0.0, until - began) / (len(series) - number)
            for make in one.makers:
                work = make()
                once(work, self.on_gpu)
                seconds = min(once(work, self.on_gpu) for _ in range(2))
                op = _main_op(work, on_cpu=not self.on_gpu)
                if op is not None:
                    loops = loops_for(seconds)
                    timed.append(_Timed(make, op, loops, [per_call(work, self.on_gpu, loops)]))
                late = time.perf_counter() - began > share / 2  # and the next one takes several times as long
                if late and len(timed) > known + 1:
                    break
        return timed

    def _more_rounds(self, timed: list[_Timed]) -> None:
        """The same again and again, at least twice, while another round fits into three quarters of the time."""
        from workbench.calibration._clock import per_call

        self.progress("again, to see how steady it is")
        for number in range(_MOST_ROUNDS - 1):
            began = time.perf_counter()
            for one in timed:
                one.rounds.append(per_call(one.make(), self.on_gpu, one.loops))
            now = time.perf_counter()
            if number and 2 * now - began - self.began > 0.75 * self.budget_s:
                return

    def _sample(self, one: _Timed) -> Sample:
        return replace(one.sample, seconds=median(one.rounds))

    def _links(self) -> dict[str, float]:
        """Bytes per second from host to device, from pinned and from pageable memory."""
        import torch

        from workbench.calibration._clock import per_call

        self.progress("host link")
        rates = {}
        num_bytes = 256 * 2**20
        there = torch.empty(num_bytes, dtype=torch.uint8, device="cuda")
        for name, pinned in (("link_pinned", True), ("link_pageable", False)):
            here = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=pinned)
            here.fill_(1)
            times = [per_call(lambda here=here: there.copy_(here), True, 2) for _ in range(3)]  # type: ignore[misc]
            rates[name] = num_bytes / median(times)
        return rates

    def _launch_seconds(self, rough: Device) -> float:
        """What the host adds for each op: models whose ops have next to nothing to do take this much longer than the ops alone."""
        from workbench.calibration._blocks import small_blocks

        found = []
        for block in small_blocks(self.where, self._dtypes()[0]):
            count = sum(times for op, times in block.ops if op.kind != "view")
            ops_s = 0.0 if self.on_gpu else compute_seconds(block.ops, rough).expected
            found.append(max(0.0, self._timed_block(block) - ops_s) / count)
        return median(found)

    def _checks(self, device: Device) -> list[dict[str, Any]]:
        """Models that nothing was fitted to, predicted and measured."""
        from workbench.calibration._blocks import check_blocks

        rows = []
        for dtype in self._dtypes():
            for block in check_blocks(self.where, dtype):
                name = f"{block.name} {str(dtype).removeprefix('torch.')}"
                predicted = compute_seconds(block.ops, device).expected
                rows.append({"name": name, "predicted_s": predicted, "measured_s": self._timed_block(block)})
        return rows

    def _timed_block(self, block: Block) -> float:
        from workbench.calibration._clock import once

        once(block.work, self.on_gpu)
        return median(once(block.work, self.on_gpu) for _ in range(_BLOCK_REPEATS))

    def _source(self) -> str:
        found = versions()
        when = datetime.now(UTC).isoformat(timespec="seconds")
        return f"measured by `workbench calibrate` on {when} with torch {found.get('torch', '?')} on {machine_name()}"


def _main_op(work: Callable[[], object], *, on_cpu: bool) -> Sample | None:
    """The op that a benchmark is about, as the tracer sees it: the one with the most work. Its seconds are still to be measured."""
    from workbench.calibration._blocks import recorded_ops
    from workbench.cost._opclass import classify

    best: Sample | None = None
    for op, _ in recorded_ops(work):
        group, amount, width = classify(op, on_cpu=on_cpu)
        if group and amount > 0 and (best is None or amount > best.work):
            best = Sample(group=group, dtype=op.dtype, work=amount, width=width, seconds=1.0)
    return best
