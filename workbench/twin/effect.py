"""Looks whether a technique really acts on a kind of pipeline: applied to its tiny twin, run, compared, and taken off again.

    bench = Bench(get("wan2.1-t2v-1.3b"))
    bench.verify(Settings.parse({"quantization": {"transformer": "int8wo"}})).verdict  # "acts"

What `applies_to` says of a technique is a promise; `Finding.disagreement` is the sentence for a promise that is not kept. Without a GPU
the CPU takes its place where weights are moved, and what only CUDA kernels can do is looked for in a trace for CUDA.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from workbench._errors import InputError
from workbench._store import Store
from workbench.cost._trace import Op
from workbench.cost.rehearsal import Target, components_of, observe, rehearse
from workbench.cost.weigh import weigh
from workbench.models import ModelSpec, Workload
from workbench.models._build import build_meta_pipeline, call_kwargs, set_guidance
from workbench.techniques import Offload, Settings, apply_all
from workbench.twin._check import silent
from workbench.twin._finding import UNTESTABLE, Finding
from workbench.twin._sentence import sentence
from workbench.twin._snapshot import hooked_modules, snapshot
from workbench.twin._twin import Twin, tensors_of, twin_of

STEPS = 8
"""Denoising steps of a run: caches wait for a few before they skip one."""

RUN, TRACED = "run on the CPU", "traced for CUDA"

_NEEDED: Mapping[str, str] = {
    "quantization": "weights",
    "cache": "fewer FLOPs",
    "steps": "FLOPs",
    "offload": "hooks",
}
"""Technique -> the change without which it does nothing, whatever else it changes. Of the others, any but hooks alone is one."""

_KERNELS = ("math", "flash")
"""Attention kernels under which a trace for CUDA is made: a technique that insists on one differs from the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What one run was seen to do."""

    ops: Mapping[Op, int]
    """Distinct ops, without views -> how often each ran."""
    flops: int
    weight_bytes: int
    peak_bytes: int
    """Most bytes alive at once, without weights."""
    hooks: int
    """Modules with a hook or a forward of their own."""
    output: tuple[Tensor, ...] = ()
    """Everything that the pipeline returned; empty without weights."""


class Bench:
    """A model's twin on which settings are tried one after the other; what a run without any does is remembered."""

    def __init__(self, spec: ModelSpec, store: Store | None = None) -> None:
        self.spec = spec
        self.twin: Twin = twin_of(spec, store)
        self._pipe: Any = None
        self._baselines: dict[str, Sighting] = {}

    @property
    def pipe(self) -> Any:
        """The twin with weights; a new one after a removal that left something behind."""
        if self._pipe is None:
            self._pipe = self.twin.pipeline()
            self._baselines.clear()
        return self._pipe

    def verify(self, value: Settings | Mapping[str, Any], **workload: Any) -> Finding:
        """Applies settings to the twin, runs it, compares, removes them and runs again.

        Args:
            workload: fields of the twin's workload that differ this time, `batch=2`.
        """
        settings = Settings.parse(value)
        changes = {"steps": STEPS, **workload}
        reason = _why_untestable(settings)
        if reason is not None:
            return self._finding(settings, verdict=UNTESTABLE, detail=reason)
        plain = self._baseline(changes)
        if isinstance(plain, str):
            return self._rescued(settings, changes, plain)
        with silent(), _cpu_as_gpu(self.pipe):
            before = snapshot(self.pipe)
            attempt = _Attempt(self.pipe, settings)
            seen = attempt.run(functools.partial(self._kwargs, self.pipe, settings, changes=changes))
            restored = attempt.removal or self._left_behind(before, changes, plain)
        if restored is not None:
            self._pipe = None
        finding = functools.partial(self._finding, settings, restored=restored, said=attempt.said)
        if seen is None and not attempt.refused and _depends_on_size(settings):
            natively = self._traced_natively(settings, changes)
            if isinstance(natively, tuple):
                changed = _changes(*natively)
                return finding(verdict="acts", where=TRACED, detail=_said(changed), **_compared(*natively))
        if seen is None:
            verdict = "refused" if attempt.refused else "fails"
            return finding(verdict=verdict, detail=attempt.failure or "")
        ran = functools.partial(finding, where=RUN, **_compared(plain, seen))
        if not _finite(seen) and _finite(plain):
            return ran(verdict="fails", detail="the output is not finite")
        changed = _changes(plain, seen)
        if _is_action(settings, changed):
            return ran(verdict="acts", detail=_said(changed))
        traced = self._traced(settings, changes)
        if isinstance(traced, str):
            return finding(verdict="fails", where=TRACED, detail=traced)
        if traced is not None:
            return finding(
                verdict="acts", where=TRACED, detail=_said(_changes(*traced)), **_compared(*traced)
            )
        detail = "; ".join((f"only {_said(changed)} changed",) * bool(changed) + attempt.said)
        return ran(verdict="does nothing", where=f"{RUN}, {TRACED}", detail=detail)

    def _finding(self, settings: Settings, **found: Any) -> Finding:
        refusal = _refusal(self.spec, settings)
        return Finding(model=self.spec.name, settings=settings.to_json(), refusal=refusal, **found)

    def _kwargs(self, pipe: Any, settings: Settings, *, changes: Mapping[str, Any]) -> dict[str, Any]:
        return settings.call_kwargs(self.twin.call_kwargs(pipe, **changes))

    def _rescued(self, settings: Settings, changes: Mapping[str, Any], failure: str) -> Finding:
        """A clip that the pipeline cannot make without them: a batch whose tiles the autoencoder decodes one video at a time."""
        with silent():
            attempt = _Attempt(self.pipe, settings)
            seen = attempt.run(functools.partial(self._kwargs, self.pipe, settings, changes=changes))
        detail = f"without it: {failure}" if seen is not None else attempt.failure or failure
        verdict = "fails" if seen is None else "acts"
        return self._finding(settings, verdict=verdict, where=RUN, detail=detail, restored=attempt.removal)

    def _baseline(self, changes: Mapping[str, Any]) -> Sighting | str:
        """A run without any settings, or the sentence of its failure."""
        pipe, key = self.pipe, repr(sorted(changes.items()))
        if key not in self._baselines:
            kwargs = functools.partial(self._kwargs, pipe, Settings(), changes=changes)
            try:
                with silent():
                    pipe(**kwargs())  # a first call, after which the pipeline has all its caches
                    self._baselines[key] = _observed(pipe, kwargs())
            except Exception as error:  # noqa: BLE001  # settings may be what it lacks
                return sentence(error)
        return self._baselines[key]

    def _left_behind(
        self, before: Mapping[str, Any], changes: Mapping[str, Any], plain: Sighting
    ) -> str | None:
        """What removal did not put back; tensors that were moved are elsewhere in memory and count by their values."""
        after = snapshot(self.pipe)
        places = (
            key
            for key in before.keys() | after.keys()
            if _placeless(before.get(key)) != _placeless(after.get(key))
        )
        if changed := sorted(places):
            return f"{changed[0]} is {after.get(changed[0])!r}, was {before.get(changed[0])!r}"
        again = tensors_of(self.pipe(**self._kwargs(self.pipe, Settings(), changes=changes)))
        return None if _difference(plain.output, again) == 0 else "the output is another one afterwards"

    def _traced(
        self, settings: Settings, changes: Mapping[str, Any]
    ) -> tuple[Sighting, Sighting] | str | None:
        """(without, with) the settings as traced for CUDA if they differ there; a sentence if tracing them fails.

        The twin is traced first. What it is too small for (a tile of the autoencoder's own size) is looked for in the model itself.
        """
        for kernel in _KERNELS:
            pipe = self.twin.weightless()
            found = _differing(pipe, kernel, settings, functools.partial(self._kwargs, pipe, changes=changes))
            if found is not None:
                return found
        return self._traced_natively(settings, changes)

    def _traced_natively(
        self, settings: Settings, changes: Mapping[str, Any]
    ) -> tuple[Sighting, Sighting] | str | None:
        with silent():
            pipe = build_meta_pipeline(self.spec)
            native = Workload.for_model(self.spec, **changes)
            set_guidance(native, pipe)
        return _differing(
            pipe, _KERNELS[0], settings, lambda used: used.call_kwargs(call_kwargs(self.spec, native, pipe))
        )


