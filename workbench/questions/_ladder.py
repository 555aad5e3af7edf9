"""The sizes that a model can make, in order: lengths at one resolution, or resolutions of one shape. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.models import ModelSpec, Workload

MAXIMIZE = ("frames", "resolution")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """Rungs are numbered; a higher one is a larger clip."""

    spec: ModelSpec
    workload: Workload
    """What stays as it is, and where the climb starts."""
    maximize: str
    """`frames` or `resolution`."""

    @property
    def first(self) -> int:
        """The smallest rung."""
        if self._lengths:
            return 0
        return self.start if self.maximize == "resolution" and self.spec.only_size is not None else 1

    @property
    def last(self) -> int | None:
        """The largest rung that the model can make; None if no limit is known."""
        spec = self.spec
        if self.maximize == "frames":
            if self._lengths:
                return len(self._lengths) - 1
            limit = spec.max_frames
            return None if limit is None else (limit - spec.frame_remainder) // spec.temporal_factor
        if spec.only_size is not None:
            return self.start
        if spec.max_size is None:
            return None
        rung = spec.max_size // spec.size_multiple
        while rung > 1 and max(self._size(rung)) > spec.max_size:
            rung -= 1
        return rung

    @property
    def start(self) -> int:
        """The rung of the workload itself, or the one below it where its shape is not on the grid of this ladder."""
        if self.maximize == "resolution":
            return min(self.workload.height, self.workload.width) // self.spec.size_multiple
        if self._lengths:
            return self._lengths.index(self.workload.frames)
        return (self.workload.frames - self.spec.frame_remainder) // self.spec.temporal_factor

    def at(self, rung: int) -> Workload:
        """The workload of a rung."""
        if self.maximize == "resolution":
            height, width = self._size(rung)
            return replace(self.workload, height=height, width=width)
        if self._lengths:
            return replace(self.workload, frames=self._lengths[rung])
        return replace(self.workload, frames=self.spec.temporal_factor * rung + self.spec.frame_remainder)

    def volume(self, rung: int) -> float:
        """Pixels of a rung's clip, to which memory is about proportional."""
        workload = self.at(rung)
        return float(workload.frames * workload.height * workload.width)

    def grown(self, rung: int) -> int:
        """A rung of about twice the volume."""
        return max(rung + 1, round(rung * (2.0 if self.maximize == "frames" else 2.0**0.5)))

    def shrunk(self, rung: int) -> int:
        """A rung of about half the volume."""
        return min(rung - 1, round(rung * (0.5 if self.maximize == "frames" else 0.5**0.5)))

    @property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted(self.spec.only_frames)) if self.maximize == "frames" else ()

    def _size(self, rung: int) -> tuple[int, int]:
        """(height, width) whose shorter side is `rung` grid steps; the longer one is rounded to the grid, so the shape is kept to half a
        step."""
        given, step = (self.workload.height, self.workload.width), self.spec.size_multiple
        if self.spec.only_size is not None:
            return given
        longer = max(rung, round(rung * max(given) / min(given))) * step
        return (rung * step, longer) if given[0] <= given[1] else (longer, rung * step)
