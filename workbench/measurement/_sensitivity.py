"""`sensitivity`: quantises each block or layer of a network alone and looks at what the network then predicts. Touches the disk.

The distance is that of the denoiser's prediction on a few inputs which the un-optimised pipeline itself gave it, so a layer costs a few
forwards instead of a whole run; how the prediction's error becomes one of the clip is measured with all layers quantised, by whole runs.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError, UnknownNameError
from workbench.cost import versions
from workbench.measurement._provenance import commit
from workbench.measurement._scanned_network import Calls, copied, digest_of, groups_of, weight_bytes
from workbench.models import ModelSpec, Workload, resolve_model
from workbench.quality import KindScan, Sensitivity, scan_file
from workbench.records import load as load_record
from workbench.records import save as save_record
from workbench.techniques import Quantization

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import Tensor

BY = ("block", "layer")
_NAN = float("nan")
_SAME = ("pipeline_class", "class_name", "config", "weights", "inputs")
"""Facts that two scans share when one can go on where the other stopped."""


def sensitivity(
    pipe: DiffusionPipeline,
    *,
    kinds: Sequence[str] = ("int8wo", "nf4"),
    component: str | None = None,
    by: str = "block",
    inputs: int = 4,
    clips: int = 2,
    prompt: str | None = None,
    seed: int = 0,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    call: Mapping[str, Any] | None = None,
    path: str | Path | None = None,
    resume: bool = True,
    say: Callable[[str], None] | None = None,
) -> Sensitivity:
    """Measures how much each block or layer of a pipeline's denoiser minds being quantised.

    Written after every layer, complete or not at all, and taken up again where it stopped. Plans and estimates of this model then say
    "measured on this model" of these kinds of quantisation, also of some layers only; weights cannot be seen in a plan, so a fine-tune
    counts as its base model. `settings` of the result is a mixed quantisation for a budget.

    Args:
        pipe: a pipeline with weights, un-optimised, where it can run; it is left as it was.
        kinds: of quantisation, each tried on this machine.
        component: the network; None means the first denoiser.
        by: `"block"`, everything below one number in a layer's path, or `"layer"`, every linear layer.
        inputs: calls of the network that serve as inputs, spread evenly over the first clip's run.
        clips: whole runs, of consecutive seeds, without and with each kind on all layers: without any a plan has no PSNR to show.
        prompt: None means what predictions are made with, or what the miniature knows.
        frames: with `height`, `width`, `steps` and `guidance`: None means the model's native value.
        call: more arguments of the pipeline call, an image for example.
        path: the record; None means where plans look for it.
        resume: whether a record of the same weights and inputs is gone on with.
        say: told in a sentence what is done.

    Raises:
        InputError: something of this is wrong, a kind does not run on this machine, or the network is not called.
    """
    chosen = _Chosen(kinds=tuple(dict.fromkeys(kinds)), by=by, inputs=inputs, clips=clips, seed=seed)
    asked: dict[str, Any] = {
        "frames": frames,
        "height": height,
        "width": width,
        "steps": steps,
        "guidance": guidance,
    }
    spec = resolve_model(pipe)
    workload = Workload.for_model(spec, **{name: value for name, value in asked.items() if value is not None})
    scanned = _Scanned(pipe, spec, workload, component, chosen, {**_said(prompt, spec), **(call or {})})
    target = scan_file(spec, scanned.component) if path is None else Path(path)
    if path is None:
        target.parent.mkdir(parents=True, exist_ok=True)
    return _Scan(scanned, target, (lambda line: None) if say is None else say).run(resume=resume)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Chosen:
    """What is scanned, checked."""

    kinds: tuple[str, ...]
    by: str
    inputs: int
    clips: int
    seed: int

    def __post_init__(self) -> None:
        import torch

        from workbench.techniques._kinds import KINDS, why_not_here

        if not self.kinds:
            raise InputError("sensitivity needs at least one kind of quantisation, got none")
        for kind in self.kinds:
            if kind not in KINDS:
                raise UnknownNameError.of("kind of quantisation", kind, tuple(KINDS))
            reason = why_not_here(kind, weightless=False, cuda=torch.cuda.is_available())
            if reason is not None:
                raise InputError(f"sensitivity cannot scan {kind}: {reason}")
        if self.by not in BY:
            raise UnknownNameError.of("way to take a network apart", self.by, BY)
        for name, least in (("inputs", 1), ("clips", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InputError(
                    f"{name} of sensitivity must be a whole number of at least {least}, got {value!r}"
                )


def _said(prompt: str | None, spec: ModelSpec) -> dict[str, Any]:
    from workbench.measurement._pipelines import MINIATURE, default_prompt

    if prompt is None and spec.name != MINIATURE:
        return {}
    return {"prompt": default_prompt(spec.name) if prompt is None else prompt}


class _Scanned:
    """The pipeline, the network in it, and how it is called."""

    def __init__(
        self,
        pipe: Any,
        spec: ModelSpec,
        workload: Workload,
        component: str | None,
        chosen: _Chosen,
        call: Mapping[str, Any],
    ) -> None:
        from workbench.models._build import call_kwargs
        from workbench.techniques._tensors import is_weightless, modules_of

        if is_weightless(pipe):
            raise InputError("sensitivity needs a pipeline with weights, and this one has none")
        names = spec.denoisers
        if component is None and not names:
            raise InputError(f"sensitivity needs a denoiser, and {spec.name} has none: name a component")
        self.component = names[0] if component is None else component
        modules = modules_of(pipe)
        if self.component not in modules:
            raise UnknownNameError.of(f"component of {spec.name}", self.component, tuple(modules))
        self.pipe, self.spec, self.workload, self.chosen = pipe, spec, workload, chosen
        self.module = modules[self.component]
        self.kwargs = {**call_kwargs(spec, workload, pipe), **call}
        if self.kwargs.get("prompt") is None:
            self.kwargs.pop("prompt", None)
        self.groups = groups_of(self.module, chosen.kinds, chosen.by)
        if not self.groups:
            raise InputError(f"{self.component} has no layer that {' or '.join(chosen.kinds)} can pack")

    def facts(self) -> dict[str, Any]:
        """What the scan is of; two scans that agree in `_SAME` are one."""
        import json

        part = self.spec.component(self.component)
        said = {name: value for name, value in self.kwargs.items() if isinstance(value, (str, int, float))}
        asked = {"by": self.chosen.by, "count": self.chosen.inputs, "seed": self.chosen.seed, "call": said}
        facts = {
            "pipeline_class": self.spec.pipeline_class,
            "class_name": part.class_name,
            "config": dict(part.config),
            "weights": digest_of(self.module),
            "inputs": asked,
            "versions": versions(),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
        }
        found: dict[str, Any] = json.loads(json.dumps(facts))
        return found

    def clip(self, number: int) -> Any:
        """The first video of a run of that number, [frames, height, width, 3] of bytes."""
        from workbench.measurement._video import to_uint8

        return to_uint8(self._called(number).frames[0])

    def recorded(self) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Arguments of a few calls of the network in the run of the first clip.

        Raises:
            InputError: the run did not call it.
        """
        calls = Calls(self.chosen.inputs)
        hook = self.module.register_forward_pre_hook(calls.seen, with_kwargs=True)
        try:
            self._called(0)
        finally:
            hook.remove()
        if not calls.kept:
            raise InputError(f"{self.component} was not called when the pipeline ran")
        return calls.evenly()

    def _called(self, number: int) -> Any:
        import torch

        generator = torch.Generator("cpu").manual_seed(self.chosen.seed + number)
        if "generator" not in inspect.signature(type(self.pipe).__call__).parameters:
            raise InputError(f"{self.spec.pipeline_class} takes no generator: its runs cannot be repeated")
        return self.pipe(**self.kwargs, generator=generator)


