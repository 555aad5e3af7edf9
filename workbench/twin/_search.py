"""Finds the tiny twin of a model: the same classes with small numbers, of which the pipeline itself has to approve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from workbench._errors import RehearsalError
from workbench.models import ModelSpec, Workload
from workbench.twin._leaves import Leaf, Place, Value, changed, leaves_of
from workbench.twin._moves import Changes, Move, moves_of

Check = Callable[[ModelSpec, Workload], str | None]
"""None if the pipeline makes the workload, else what stopped it."""

_SIZES = ((64, 96), (128, 192), (256, 384))
"""Height and width to try, in pixels."""
_LEAST_FRAMES = 8
_LATENT_FRAMES = 3
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
    """How often the pipeline was asked."""


def search(spec: ModelSpec, check: Check) -> Found:
    """The smallest configuration that the moves lead to; the same model always gets the same one.

    All moves are tried at once. Where the pipeline refuses, half of them are, and so on: a move that fails alone is tried with its
    milder options, and left out if none works.

    Raises:
        RehearsalError: the pipeline does not even make a small workload as it is; the message says why.
    """
    return _Search(spec, check).run()


class _Search:
    def __init__(self, spec: ModelSpec, check: Check) -> None:
        self.spec, self._check = spec, check
        self.leaves = leaves_of(spec)
        self.moves = moves_of(self.leaves)
        self.workload = _smallest(spec, *_SIZES[0])
        self.checks = 0
        self.kept: list[str] = []

    def run(self) -> Found:
        refusal: str | None = None
        for workload, extents in self._workloads():
            self.workload = workload
            everything = {**_joined(self.moves), **extents}
            if self._refusal(everything) is None:
                return self._found(everything)
            refusal = self._refusal(extents)
            if refusal is None:
                return self._found(self._settled(self.moves, extents))
        raise RehearsalError(f"{self.spec.name} has no tiny twin: {refusal}")

    def _found(self, changes: Changes) -> Found:
        return Found(changes, self.workload, tuple(self.kept), self.checks)

    def _workloads(self) -> Iterator[tuple[Workload, Changes]]:
        for height, width in _SIZES:
            workload = _smallest(self.spec, height, width)
            extents = _extents(self.spec, self.leaves, workload)
            yield workload, extents
            if extents:
                yield workload, {}

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
            for option in moves[0].options[1:]:
                if self._refusal({**changes, **option}) is None:
                    return {**changes, **option}
            self.kept.append(f"{moves[0].name}: {refusal}")
            return changes
        half = len(moves) // 2
        return self._settled(moves[half:], self._settled(moves[:half], changes))


def _joined(moves: Sequence[Move]) -> dict[Place, Value]:
    return {place: value for move in moves for place, value in move.options[0].items()}


def _smallest(spec: ModelSpec, height: int, width: int) -> Workload:
    """A short clip of about this size that the model makes: three latent frames, at least eight frames, two steps."""
    factor, multiple = spec.temporal_factor, spec.size_multiple
    frames = factor * (_LATENT_FRAMES - spec.frame_remainder) + spec.frame_remainder
    while frames < _LEAST_FRAMES:
        frames += factor
    frames = min(frames, spec.max_frames or frames)
    sizes = {"height": -(-height // multiple) * multiple, "width": -(-width // multiple) * multiple}
    made = Workload.for_model(spec, frames=frames, steps=_STEPS, **sizes)
    return replace(made, fps=spec.defaults.fps)


def _extents(spec: ModelSpec, leaves: Sequence[Leaf], workload: Workload) -> Changes:
    """Sizes of the native workload that a configuration repeats, for the tables of its positions and for its tiles."""
    native = spec.defaults
    found: dict[Place, Value] = {}
    for leaf in leaves:
        if leaf.kind != "extent" or not isinstance(leaf.value, int) or leaf.value < 2:
            continue
        for words, old, new in (
            ({"height", "size"}, native.height, workload.height),
            ({"width", "size"}, native.width, workload.width),
            ({"frames", "length"}, native.frames, workload.frames),
            ({"frames", "length"}, _latent(spec, native.frames), _latent(spec, workload.frames)),
        ):
            if words & set(leaf.words) and old % leaf.value == 0 and new * leaf.value % old == 0:
                found[leaf.place] = new * leaf.value // old
                break
    return found


def _latent(spec: ModelSpec, frames: int) -> int:
    return (frames - spec.frame_remainder) // spec.temporal_factor + spec.frame_remainder
