"""Finds out what is not known yet: rehearses the pipeline and traces calls again under techniques. Imports torch and diffusers."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from workbench._errors import InputError, SettingsError
from workbench.cost import CallLog, CallSummary, Weights
from workbench.cost._calls import Call
from workbench.cost._kernels import dtype_name
from workbench.cost._memo import Memo
from workbench.cost._trace import Trace
from workbench.cost._weigh_loaded import Plain, loaded, tensors_of
from workbench.cost.allocator import DEFAULT_OPTIONS, AllocatorOptions
from workbench.cost.calllog import OpCounts, call_name
from workbench.cost.loading import Loaded
from workbench.cost.rehearsal import Target, rehearse, retrace
from workbench.cost.weigh import weigh
from workbench.models import ModelSpec, Workload
from workbench.models._build import build_meta_pipeline, call_kwargs, set_guidance
from workbench.techniques import Compile, Quantization, Settings, apply_all


class Workshop:
    """What the rehearsals of one workload share: the weightless pipeline and what was seen of its calls."""

    def __init__(self, spec: ModelSpec, workload: Workload) -> None:
        self.spec, self.workload = spec, workload
        self.memo = Memo()
        self.traces: dict[tuple[str, str, str], Trace] = {}
        self.fused: dict[tuple[str, str, str], OpCounts] = {}
        self.weights: dict[tuple[str, str, AllocatorOptions], Weights] = {}
        self.loaded: dict[tuple[str, str], Loaded] = {}
        self._plain: dict[str, Plain] = {}

    @functools.cached_property
    def pipe(self) -> Any:
        """The weightless pipeline."""
        pipe = build_meta_pipeline(self.spec)
        set_guidance(self.workload, pipe)
        return pipe

    def plain(self, component: str) -> Plain:
        """A component's tensors while no technique is applied."""
        if component not in self._plain:
            self._plain[component] = tensors_of(getattr(self.pipe, component))
        return self._plain[component]

    @contextlib.contextmanager
    def under(self, settings: Settings) -> Iterator[None]:
        """The pipeline with these settings applied, for as long as the context lasts."""
        touched = {name for technique in settings.techniques for name in technique.rewrites(self.spec)}
        handle = apply_all(self.pipe, settings)
        try:
            self._look_anew(touched)
            yield
        finally:
            handle.remove()
            self._look_anew(touched)

    def _look_anew(self, components: Iterable[str]) -> None:
        for name in components:
            self.memo.forget(getattr(self.pipe, name))