class _Scan:
    """One scan: what is known so far, and the file that says so after every layer."""

    def __init__(self, scanned: _Scanned, path: Path, say: Callable[[str], None]) -> None:
        self.scanned, self.path, self.say = scanned, path, say
        self.state: Sensitivity
        self._clips: dict[int, Any] = {}

    def run(self, *, resume: bool) -> Sensitivity:
        """Everything that is not known yet."""
        import torch

        self._begin(resume)
        with torch.no_grad():
            if any(not scan.is_complete for scan in self._asked()):
                calls = self.scanned.recorded()
                plain = [self._predicted(call) for call in calls]
                for kind in self.scanned.chosen.kinds:
                    self._layers(kind, calls, plain)
            for kind in self.scanned.chosen.kinds:
                self._whole_runs(kind)
        return self.state

    def _asked(self) -> list[KindScan]:
        return [self.state.kinds[kind] for kind in self.scanned.chosen.kinds]

    def _begin(self, resume: bool) -> None:
        facts, groups = self.scanned.facts(), self.scanned.groups
        known: Mapping[str, KindScan] = {}
        unrelated = None
        if resume and self.path.is_file():
            before = Sensitivity.from_dataset(load_record(self.path))
            if all(before.facts.get(name) == facts[name] for name in _SAME) and before.layers == tuple(
                groups
            ):
                known, unrelated = before.kinds, before.unrelated
        fresh = KindScan(packed_bytes=(_NAN,) * len(groups), distances=(_NAN,) * len(groups))
        kinds = {**known, **{kind: known.get(kind, fresh) for kind in self.scanned.chosen.kinds}}
        self.state = Sensitivity(
            component=self.scanned.component,
            layers=tuple(groups),
            layer_bytes=tuple(
                float(sum(weight_bytes(layer) for layer in layers)) for layers in groups.values()
            ),
            kinds=kinds,
            unrelated=unrelated,
            facts=facts,
        )

    def _layers(self, kind: str, calls: Sequence[Any], plain: Sequence[Tensor]) -> None:
        scan = self.state.kinds[kind]
        for place, name in enumerate(self.state.layers):
            if scan.distances[place] == scan.distances[place]:
                continue  # NaN is what is not measured yet
            distance, taken = self._distance(kind, name, calls, plain)
            self.say(f"{kind} of {name}: {distance:.3g}")
            scan = dataclasses.replace(
                scan,
                distances=_set(scan.distances, place, distance),
                packed_bytes=_set(scan.packed_bytes, place, taken),
            )
            self._keep(kind, scan)
        if scan.whole != scan.whole:
            distance, _ = self._distance(kind, None, calls, plain)
            self.say(f"{kind} of all layers: {distance:.3g}")
            self._keep(kind, dataclasses.replace(scan, whole=distance))

    def _distance(
        self, kind: str, name: str | None, calls: Sequence[Any], plain: Sequence[Tensor]
    ) -> tuple[float, float]:
        """(squared error as a share, bytes of the layer's quantisable weights then) with one layer quantised, or with all."""
        with quantised(self.scanned, kind, name):
            taken = 0 if name is None else sum(weight_bytes(layer) for layer in self.scanned.groups[name])
            off = [self._predicted(call) - expected for call, expected in zip(calls, plain, strict=True)]
        squares = [float(each.double().square().mean()) for each in off]
        sizes = [float(expected.double().square().mean()) for expected in plain]
        return sum(squares) / sum(sizes), float(taken)

    def _whole_runs(self, kind: str) -> None:
        from workbench.measurement.quality import psnr, ssim

        scan = self.state.kinds[kind]
        for number in range(len(scan.psnr_db), self.scanned.chosen.clips):
            expected = self._plain_clip(number)
            with quantised(self.scanned, kind, None):
                made = self.scanned.clip(number)
            found = psnr(made, expected), ssim(made, expected)
            self.say(f"{kind} of all layers, clip {number}: PSNR {found[0]:.1f} dB, SSIM {found[1]:.4f}")
            scan = dataclasses.replace(scan, psnr_db=(*scan.psnr_db, found[0]), ssim=(*scan.ssim, found[1]))
            self._keep(kind, scan)
        if self.state.unrelated is None and self.scanned.chosen.clips > 1:
            one, other = self._plain_clip(0), self._plain_clip(1)
            self.state = dataclasses.replace(self.state, unrelated=(psnr(other, one), ssim(other, one)))
            save_record(self.state.to_dataset(), self.path)

    def _plain_clip(self, number: int) -> Any:
        if number not in self._clips:
            self.say(f"un-optimised clip {number}")
            self._clips[number] = self.scanned.clip(number)
        return self._clips[number]

    def _predicted(self, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Tensor:
        args, kwargs = copied(call[0]), copied(call[1])
        result = self.scanned.module(*args, **kwargs)
        tensor: Tensor = (result[0] if isinstance(result, tuple) else next(iter(result.values()))).float()
        return tensor

    def _keep(self, kind: str, scan: KindScan) -> None:
        self.state = dataclasses.replace(self.state, kinds={**self.state.kinds, kind: scan})
        save_record(self.state.to_dataset(), self.path)


@contextmanager
def quantised(scanned: _Scanned, kind: str, layer: str | None) -> Iterator[None]:
    """The network with one layer quantised, or with all, by the technique itself; put back at the end."""
    skip = [] if layer is None else [rf"^(?!{re.escape(layer)}(\.|$))"]
    handle = Quantization(components={scanned.component: {"kind": kind, "skip": skip}}).apply(scanned.pipe)
    try:
        yield
    finally:
        handle.remove()


def _set(values: tuple[float, ...], place: int, value: float) -> tuple[float, ...]:
    return (*values[:place], value, *values[place + 1 :])
