"""`plan`: what is the best way to make this on that card?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError
from workbench._estimate import Predictor, collector_paused
from workbench._units import GIB
from workbench.cost.outline import Outline
from workbench.devices import Device, resolve
from workbench.models import DEFAULT_MODEL, ModelSpec, Workload
from workbench.search import Candidate
from workbench.search import Plan as Plan
from workbench.search._less_ram import sizes_below
from workbench.search._rescue import composed_for
from workbench.search._study import Evaluated, choose, run
from workbench.search._words import describe_choice
from workbench.search.caution import TOLERATED
from workbench.search.pareto import front
from workbench.search.pins import Pins
from workbench.techniques import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

OBJECTIVES = ("time", "quality")


def plan(
    vram_gb: float | None = None,
    *,
    model: ModelSpec | str | Path | DiffusionPipeline = DEFAULT_MODEL,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    device: Device | str | None = None,
    ram_gb: float | None = None,
    desktop_gb: float | None = None,
    objectives: Sequence[str] = OBJECTIVES,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    max_caution: int | None = None,
    pin: Settings | Mapping[str, Any] | None = None,
    forbid: Sequence[str] = (),
    more: bool = False,
    trials: int = 64,
    seed: int = 0,
    storage: str | None = None,
) -> Plan:
    """Searches the settings under which a workload fits a card, without the card and without the weights.

    Args:
        vram_gb: the cap in GiB; with `device` a cap below that card's memory, alone a typical card of that size (12 by default).
        model: a catalogue name, a folder with configurations, a hub id, or a pipeline in memory; the other workload values
            default to its native ones.
        ram_gb: host RAM in GiB; None means unlimited.
        desktop_gb: GiB that the desktop and other programs hold on the card, within `vram_gb`; None means the card's default: 0 on
            data-centre cards, 0.4 on those with a display, of which a `vram_gb` below a given `device` takes first what it takes away.
        objectives: what `best` is chosen by: `("time",)` the fastest that fits whatever it does to the output, `("quality",)` the
            closest to the un-optimised run, both (the default) the fastest among those that stay close to it.
        max_seconds: leave out what is expected to take longer.
        min_quality: leave out what is known to keep less than this many per cent of the quality; unknown losses are not counted.
        max_caution: leave out what strays further from the un-optimised run (`search/caution.py`).
        pin: settings that stay as given, by technique id, `{"steps": 30, "quantization": {"transformer": "int8wo"}}`; they do not
            count as caution. The search chooses the other techniques.
        forbid: techniques that must not be used, `("cache", "quantization=nf4")`.
        more: search the choices too that take traces of their own (further kinds of quantisation, blocks left alone by it, caches,
            SageAttention, the other way of guidance, fused projections, compilation, allocator): minutes instead of seconds the first
            time. Without it those of them that save memory are tried where nothing else fits.
        trials: trials of the sampler, after the seeds that exact composition gives it.
        seed: of the sampler; equal arguments give equal plans.
        storage: where the Optuna study is kept: a journal file or a database URL; None keeps it in memory.

    Raises:
        InputError: something of this is wrong; the message says what, which value, and what is allowed.
    """
    started = time.perf_counter()
    limits = Limits.checked(objectives, max_seconds, min_quality)
    check_counts(trials, seed)
    pins = Pins.of(pin, forbid, max_caution)
    given: dict[str, Any] = {
        "frames": frames,
        "height": height,
        "width": width,
        "steps": steps,
        "guidance": guidance,
        "batch": batch,
    }
    workload = Workload.for_model(
        model, **{name: value for name, value in given.items() if value is not None}
    )
    chosen = resolve(device, vram_gb=vram_gb, ram_gb=ram_gb, desktop_gb=desktop_gb)
    return searched(
        Predictor(workload),
        chosen,
        limits=limits,
        pins=pins,
        more=more,
        trials=trials,
        seed=seed,
        storage=storage,
        choice=describe_choice(device, vram_gb),
        started=started,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What `best` is chosen by, beside memory."""

    objectives: tuple[str, ...] = OBJECTIVES
    max_seconds: float | None = None
    min_quality: float | None = None

    @classmethod
    def checked(
        cls,
        objectives: Sequence[str] = OBJECTIVES,
        max_seconds: float | None = None,
        min_quality: float | None = None,
    ) -> Limits:
        """Limits as a caller gave them.

        Raises:
            InputError: one is out of range.
        """
        _check(objectives, max_seconds, min_quality)
        return cls(objectives=tuple(objectives), max_seconds=max_seconds, min_quality=min_quality)

    def allow(self, candidate: Candidate) -> bool:
        """Whether a candidate is neither too slow nor known to lose too much."""
        return self._within(candidate.cost.total_s, candidate.cost.quality.known_loss_percent)

    def allow_outline(self, settings: Settings, outline: Outline) -> bool:
        """The same of what is not priced in full yet."""
        known = 0.0 if self.min_quality is None else settings.known_loss_percent()
        return self._within(outline.total_s, known)

    def _within(self, seconds: float, loss_percent: float) -> bool:
        if self.max_seconds is not None and seconds > self.max_seconds:
            return False
        return self.min_quality is None or 100.0 - loss_percent >= self.min_quality


