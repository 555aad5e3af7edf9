"""What a pipeline calls, stage by stage, as plain data: what remains of a rehearsal once it is over.

A `CallLog` and the `CallSummary` of each distinct call are all that pricing needs, so they are what is kept on disk: a plan whose calls
are known is priced without torch, diffusers or the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workbench.cost._trace import ALLOC, BLOCK_BYTES, ENTER, FREE, RUN, Op, Trace, round_up
from workbench.cost.allocator import (
    DEFAULT_OPTIONS,
    Allocator,
    AllocatorOptions,
    given_bytes,
    needed_reserved,
    replay,
)

OpCounts = tuple[tuple[Op, int], ...]
"""Distinct ops and how often each runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallSummary:
    """One distinct call of a component: what it needs and what it computes."""

    name: str
    """The class, or the class and the method: `"AutoencoderKLWan.decode"`."""
    peak_bytes: int
    """Most bytes alive inside, above what was alive at its start; workspaces included, allocator rounding applied."""
    reserved_bytes: int
    """What the caching allocator holds for them when nothing limits it, beside the inputs."""
    needed_bytes: int
    """The least that it can do with, giving cached segments back when it runs out."""
    given_bytes: int
    """The inputs that die inside (features that the call replaces); part of `requests`, not of the bytes above."""
    small_bytes: int
    """The part of `reserved_bytes` that the small pool holds."""
    requests: tuple[int, ...]
    """What is asked of the large pool, in order: bytes, or `-1 - k` where the k-th of these requests is freed. What is never freed are
    the outputs. Repeated insides are left out as in `replay`. A later call meets the cache that this leaves (`_cached.py`)."""
    passes: int
    """How often the call goes through the component's weights: once per window, frame or tile that it computes apart.
    Weights that come layer by layer come this often."""
    binds: tuple[str, str]
    """(module path, op) at the peak."""
    ops: OpCounts

    @classmethod
    def of(cls, trace: Trace, options: AllocatorOptions = DEFAULT_OPTIONS) -> CallSummary:
        """Summarises a call's trace, with the allocator under these options."""
        allocator = replay(trace, Allocator(options=options, requests=[]))
        reserved, given = allocator.peak_reserved, given_bytes(trace)
        assert allocator.requests is not None
        return cls(
            name=trace.name,
            peak_bytes=trace.peak(),
            reserved_bytes=reserved - given,
            needed_bytes=needed_reserved(trace, reserved, options) - given,
            given_bytes=given,
            small_bytes=allocator.small_bytes,
            requests=tuple(allocator.requests),
            passes=trace.passes(),
            binds=trace.argpeak(),
            ops=tuple(trace.op_counts().items()),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **{k: getattr(self, k) for k in _NUMBERS},
            "binds": list(self.binds),
            "requests": list(self.requests),
            "ops": ops_to_json(self.ops),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CallSummary:
        """The inverse of `to_json`."""
        path, op = data["binds"]
        return cls(
            **{k: data[k] for k in _NUMBERS},
            binds=(path, op),
            requests=tuple(data["requests"]),
            ops=ops_from_json(data["ops"]),
        )


_NUMBERS = (
    "name",
    "peak_bytes",
    "reserved_bytes",
    "needed_bytes",
    "passes",
    "given_bytes",
    "small_bytes",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCall:
    """A distinct call within a stage."""

    component: str
    key: str
    """Names the call's summary: component, method and argument layouts."""
    count: int
    live_bytes: int
    """The most that the pipeline itself holds when it makes this call, the call's arguments included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stretch of the run: consecutive calls that serve one purpose."""

    name: str
    """`text_encode`, `image_encode`, `denoise`, `denoise_2` or `decode`."""
    calls: tuple[StageCall, ...]
    live_bytes: int
    """The most that the pipeline holds between the calls of this stage."""
    ops: OpCounts
    """What the pipeline computes between the calls (guidance, scheduler, postprocessing)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallLog:
    """What one run of a pipeline calls."""

    stages: tuple[Stage, ...]
    visits: tuple[str, ...]
    """Components in the order of their calls, runs of the same one within a stage counted once."""
    visit_stages: tuple[str, ...] = ()
    """The stage of each visit."""
    offload_order: tuple[str, ...] = ()
    """The pipeline's `model_cpu_offload_seq`: a component of it leaves the GPU when the next one of it is called."""
    never_offloaded: tuple[str, ...] = ()
    """Components that the pipeline excludes from offloading (`_exclude_from_cpu_offload`)."""
    video: tuple[int, int, int] | None = None
    """(frames, height, width) of the videos that come out; None if the pipeline does not say."""

    @classmethod
    def of(
        cls,
        trace: Trace,
        keys: Mapping[int, str],
        *,
        offload_order: tuple[str, ...] = (),
        never_offloaded: tuple[str, ...] = (),
    ) -> CallLog:
        """Reads the log off a run's trace.

        Args:
            offload_order: the components of `model_cpu_offload_seq` that the pipeline has.
            never_offloaded: those of `_exclude_from_cpu_offload`.
            keys: id of each distinct call's trace -> its name. Components of one class and configuration share traces; a summary's key
                says the component too, because techniques may rewrite one of them only.
        """
        reader = _Reader(keys)
        for event in trace.events:
            reader.read(trace, event)
        return cls(
            stages=reader.stages(),
            visits=tuple(component for component, _ in reader.visits),
            visit_stages=tuple(stage for _, stage in reader.visits),
            offload_order=offload_order,
            never_offloaded=never_offloaded,
            video=trace.video,
        )

    def keys(self) -> dict[str, str]:
        """Key of each distinct call -> its component."""
        return {call.key: call.component for stage in self.stages for call in stage.calls}

    def num_calls(self, component: str) -> int:
        """How often the component is called."""
        return sum(call.count for stage in self.stages for call in stage.calls if call.component == component)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        stages = [
            {
                "name": stage.name,
                "live_bytes": stage.live_bytes,
                "calls": [asdict(call) for call in stage.calls],
                "ops": ops_to_json(stage.ops),
            }
            for stage in self.stages
        ]
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {"stages": stages, **lists, "video": self.video and list(self.video)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CallLog:
        """The inverse of `to_json`."""
        stages = tuple(
            Stage(
                name=stage["name"],
                live_bytes=stage["live_bytes"],
                calls=tuple(StageCall(**call) for call in stage["calls"]),
                ops=ops_from_json(stage["ops"]),
            )
            for stage in data["stages"]
        )
        video = tuple(data["video"]) if data.get("video") else None
        return cls(stages=stages, **{name: tuple(data[name]) for name in _LISTS}, video=video)


_LISTS = ("visits", "visit_stages", "offload_order", "never_offloaded")


def call_name(key: str) -> str:
    """The call's name in a summary's key, without the component."""
    return key.partition(":")[2]


_TEXT = ("text_encoder", "prompt", "connector", "duration_head")
"""How diffusers' names of components begin that prepare the prompt."""
_DENOISERS = ("transformer", "unet", "dit")


def stage_of(component: str, call: str) -> str:
    """The stage that a call belongs to, from the pipeline's own component names (diffusers' convention)."""
    if component.startswith(_TEXT):
        return "text_encode"
    if component.startswith("image_encoder") or call.endswith(".encode"):
        return "image_encode"
    if call.endswith(".decode") or component.startswith(("vae", "vocoder")) or component.endswith("_vae"):
        return "decode"
    prefix, _, suffix = component.rpartition("_")
    return f"denoise_{suffix}" if suffix.isdigit() and prefix in _DENOISERS else "denoise"


class _Reader:
    """Goes through a run's events once, keeping count per stage."""

    def __init__(self, keys: Mapping[int, str]) -> None:
        self.keys = keys
        self.visits: list[tuple[str, str]] = []
        self.live = 0
        self.stage = ""
        self.order: list[str] = []
        self.peaks: Counter[str] = Counter()
        self.ops: dict[str, Counter[Op]] = {}
        self.calls: dict[tuple[str, str], StageCall] = {}

    def read(self, trace: Trace, event: tuple[Any, ...]) -> None:
        code = event[0]
        if code == ALLOC:
            self.live += round_up(event[2], BLOCK_BYTES)
        elif code == FREE:
            self.live -= round_up(trace.size_of(event[1]), BLOCK_BYTES)
        elif code == RUN:
            self.ops.setdefault(self.stage, Counter())[event[1]] += 1
        elif code == ENTER and id(event[1]) in self.keys:
            self._enter(event[1], event[4])
        elif code == ENTER:  # a call of no component: the scheduler's step
            self._pass(event[1])
        self.peaks[self.stage] = max(self.peaks[self.stage], self.live)

    def _enter(self, child: Trace, path: str) -> None:
        component = path.split(".")[0]
        self.stage = stage_of(component, child.name)
        if self.stage not in self.order:
            self.order.append(self.stage)
        if not self.visits or self.visits[-1] != (component, self.stage):
            self.visits.append((component, self.stage))
        key = f"{component}:{self.keys[id(child)]}"
        seen = self.calls.get((self.stage, key))
        count, live = (seen.count, seen.live_bytes) if seen else (0, 0)
        self.calls[self.stage, key] = StageCall(
            component=component, key=key, count=count + 1, live_bytes=max(live, self.live)
        )
        self.live += child.net()

    def _pass(self, child: Trace) -> None:
        self.ops.setdefault(self.stage, Counter()).update(child.op_counts())
        self.peaks[self.stage] = max(self.peaks[self.stage], self.live + child.peak())
        self.live += child.net()

    def stages(self) -> tuple[Stage, ...]:
        first = self.order[0] if self.order else ""
        return tuple(
            Stage(
                name=name,
                calls=tuple(call for (stage, _), call in self.calls.items() if stage == name),
                # what comes before the first call belongs to the first stage
                live_bytes=max(self.peaks[name], self.peaks[""] if name == first else 0),
                ops=tuple(
                    (
                        self.ops.get(name, Counter())
                        + (self.ops.get("", Counter()) if name == first else Counter())
                    ).items()
                ),
            )
            for name in self.order
        )


def ops_to_json(ops: OpCounts) -> list[list[Any]]:
    """Each op as a list of its fields with the count in front; views cost nothing and are left out."""
    return [
        [
            count,
            op.name,
            op.kind,
            op.dtype,
            op.flops,
            op.read_bytes,
            op.write_bytes,
            list(op.dims),
            op.workspace_bytes,
        ]
        for op, count in ops
        if op.kind != "view"
    ]


def ops_from_json(data: list[list[Any]]) -> OpCounts:
    """The inverse of `ops_to_json`."""
    return tuple(
        (Op(row[1], row[2], row[3], row[4], row[5], row[6], tuple(row[7]), row[8]), row[0]) for row in data
    )
