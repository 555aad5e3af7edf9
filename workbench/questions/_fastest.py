"""The best plan under caps without pricing everything: configurations are looked at fastest first.

Tiles and the like only save memory where the autoencoder runs, for time (`search/_study.py`): they enter only where the configuration
without them does not fit for the autoencoder's sake. What comes out is what a search over everything finds; a test holds that.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workbench._errors import SettingsError
from workbench._estimate import Predictor
from workbench._plan import Limits, pricing
from workbench.cost import Cost
from workbench.cost.price import required_vram_bytes
from workbench.devices import Device
from workbench.search import Candidate
from workbench.search._choices import SAVE_AROUND_THE_VAE, VAE_STAGES, Point
from workbench.search._outlines import Outlines
from workbench.search._study import choose
from workbench.search.caution import TOLERATED
from workbench.search.pareto import EQUALLY_FAST, front
from workbench.search.pins import Pins
from workbench.search.space import Space
from workbench.techniques import Settings

Price = Callable[[Settings], Candidate]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The answer for one workload on one card."""

    best: Candidate | None
    """None when nothing meets the limits."""
    miss: Candidate | None
    """When nothing does: what comes closest; None only if the techniques that are pinned were refused everywhere."""
    binds: str
    """What a miss fails by: `memory`, `host RAM` or `time`; `""` when something meets the limits."""


class Candidates:
    """The configurations of a space, fastest first. Iterate once; lowering the cap that `price` prices under is allowed meanwhile."""

    def __init__(
        self,
        space: Space,
        price: Price,
        outlines: Outlines,
        needs_savings: Callable[[Candidate], bool] | None = None,
    ) -> None:
        """Args:
        outlines: on a device of the same speed; they say in which order configurations are looked at.
        needs_savings: whether what saves memory around the autoencoder is of use to a candidate; by default, where it does not fit
            and would but for the autoencoder.
        """
        self.space, self.price, self._outlines = space, price, outlines
        self._needs_savings = needs_savings if needs_savings is not None else _fits_but_for_the_vae
        self.refused: SettingsError | None = None
        self._heap: list[tuple[tuple[float, int], int, Point, Settings]] = []
        self._seen: set[Settings] = set()
        self._count = itertools.count()

    def __iter__(self) -> Iterator[Candidate]:
        least = {name: self.space.dimensions[name][:1] for name in SAVE_AROUND_THE_VAE}
        for point in self.space.points(least):
            self._push(point)
        while self._heap:
            _, _, point, settings = heapq.heappop(self._heap)
            candidate = self.price(settings)
            yield candidate
            if self._needs_savings(candidate):
                self._push_savings(point)

    def _push(self, point: Point) -> None:
        try:
            settings = self.space.settings_of(point)
            if settings in self._seen:
                return
            self._seen.add(settings)
            data, steps = settings.to_json(), self.space.workload.steps
            if not self.space.pins.allow(data, steps):
                return
            order = (self._outlines.of(settings).total_s, self.space.pins.caution(data, steps))
        except SettingsError as error:
            self.refused = error
            self._push_savings(point)
            return
        heapq.heappush(self._heap, (order, next(self._count), point, settings))

    def _push_savings(self, point: Point) -> None:
        """The points with the next choice of each dimension that saves memory around the autoencoder."""
        for name in SAVE_AROUND_THE_VAE:
            choices = self.space.dimensions[name]
            position = choices.index(point[name]) + 1
            if position < len(choices):
                self._push({**point, name: choices[position]})


def _fits_but_for_the_vae(candidate: Candidate) -> bool:
    return not candidate.cost.fits and fits_elsewhere(candidate.cost)


def fits_elsewhere(cost: Cost) -> bool:
    """Whether the stages without the autoencoder fit, and the host RAM suffices."""
    stages = [stage for stage in cost.price.stages if stage.name not in VAE_STAGES]
    device = cost.device
    if device.ram_bytes is not None and cost.host_ram_bytes > device.ram_bytes:
        return False
    return required_vram_bytes(stages, device) <= device.memory_bytes


def fastest(predictor: Predictor, device: Device, limits: Limits, pins: Pins) -> Found:
    """The best plan, chosen as `plan` chooses it, or what comes closest.

    Raises:
        SettingsError: what is pinned cannot act on this model, card or workload.
    """
    space = Space.of(predictor.spec, predictor.workload, device, pins, blocks=predictor.num_blocks())
    price = remembering(pricing(predictor, device, pins))
    candidates = Candidates(space, price, Outlines(predictor, device))
    fitting: list[Candidate] = []
    misses: list[Candidate] = []
    enough: float | None = None
    for candidate in candidates:
        if enough is not None and candidate.cost.total_s > enough:
            break
        if candidate.cost.fits and limits.allow(candidate):
            fitting.append(candidate)
            if enough is None and candidate.caution <= TOLERATED:
                enough = candidate.cost.total_s * (1 + EQUALLY_FAST)
        else:
            misses.append(candidate)
            if not fitting and candidate.cost.fits and _is_slow(candidate, limits):
                break  # all others are slower still
    if fitting:
        return Found(best=choose(front(fitting)), miss=None, binds="")
    if not misses and candidates.refused is not None:
        raise candidates.refused
    miss = min(misses, key=lambda c: (max(shares(c, limits, device).values()), *c.order), default=None)
    return Found(best=None, miss=miss, binds=what_binds(miss, limits) if miss is not None else "")


def remembering(price: Price) -> Price:
    """The same prices, each worked out once."""
    known: dict[str, Candidate] = {}

    def remembered(settings: Settings) -> Candidate:
        name = settings.canonical()
        if name not in known:
            known[name] = price(settings)
        return known[name]

    return remembered


def shares(candidate: Candidate, limits: Limits, device: Device) -> dict[str, float]:
    """What part of each limit a candidate takes: 1 is just within it, 1.1 a tenth beyond.

    Args:
        device: whose memory limits; the candidate may have been priced for the same one under another cap.
    """
    cost = candidate.cost
    required = cost.required_vram_bytes + _overhead_bytes(device) - _overhead_bytes(cost.device)
    found = {"memory": required / device.memory_bytes}
    if device.ram_bytes is not None:
        found["host RAM"] = cost.host_ram_bytes / device.ram_bytes
    if limits.max_seconds is not None:
        found["time"] = cost.total_s / limits.max_seconds
    if limits.min_quality is not None and 100.0 - cost.quality.known_loss_percent < limits.min_quality:
        found["quality"] = float("inf")  # no size changes it: such a candidate is never the nearest
    return found


def what_binds(candidate: Candidate, limits: Limits) -> str:
    """What a candidate is furthest beyond, or nearest to: `memory`, `host RAM`, `time` or `quality`."""
    found = shares(candidate, limits, candidate.cost.device)
    return max(found, key=lambda name: found[name])


def _overhead_bytes(device: Device) -> int:
    """What a card is charged before anything is allocated; a cap takes first from what nobody could use."""
    return device.context_bytes + device.desktop_bytes


def _is_slow(candidate: Candidate, limits: Limits) -> bool:
    return limits.max_seconds is not None and candidate.cost.total_s > limits.max_seconds