def _differing(
    pipe: Any, kernel: str, settings: Settings, kwargs: Callable[[Settings], dict[str, Any]]
) -> tuple[Sighting, Sighting] | str | None:
    """(without, with) the settings if the traces of a weightless pipeline differ; a sentence if tracing fails."""
    try:
        with silent():
            plain = _foreseen(pipe, kwargs(Settings()), kernel)
            apply_all(pipe, settings)
            seen = _foreseen(pipe, kwargs(settings), kernel)
    except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
        return sentence(error)
    return (plain, seen) if _is_action(settings, _changes(plain, seen)) else None


class _Attempt:
    """Settings applied, run once and removed; whatever any of it raises is kept as a sentence."""

    def __init__(self, pipe: Any, settings: Settings) -> None:
        self._pipe, self._settings = pipe, settings
        self.refused = False
        self.failure: str | None = None
        self.removal: str | None = None
        self.said: tuple[str, ...] = ()

    def run(self, kwargs: Any) -> Sighting | None:
        """What the run with them did; None if it could not be made."""
        try:
            handle = apply_all(self._pipe, self._settings)
        except InputError as error:
            self.refused, self.failure = True, str(error)
            return None
        except Exception as error:  # noqa: BLE001  # the library's refusal is the finding
            self.failure = sentence(error)
            return None
        seen: Sighting | None = None
        try:
            seen = _observed(self._pipe, kwargs())
        except Exception as error:  # noqa: BLE001  # likewise
            self.failure = sentence(error)
        self.said = tuple(handle.report)
        try:
            handle.remove()
        except Exception as error:  # noqa: BLE001  # likewise
            self.removal = sentence(error)
        return seen