def pricing(predictor: Predictor, device: Device, pins: Pins) -> Callable[[Settings], Candidate]:
    """What prices settings for a search."""

    def price(settings: Settings) -> Candidate:
        cost = predictor.cost(settings, device)
        caution = pins.caution(settings.to_json(), predictor.workload.steps)
        return Candidate(settings=settings, cost=cost, caution=caution)

    return price


def searched(
    predictor: Predictor,
    device: Device,
    *,
    limits: Limits,
    pins: Pins,
    trials: int,
    seed: int,
    more: bool = False,
    storage: str | None = None,
    choice: str = "",
    started: float | None = None,
) -> Plan:
    """The plan for what a predictor knows of: `plan` without reading its arguments.

    Raises:
        SettingsError: what is pinned cannot act on this model, card or workload.
    """
    started = time.perf_counter() if started is None else started
    with collector_paused():
        composition = composed_for(predictor, device, pins, more=more, allow=limits.allow_outline)
        evaluated = Evaluated(composition, pricing(predictor, device, pins))
        study = run(evaluated, device, trials=trials, seed=seed, storage=storage)
    if not evaluated.all and evaluated.refused is not None:
        raise evaluated.refused  # without pins there is always something that can be priced
    allowed = tuple(c for c in evaluated.all if pins.allow(c.settings.to_json(), predictor.workload.steps))
    wanted = tuple(c for c in allowed if limits.allow(c))
    best, ranking = _best(wanted, limits.objectives)
    return Plan(
        workload=predictor.workload,
        device=device,
        best=best,
        front=front(wanted),
        nearest_miss=None if best is not None else _nearest(wanted or allowed or evaluated.all),
        study=study,
        trials=composition.num_points,
        seconds=time.perf_counter() - started,
        ranking=ranking,
        choice=choice,
        pins=pins,
        less_ram=_with_less_ram(wanted, best, limits.objectives),
    )


def _with_less_ram(
    candidates: tuple[Candidate, ...], best: Candidate | None, objectives: Sequence[str]
) -> tuple[tuple[int, Candidate | None], ...]:
    """The best plans of machines with less host RAM, where the device does not say how much there is."""
    if best is None or best.cost.device.ram_bytes is not None:
        return ()
    there = {
        size: tuple(c for c in candidates if c.cost.host_ram_bytes <= size * GIB)
        for size in sizes_below(best)
    }
    return tuple((size, _best(few, objectives)[0]) for size, few in there.items())


def _check(objectives: Sequence[str], max_seconds: float | None, min_quality: float | None) -> None:
    if not objectives or any(name not in OBJECTIVES for name in objectives):
        raise InputError(f"objectives must be some of {', '.join(OBJECTIVES)}, got {tuple(objectives)!r}")
    for name, value, allowed in (
        ("max_seconds", max_seconds, "a positive number of seconds"),
        ("min_quality", min_quality, "a number of per cent from 0 to 100"),
    ):
        if value is None:
            continue
        is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if (
            not is_number
            or value < 0
            or (name == "max_seconds" and value == 0)
            or (name == "min_quality" and value > 100)
        ):
            raise InputError(f"{name} must be {allowed}, got {value!r}")


def check_counts(trials: int, seed: int) -> None:
    for name, count in (("trials", trials), ("seed", seed)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InputError(f"{name} must be a whole number of at least 0, got {count!r}")


def _best(candidates: tuple[Candidate, ...], objectives: Sequence[str]) -> tuple[Candidate | None, str]:
    fitting = [candidate for candidate in candidates if candidate.cost.fits]
    if set(objectives) == {"time"}:
        return min(fitting, key=lambda c: c.order, default=None), "the fastest that fits"
    if set(objectives) == {"quality"}:
        closest = min(fitting, key=lambda c: (c.caution, *c.order), default=None)
        return closest, "the closest to the un-optimised run that fits, and of those the fastest"
    ranking = f"the fastest that fits among plans of caution up to {TOLERATED}; if there is none, of the least caution"
    return choose(front(fitting)), ranking


def _nearest(candidates: tuple[Candidate, ...]) -> Candidate | None:
    return min(candidates, key=lambda c: (c.cost.missing_bytes, *c.order), default=None)
