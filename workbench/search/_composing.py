"""Composes a whole space: the outline of every configuration that is not needless, and of these the ones that are worth a full price.

Steps, which only repeat calls, and what saves memory around the autoencoder are not multiplied out: fewer steps are looked at where the
same configuration is on the way to a front, tiles and the like where a configuration fits but for the autoencoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from workbench._errors import SettingsError
from workbench._units import GIB
from workbench.cost.outline import Outline
from workbench.devices import Device
from workbench.search._choices import SAVE_AROUND_THE_VAE, VAE_STAGES, Choice, Point
from workbench.search._less_ram import SIZES_GIB
from workbench.search._outlines import Outlines
from workbench.search.pareto import Row, undominated
from workbench.search.space import Space
from workbench.techniques import AbstractTechnique, Settings

MISSES = 8
"""Of the configurations that come closest without fitting: those of which every saving around the autoencoder is tried."""
ROUNDS = 3
"""How many choices of their own traces a configuration may come to differ by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """One configuration with its outline."""

    point: Point
    settings: Settings
    outline: Outline
    caution: int
    missing_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the device's VRAM and host RAM are enough."""
        return self.missing_bytes == 0

    def misses_elsewhere(self, device: Device) -> int:
        """By how much the stages without the autoencoder, and the host RAM, exceed the device."""
        stages = self.outline.least_vram_bytes.items()
        most = max((size for name, size in stages if name not in VAE_STAGES), default=0)
        ram = max(0, self.outline.host_ram_bytes - device.ram_bytes) if device.ram_bytes is not None else 0
        return max(0, most - device.memory_bytes) + ram