def _why_untestable(settings: Settings) -> str | None:
    """Why no CPU can show what the settings do, and no trace either; None if one can."""
    offload = settings.get("offload")
    if isinstance(offload, Offload) and offload.stream and not torch.cuda.is_available():
        return "diffusers fetches ahead on a CUDA stream, and this machine has no CUDA device"
    return None


def _depends_on_size(settings: Settings) -> bool:
    """Whether the sizes that count are those of the autoencoder's configuration, which in the twin are nobody's choice."""
    tiling = settings.get("vae_tiling")
    return tiling is not None and not tiling.to_json()


def _refusal(spec: ModelSpec, settings: Settings) -> str | None:
    try:
        settings.check(spec)
    except InputError as error:
        return str(error)
    return None


def _observed(pipe: Any, kwargs: dict[str, Any]) -> Sighting:
    """Runs a pipeline with weights under the instrument that rehearsals use."""
    trace, result = observe(pipe, kwargs)
    return _sighting(pipe, trace, tensors_of(result))


def _foreseen(pipe: Any, kwargs: dict[str, Any], kernel: str) -> Sighting:
    trace, _ = rehearse(pipe, kwargs, Target("cuda", kernel))
    return _sighting(pipe, trace, ())


def _sighting(pipe: Any, trace: Any, output: tuple[Tensor, ...]) -> Sighting:
    return Sighting(
        ops=Counter({op: count for op, count in trace.op_counts().items() if op.kind != "view"}),
        flops=trace.flops,
        weight_bytes=sum(weigh(part).total_bytes for part in components_of(pipe).values()),
        peak_bytes=trace.peak(),
        hooks=hooked_modules(pipe),
        output=output,
    )


def _changes(plain: Sighting, seen: Sighting) -> dict[str, str]:
    """Kind of change -> a phrase for it, empty where another says it."""
    flops, weights = seen.flops / max(plain.flops, 1), seen.weight_bytes / max(plain.weight_bytes, 1)
    kinds = {
        "ops": ("its ops", plain.ops != seen.ops),
        "FLOPs": (f"FLOPs x {flops:.3g}", flops != 1),
        "fewer FLOPs": ("", flops < 1),
        "weights": (f"weights x {weights:.3g}", weights != 1),
        "output": ("the output", _difference(plain.output, seen.output) != 0 and bool(plain.output)),
        "hooks": (f"hooks on {seen.hooks - plain.hooks} modules", seen.hooks > plain.hooks),
    }
    return {kind: phrase for kind, (phrase, holds) in kinds.items() if holds}


def _said(changed: Mapping[str, str]) -> str:
    return ", ".join(phrase for phrase in changed.values() if phrase)


def _is_action(settings: Settings, changed: Mapping[str, str]) -> bool:
    """Whether the changes are those that the techniques in use are there for."""
    needed = {_NEEDED[technique.id] for technique in settings.techniques if technique.id in _NEEDED}
    return needed <= changed.keys() if needed else bool(changed.keys() - {"hooks"})


def _compared(plain: Sighting, seen: Sighting) -> dict[str, Any]:
    difference = _difference(plain.output, seen.output)
    return {
        "flops_ratio": seen.flops / plain.flops if plain.flops else None,
        "weights_ratio": seen.weight_bytes / plain.weight_bytes if plain.weight_bytes else None,
        "peak_ratio": seen.peak_bytes / plain.peak_bytes if plain.peak_bytes else None,
        "output_difference": difference,
        "hooks": seen.hooks - plain.hooks,
    }


def _difference(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float | None:
    """Largest absolute difference; None where shapes differ or there is nothing to compare. Where both are undefined, they agree."""
    if not one or [t.shape for t in one] != [t.shape for t in other]:
        return None
    pairs = [(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, other, strict=True)]
    return max(float((a - b).abs().max()) for a, b in pairs)


def _finite(seen: Sighting) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in seen.output)


def _placeless(state: Any) -> Any:
    """A snapshot's entry without the address of a tensor."""
    return (state[0], *state[2:]) if isinstance(state, tuple) and len(state) == 5 else state


@contextlib.contextmanager
def _cpu_as_gpu(pipe: Any) -> Iterator[None]:
    """The CPU takes the GPU's part in offloading: nothing moves, but every hook is installed and runs."""
    from accelerate import cpu_offload

    from workbench.techniques import _placing

    cpu = torch.device("cpu")

    def by_layers(pipe: Any, device: Any = None, **options: Any) -> None:
        # diffusers would name the device cpu:0, which accelerate (1.15) does not take for the cpu when weights are tied
        for module in components_of(pipe).values():
            cpu_offload(module, cpu, offload_buffers=len(module._parameters) > 0)

    with (
        mock.patch.object(_placing, "onload_device", lambda: cpu),
        mock.patch.object(type(pipe), "enable_sequential_cpu_offload", by_layers),
    ):
        yield
