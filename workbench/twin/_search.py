"""Finds the tiny twin of a model: the same classes with small numbers, of which the pipeline itself has to approve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from workbench._errors import RehearsalError
from workbench.models import ModelSpec, Workload
from workbench.twin._leaves import Leaf, Place, Value, changed, leaves_of
from workbench.twin._moves import Changes, Move, moves_of

Check = Callable[[ModelSpec, Workload], str | None]
"""None if the pipeline makes the workload, else what stopped it."""

_CLIPS = ((64, 96, 8), (64, 96, 24), (128, 192, 8), (160, 160, 24), (256, 384, 16), (320, 320, 24))
"""Height and width to try, in pixels, and the least frames: 24 are a tile of Allegro's autoencoder, which decodes whole tiles only."""
_LATENT_FRAMES = 3
TOO_SMALL = "the clip is too small for it"
"""How a refusal ends that a larger clip may change."""
_STEPS = 2


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search."""

    changes: Changes
    """Place in the configurations -> its small value."""
    workload: Workload
    """What it was seen to make."""
    kept: tuple[str, ...]
    """What could not be made small, one sentence each."""
    checks: int
    """How often the pipeline was asked, for earlier clips too."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "changes": [[name, list(path), value] for (name, path), value in self.changes.items()],
            "workload": self.workload.to_json(),
            "kept": list(self.kept),
            "checks": self.checks,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], spec: ModelSpec) -> Found:
        """The inverse of `to_json`; `spec` is the model without its limits."""
        changes: Changes = {
            (name, tuple(path)): tuple(value) if isinstance(value, list) else value
            for name, path, value in data["changes"]
        }
        workload = Workload.from_json(data["workload"], spec)
        return cls(changes, workload, tuple(data["kept"]), data["checks"])


def candidates(spec: ModelSpec, check: Check) -> Iterator[Found]:
    """The smallest configuration that the moves lead to, for one short clip after the other; a model always gets the same ones.

    All moves are tried at once. Where the pipeline refuses, half of them are, and so on: a move that fails alone is tried with its
    milder options, and left out if none works. The native sizes of positions and tiles follow the clip, unless the pipeline minds.

    Raises:
        RehearsalError: the pipeline makes none of the clips, not even as it is; the message says why.
    """
    return _Search(spec, check).run()


def unlimited(spec: ModelSpec) -> ModelSpec:
    """The model without the limits that its positions set: a twin's positions follow its clip, and its pipeline says if they do not."""
    return replace(spec, only_frames=(), only_size=None, max_frames=None, max_size=None)