class Composition:
    """The configurations of a space on one device, each outlined once."""

    def __init__(
        self, space: Space, outlines: Outlines, allow: Callable[[Settings, Outline], bool] | None = None
    ) -> None:
        """Args:
        allow: whether a configuration may be chosen, by other limits than memory.
        """
        self.space, self.outlines, self.device = space, outlines, outlines.device
        self.refused: SettingsError | None = None
        """Why the last point that could not be priced was refused."""
        self._allow = allow
        self._at: dict[tuple[Choice | None, ...], Composed | None] = {}
        self._cautions: dict[AbstractTechnique, int] = {}
        self._all: dict[int, Composed] | None = None

    @property
    def num_points(self) -> int:
        """Points that were outlined, or refused."""
        return len(self._at)

    def at(self, point: Point) -> Composed | None:
        """The configuration at a point; None if its techniques conflict or are refused."""
        key = tuple(map(point.get, self.space.dimensions))
        if key not in self._at:
            try:
                settings = self.space.settings_of(point)
                outline = self.outlines.of(settings)
            except SettingsError as error:
                self.refused = error
                self._at[key] = None
            else:
                self._at[key] = Composed(
                    point=point,
                    settings=settings,
                    outline=outline,
                    caution=sum(map(self._caution, settings.techniques)),
                    missing_bytes=outline.missing_bytes(self.device),
                )
        return self._at[key]

    def needed(self, point: Point) -> Composed | None:
        """The configuration at a point, or what makes it needless. Tiles and the like only save memory where the autoencoder runs, for
        time and caution: without them it fits, or what they do not touch takes too much already. Outlining them would take a trace each."""
        for name in SAVE_AROUND_THE_VAE:
            choices = self.space.dimensions[name]
            position = choices.index(point[name])
            if position:
                less = self.needed({**point, name: choices[position - 1]})
                if less is not None and not self.lacks_there(less):
                    return less
        return self.at(point)

    def lacks_there(self, composed: Composed) -> bool:
        """Whether it fits but for the autoencoder."""
        return not composed.fits and composed.misses_elsewhere(self.device) == 0

    def all(self) -> tuple[Composed, ...]:
        """Every configuration of the lean part of the space at the workload's own steps that is not needless; then, of those on the way
        to a front, with fewer steps."""
        if self._all is None:
            least = {name: self.space.dimensions[name][:1] for name in SAVE_AROUND_THE_VAE}
            own = self.space.dimensions["steps"][:1]
            found: list[Composed] = []
            for point in self.space.points({**least, "steps": own}):
                found += self._climbed(point)
            self._all = {id(composed): composed for composed in found + self._with_fewer_steps(found)}
        return tuple(self._all.values())

    def _climbed(self, start: Point) -> Iterable[Composed]:
        """A point, and where it lacks memory around the autoencoder the points above it that save some."""
        waiting, seen = [start], {id(None)}
        while waiting:
            point = waiting.pop()
            composed = self.needed(point)
            if composed is not None and id(composed) not in seen:
                seen.add(id(composed))
                yield composed
            if composed is None or (composed.point == point and self.lacks_there(composed)):
                waiting += _saving_more(self.space, point)

    def _with_fewer_steps(self, found: list[Composed]) -> list[Composed]:
        """Time is what every step takes times their number, and the rest: with fewer steps those are the fastest that now are better than
        any other in one of the two."""
        kept: list[Composed] = []
        for level in _by_caution(c for c in found if c.fits).values():
            least = float("inf")
            for composed in sorted(level, key=lambda c: (_denoising(c), c.outline.total_s)):
                rest = composed.outline.total_s - _denoising(composed)
                if rest < least:
                    kept.append(composed)
                    least = rest
        points = (
            {**composed.point, "steps": steps}
            for steps in self.space.dimensions["steps"][1:]
            for composed in kept
        )
        return [fewer for point in points if (fewer := self.needed(point)) is not None]

    def _caution(self, technique: AbstractTechnique) -> int:
        if technique not in self._cautions:
            settings, steps = {technique.id: technique.to_json()}, self.space.workload.steps
            self._cautions[technique] = self.space.pins.caution(settings, steps)
        return self._cautions[technique]

    # --- what is worth a full price -----------------------------------------------------------------------------------

    def chosen(self) -> list[Composed]:
        """The fastest that fits at each caution, and every front: of this machine and of those with less host RAM. Least caution first.
        Empty if nothing fits."""
        fitting = [c for c in self.all() if self._may(c)]
        fronts = [fitting]
        if self.device.ram_bytes is None:
            fronts += [[c for c in fitting if c.outline.host_ram_bytes <= size * GIB] for size in SIZES_GIB]
        kept: dict[int, Composed] = {}
        for few in fronts:
            fastest = [min(level, key=_order) for level in _by_caution(few).values()]
            for composed in (*fastest, *_front(few)):
                kept[id(composed)] = composed
        return sorted(kept.values(), key=lambda c: (c.caution, _order(c)))

    def front(self) -> list[Composed]:
        """Those that fit and that no other beats in both time and caution."""
        return _front([c for c in self.all() if self._may(c)])

    def misses(self) -> list[Composed]:
        """What comes closest without fitting, nearest first."""
        found = sorted(
            self.all(), key=lambda c: (c.misses_elsewhere(self.device), c.missing_bytes, _order(c))
        )
        near: list[Composed] = []
        for composed in found[:MISSES]:
            waiting, seen = [composed.point], set()
            while waiting:
                point = waiting.pop()
                key = tuple(point[name] for name in SAVE_AROUND_THE_VAE)
                if key in seen:
                    continue
                seen.add(key)
                near += [c for c in [self.at(point)] if c is not None]
                waiting += _saving_more(self.space, point)
        return sorted(near, key=lambda c: (c.missing_bytes, _order(c)))

    def _may(self, composed: Composed) -> bool:
        if not composed.fits:
            return False
        pins = self.space.pins
        if (pins.forbidden or pins.max_caution is not None) and not pins.allow(
            composed.settings.to_json(), self.space.workload.steps
        ):
            return False
        return self._allow is None or self._allow(composed.settings, composed.outline)

    # --- beyond the lean part -----------------------------------------------------------------------------------------

    def explore(self, touching: Callable[[Composed, str], bool] | None = None) -> int:
        """Tries every choice that takes a trace of its own, one at a time, on what is on the front (or, where nothing fits, comes
        closest), and goes on from what that brings onto it. Returns how many configurations were tried.

        Args:
            touching: whether a dimension may help a configuration; None means all may.
        """
        self.all()
        assert self._all is not None
        tried: set[int] = set()
        before = len(self._at)
        for _ in range(ROUNDS):
            starts = [c for c in self.front() or self.misses()[:2] if id(c) not in tried]
            if not starts:
                break
            for start in starts:
                tried.add(id(start))
                for name, choice in self._own_traces():
                    if touching is None or touching(start, name):
                        point = self.space.at(name, choice, start.point)
                        self._all |= {id(composed): composed for composed in self._climbed(point)}
        return len(self._at) - before

    def _own_traces(self) -> Iterable[tuple[str, Choice]]:
        for name, choices in self.space.dimensions.items():
            for choice in choices:
                if choice not in self.space.lean[name]:
                    yield name, choice


def _saving_more(space: Space, point: Point) -> list[Point]:
    """The points with the next choice of each dimension that saves memory around the autoencoder."""
    found: list[Point] = []
    for name in SAVE_AROUND_THE_VAE:
        choices = space.dimensions[name]
        position = choices.index(point[name]) + 1
        if position < len(choices):
            found.append({**point, name: choices[position]})
    return found


def _denoising(composed: Composed) -> float:
    stages: Mapping[str, float] = composed.outline.stage_s
    return sum(seconds for name, seconds in stages.items() if name.startswith("denoise"))


def _by_caution(found: Iterable[Composed]) -> dict[int, list[Composed]]:
    levels: dict[int, list[Composed]] = {}
    for composed in found:
        levels.setdefault(composed.caution, []).append(composed)
    return levels


def _order(composed: Composed) -> tuple[float, int, int]:
    return (composed.outline.total_s, composed.caution, composed.outline.host_ram_bytes)


def _front(found: Iterable[Composed]) -> list[Composed]:
    rows = [
        Row(
            seconds=c.outline.total_s,
            caution=c.caution,
            host_ram_bytes=c.outline.host_ram_bytes,
            order=_order(c),
            item=c,
        )
        for c in found
    ]
    return [row.item for row in undominated(rows)]