class Rehearsing:
    """One rehearsal of a workload under the techniques that change calls, and everything traced from it."""

    def __init__(self, workshop: Workshop, settings: Settings) -> None:
        self._workshop = workshop
        self.spec, self.workload, self.settings = workshop.spec, workshop.workload, settings

    @property
    def pipe(self) -> Any:
        """The weightless pipeline."""
        return self._workshop.pipe

    @functools.cached_property
    def run(self) -> tuple[Trace, dict[int, Call]]:
        """The trace of the whole run and its distinct calls."""
        kwargs = call_kwargs(self.spec, self.workload, self.pipe)
        with self._workshop.under(self.settings), refusing(self.settings, self.pipe):
            return rehearse(self.pipe, self.settings.call_kwargs(kwargs), Target(), self._workshop.memo)

    @functools.cached_property
    def calls(self) -> dict[str, Call]:
        """Each distinct call by its key, that of a component; equal components (two experts of one class) share a call."""
        known = {call_key(call): call for call in self.run[1].values()}
        return {key: known[call_name(key)] for key, _ in self.log.keys().items()}

    @functools.cached_property
    def log(self) -> CallLog:
        """What is called, stage by stage."""
        sequence = (self.pipe.model_cpu_offload_seq or "").split("->")
        return CallLog.of(
            *self.named(),
            offload_order=tuple(name for name in sequence if name in self.spec.component_names()),
            never_offloaded=tuple(self.pipe._exclude_from_cpu_offload),
        )

    def named(self) -> tuple[Trace, dict[int, str]]:
        """The trace of the whole run, and the name of each distinct call by the id of its trace."""
        trace, calls = self.run
        return trace, {ident: call_key(call) for ident, call in calls.items()}

    def summary(
        self,
        settings: Settings,
        component: str,
        key: str,
        kernel: str,
        options: AllocatorOptions = DEFAULT_OPTIONS,
    ) -> CallSummary:
        """A call under the techniques that rewrite its component, with the target's attention kernel and the allocator's options."""
        found = CallSummary.of(self.trace(settings, component, key, kernel), options)
        if settings.get("compile") is None:
            return found
        return dataclasses.replace(found, ops=self._workshop.fused[settings.canonical(), key, kernel])

    def trace(self, settings: Settings, component: str, key: str, kernel: str) -> Trace:
        """The trace behind `summary`; the component is weighed in passing, while the techniques are applied."""
        name = (settings.canonical(), key, kernel)
        if name not in self._workshop.traces:
            self._trace_component(settings, component, kernel)
        return self._workshop.traces[name]

    def _trace_component(self, settings: Settings, component: str, kernel: str) -> None:
        """Traces every call of a component at once: all will be asked for, and applying techniques takes longer than a trace."""
        target, traces = Target(_kind(kernel), kernel), self._workshop.traces
        plain = self._workshop.plain(component)
        with self._workshop.under(settings):
            module = getattr(self.pipe, component)
            self._weigh(settings, component, plain)
            for key, owner in self.log.keys().items():
                name = (settings.canonical(), key, kernel)
                if owner == component and name not in traces:
                    with refusing(settings, self.pipe):
                        traces[name] = retrace(self.calls[key], module, target, self._workshop.memo)
                        self._fuse(name, settings, module, target)

    def _fuse(self, name: tuple[str, str, str], settings: Settings, module: Any, target: Target) -> None:
        """What a call runs if the settings compile it, while they are applied."""
        technique = settings.get("compile")
        if isinstance(technique, Compile):
            from workbench.cost._flow import fused_ops

            call, whole = self.calls[name[1]], not technique.regional
            self._workshop.fused[name] = fused_ops(call, module, target, self._workshop.memo, whole=whole)

    def weights(
        self, settings: Settings, component: str, options: AllocatorOptions = DEFAULT_OPTIONS
    ) -> Weights:
        """A component's weights under the techniques that rewrite it, with the allocator's options."""
        name = (settings.canonical(), component, options)
        if name not in self._workshop.weights:
            self._apply_to_weigh(settings, component, options)
        return self._workshop.weights[name]

    def loaded(self, settings: Settings, component: str) -> Loaded:
        """A component as it is loaded, and as it is under the techniques that rewrite it."""
        name = (settings.canonical(), component)
        if name not in self._workshop.loaded:
            self._apply_to_weigh(settings, component, DEFAULT_OPTIONS)
        return self._workshop.loaded[name]

    def _apply_to_weigh(self, settings: Settings, component: str, options: AllocatorOptions) -> None:
        plain = self._workshop.plain(component)
        with self._workshop.under(settings):
            self._weigh(settings, component, plain, options)

    def _weigh(
        self, settings: Settings, component: str, plain: Plain, options: AllocatorOptions = DEFAULT_OPTIONS
    ) -> None:
        """While the settings are applied."""
        name, module = settings.canonical(), getattr(self.pipe, component)
        self._workshop.weights[name, component, options] = weigh(module, options)
        if (name, component) not in self._workshop.loaded:
            seen = tensors_of(module)
            self._workshop.loaded[name, component] = loaded(plain, seen, _packing(settings, component))


def _packing(settings: Settings, component: str) -> Callable[[torch.Size, torch.dtype], int] | None:
    """What packing a weight of a component takes; None if it is not quantised."""
    quantization = settings.get("quantization")
    if not isinstance(quantization, Quantization) or component not in quantization.chosen:
        return None
    from workbench.techniques._quantizers import packing_bytes

    return functools.partial(packing_bytes, kind=quantization.chosen[component].kind)


@contextlib.contextmanager
def refusing(settings: Settings, pipe: Any) -> Iterator[None]:
    """What fails under techniques is a reason to refuse them; without techniques it is an error like any other.

    Raises:
        SettingsError: the pipeline's own code failed; the message says under which techniques and how.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not settings.techniques:
            raise
        names = " and ".join(technique.id for technique in settings.techniques)
        said = str(error).strip().partition("\n")[0]
        raise SettingsError(
            f"{type(pipe).__name__} fails under {names}: {type(error).__name__}: {said}"
        ) from error


def _kind(kernel: str) -> str:
    return "cpu" if kernel == "cpu" else "cuda"


def call_key(call: Call) -> str:
    """A name for a distinct call that is the same in every process: method, the layouts of its arguments and of what hooks remembered."""
    given = [_layout(value) for value in call.args] + sorted((k, _layout(v)) for k, v in call.kwargs.items())
    text = repr(given + [_layout(state.layout()) for state in call.states])
    return f"{call.name}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


_NOTHING_BYTES = 2**16


def _layout(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        # a cache may keep the half of an output, and all its memory; a timestep is a part of a schedule of any length, which is nothing
        whole = value.untyped_storage().nbytes()
        part = f" of {whole} B" if whole > max(value.nbytes, _NOTHING_BYTES) else ""
        return f"{dtype_name(value.dtype)}{tuple(value.shape)}{value.stride()}{part}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_layout(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{_layout(v)}' for k, v in value.items())}}}"
    return repr(value)
