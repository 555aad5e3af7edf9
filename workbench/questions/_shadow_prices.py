"""`shadow_prices`: the best time as a function of the memory cap, and what one more GiB buys at each point of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._estimate import Predictor, collector_paused
from workbench._plan import pricing
from workbench._units import gib
from workbench.devices import Device, resolve
from workbench.models import DEFAULT_MODEL, ModelSpec
from workbench.questions._asked import Asked, Tell, silent
from workbench.questions._fastest import Candidates
from workbench.search import Candidate
from workbench.search._outlines import Outlines
from workbench.search._words import describe_choice
from workbench.search.caution import TOLERATED
from workbench.search.pareto import EQUALLY_FAST
from workbench.search.pins import Pins
from workbench.search.space import Space
from workbench.techniques import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of the curve: from this cap on there is a faster plan."""

    cap_bytes: int
    """The smallest cap under which it fits."""
    candidate: Candidate
    """Priced under that cap."""

    @property
    def seconds(self) -> float:
        """Expected seconds of a clip."""
        return self.candidate.cost.total_s


@dataclass(frozen=True, kw_only=True, repr=False)
class ShadowPrices:
    """The step curve of time over memory. Shows itself as a table, in a terminal and in a notebook."""

    asked: Asked
    device: Device
    """The card with the cap that was asked for, where the curve ends."""
    steps: tuple[Step, ...]
    """From the smallest cap to the largest, each faster than the one before."""
    choice: str = ""

    def at(self, cap_bytes: int) -> Step | None:
        """The step that a cap is on; None when nothing fits it."""
        return next((step for step in reversed(self.steps) if step.cap_bytes <= cap_bytes), None)

    def seconds_per_gib(self, number: int) -> float | None:
        """What one more GiB saves from a step to the next, on average; None for the last one."""
        if number + 1 >= len(self.steps):
            return None
        step, faster = self.steps[number], self.steps[number + 1]
        return (step.seconds - faster.seconds) / gib(faster.cap_bytes - step.cap_bytes)

    def to_json(self) -> dict[str, Any]:
        """One JSON object: what `--json` prints."""
        return {
            **self.asked.to_json(),
            "device": self.device.name,
            "cap_gib": gib(self.device.memory_bytes),
            "steps": [self._step_json(number) for number in range(len(self.steps))],
        }

    def _step_json(self, number: int) -> dict[str, Any]:
        step = self.steps[number]
        cost = step.candidate.cost
        return {
            "from_gib": gib(step.cap_bytes),
            "total_s": step.seconds,
            "saves_s_per_gib": self.seconds_per_gib(number),
            "peak_stage": cost.binds.name,
            "binds": cost.binds.binds,
            "host_ram_gib": gib(cost.host_ram_bytes),
            "caution": step.candidate.caution,
            "settings": step.candidate.settings.to_json(),
        }

    def __repr__(self) -> str:
        from workbench.questions._shadow_prices_report import shadow_prices_report
        from workbench.search._render_text import render_report

        return render_report(shadow_prices_report(self))

    def _repr_html_(self) -> str:
        from workbench.questions._shadow_prices_report import shadow_prices_report
        from workbench.search._render_html import render_report

        return render_report(shadow_prices_report(self))


def shadow_prices(
    model: ModelSpec | str | Path | DiffusionPipeline = DEFAULT_MODEL,
    *,
    device: Device | str | None = None,
    vram_gb: float | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    ram_gb: float | None = None,
    desktop_gb: float | None = None,
    min_quality: float | None = None,
    max_caution: int | None = TOLERATED,
    pin: Settings | Mapping[str, Any] | None = None,
    forbid: Sequence[str] = (),
    tell: Tell = silent,
) -> ShadowPrices:
    """The fastest plan under every cap up to a card's memory: a curve of steps, each with what the memory to the next one buys.

    Under caps that are above `steps[0].cap_bytes` something fits; steps whose times differ by less than `EQUALLY_FAST` are one.

    Args:
        device, vram_gb: the card, and the cap where the curve ends, as in `plan`. Smaller caps leave its rates as they are.
        min_quality, max_caution, pin, forbid, ram_gb, desktop_gb: as in `fit`.
        tell: called with a few words while it goes on.

    Raises:
        InputError: something of this is wrong; the message says what, which value, and what is allowed.
    """
    size = {"frames": frames, "height": height, "width": width}
    asked = Asked.of(
        model,
        size | {"steps": steps, "guidance": guidance, "batch": batch},
        min_quality=min_quality,
        max_caution=max_caution,
        pin=pin,
        forbid=forbid,
    )
    card = resolve(device, vram_gb=vram_gb, ram_gb=ram_gb, desktop_gb=desktop_gb)
    predictor = Predictor(asked.workload)
    with collector_paused():
        found = _curve(predictor, card, asked, tell)
    return ShadowPrices(
        asked=asked, device=card, steps=_merged(found), choice=describe_choice(device, vram_gb)
    )


@dataclass(slots=True)
class _Lowering:
    """Prices under a cap that is lowered below each plan that is found; every configuration is priced once per cap."""

    predictor: Predictor
    device: Device
    pins: Pins
    _known: dict[tuple[str, int], Candidate] = field(default_factory=dict)

    def price(self, settings: Settings) -> Candidate:
        key = (settings.canonical(), self.device.memory_bytes)
        if key not in self._known:
            self._known[key] = pricing(self.predictor, self.device, self.pins)(settings)
        return self._known[key]


def _curve(predictor: Predictor, device: Device, asked: Asked, tell: Tell) -> list[Step]:
    """The fastest plan under each cap, from the largest cap down. Fastest first, each candidate lowers the cap to just below what it needs:
    those before it do not fit there, so the next that does is the fastest that does."""
    under = _Lowering(predictor, device, asked.pins)
    space = Space.of(predictor.spec, predictor.workload, device, asked.pins, blocks=predictor.num_blocks())
    candidates = Candidates(space, under.price, Outlines(predictor, device))
    steps: list[Step] = []
    for found in candidates:
        if not asked.limits.allow(found):
            continue
        while (candidate := under.price(found.settings)).cost.fits:
            step = _smallest(candidate, under)
            tell(f"from {gib(step.cap_bytes):.2f} GiB")
            steps.append(step)
            under.device = device.capped(memory_bytes=step.cap_bytes - 1)
    if not steps and candidates.refused is not None and not under._known:
        raise candidates.refused
    return steps


def _smallest(candidate: Candidate, under: _Lowering) -> Step:
    """The smallest cap at and below the present one under which a candidate that fits is seen to fit still. What it needs depends on the
    cap a little: short of memory the allocator empties its cache, after which it may reserve more than what it would have found in it."""
    above, device = under.device, under.device
    needed = candidate.cost.required_vram_bytes
    while needed < above.memory_bytes:
        under.device = device.capped(memory_bytes=needed)
        found = under.price(candidate.settings)
        if found.cost.fits:
            return Step(cap_bytes=needed, candidate=found)
        needed = max(needed + 1, found.cost.required_vram_bytes)
    return Step(cap_bytes=above.memory_bytes, candidate=candidate)


def _merged(found: Sequence[Step]) -> tuple[Step, ...]:
    """Smallest cap first; of steps that are equally fast the one of the smallest cap stands for all."""
    kept: list[Step] = []
    fastest = 0.0
    for step in found:  # from the largest cap, and the fastest, down
        if kept and step.seconds <= fastest * (1 + EQUALLY_FAST):
            kept[-1] = step
        else:
            kept.append(step)
            fastest = step.seconds
    return tuple(reversed(kept))