class _Search:
    def __init__(self, spec: ModelSpec, check: Check) -> None:
        self.spec, self._check = unlimited(spec), check
        self.leaves = leaves_of(spec)
        self.moves = moves_of(self.leaves)
        self.workload = Workload.for_model(self.spec)
        self.checks = 0
        self.kept: list[str] = []

    def run(self) -> Iterator[Found]:
        refusals: list[str] = []
        is_found = False
        for workload, extents in self._workloads():
            self.workload, self.kept = workload, []
            found = self._settled_from_a_start(extents)
            if isinstance(found, Found):
                is_found = True
                yield found
            elif found in refusals and not found.endswith(TOO_SMALL):
                break  # two clips are refused alike, and so will be the next
            else:
                refusals.append(found)
        if not is_found:
            raise RehearsalError(f"{self.spec.name} has no tiny twin: {refusals[0]}")

    def _settled_from_a_start(self, extents: Changes) -> Found | str:
        """What the first start that the pipeline accepts leads to; what it says to the last one if it accepts none."""
        tried: list[Changes] = []
        refusal = ""
        for start, levels in self._starts():
            changes = {**extents, **_joined(start, levels)}
            if changes in tried:
                continue
            tried.append(changes)
            answer = self._refusal(changes)
            if answer is None:
                rest = [move for move in self.moves if move not in start]
                return Found(self._settled(rest, changes), self.workload, tuple(self.kept), self.checks)
            refusal = answer
        return refusal

    def _workloads(self) -> Iterator[tuple[Workload, Changes]]:
        for workload in _small(self.spec):
            extents = _extents(self.spec, self.leaves, workload)
            yield workload, extents
            if extents:
                yield workload, {}

    def _starts(self) -> Iterator[tuple[list[Move], Mapping[str, int]]]:
        """(moves to begin with, which option of each kind): all, those beyond doubt, these a little milder, layers and words, none."""
        certain = [move for move in self.moves if not move.is_doubtful]
        yield list(self.moves), {}
        if len(certain) < len(self.moves):
            yield certain, {}
        for levels in ({"convolution": 1}, {"width": 1}, {"convolution": 1, "width": 1}):
            yield certain, levels
        yield [move for move in self.moves if move.kind == "stack"], {}
        yield [], {}

    def _refusal(self, changes: Changes) -> str | None:
        self.checks += 1
        return self._check(changed(self.spec, changes), self.workload)

    def _settled(self, moves: Sequence[Move], changes: Changes) -> Changes:
        """These changes and as many of the moves as the pipeline accepts."""
        if not moves:
            return changes
        refusal = self._refusal({**changes, **_joined(moves)})
        if refusal is None:
            return {**changes, **_joined(moves)}
        if len(moves) == 1:
            for option in () if moves[0].is_doubtful else moves[0].options[1:]:
                if self._refusal({**changes, **option}) is None:
                    return {**changes, **option}
            self.kept.append(f"{moves[0].name}: {refusal}")
            return changes
        half = len(moves) // 2
        return self._settled(moves[half:], self._settled(moves[:half], changes))


def _joined(moves: Sequence[Move], levels: Mapping[str, int] = MappingProxyType({})) -> dict[Place, Value]:
    """All moves together, each with its first option or the one of this level of its kind, as far as it has one."""
    options = [move.options[min(levels.get(move.kind, 0), len(move.options) - 1)] for move in moves]
    return {place: value for option in options for place, value in option.items()}


def _small(spec: ModelSpec) -> Iterator[Workload]:
    """Short clips that the model makes, the smallest first: at least three latent frames, two steps."""
    factor, multiple, native = spec.temporal_factor, spec.size_multiple, spec.defaults
    first = factor * (_LATENT_FRAMES - spec.frame_remainder) + spec.frame_remainder
    for height, width, least in (*_CLIPS, (native.height, native.width, first)):
        sizes = {"height": -(-height // multiple) * multiple, "width": -(-width // multiple) * multiple}
        frames = next((n for n in range(first, native.frames, factor) if n >= least), native.frames)
        yield Workload.for_model(spec, frames=frames, steps=_STEPS, **sizes)


def _extents(spec: ModelSpec, leaves: Sequence[Leaf], workload: Workload) -> Changes:
    """Sizes of the native workload that a configuration repeats, for the tables of its positions; tiles no larger than the clip."""
    native = spec.defaults
    found: dict[Place, Value] = {}
    for leaf in leaves:
        if leaf.kind != "extent" or leaf.number < 2:
            continue
        if leaf.in_autoencoder and "size" in leaf.words:
            found[leaf.place] = min(leaf.number, workload.height, workload.width)
            continue
        for words, old, new in (
            ({"height", "size"}, native.height, workload.height),
            ({"width", "size"}, native.width, workload.width),
            ({"frames", "length"}, native.frames, workload.frames),
            ({"frames", "length"}, _latent(spec, native.frames), _latent(spec, workload.frames)),
        ):
            if words & set(leaf.words) and old % leaf.number == 0 and new * leaf.number % old == 0:
                found[leaf.place] = new * leaf.number // old
                break
    return found


def _latent(spec: ModelSpec, frames: int) -> int:
    return (frames - spec.frame_remainder) // spec.temporal_factor + spec.frame_remainder
