"""`estimate`: one configuration in, its `Cost` out.

A `Predictor` holds what is known of one workload: the call log, the summary of each call under each set of techniques that rewrites its
component, and the weights. What is not known yet is rehearsed once, with the techniques applied to the weightless pipeline by the same
`apply` that prepares a real one, and kept on disk; after that an estimate is arithmetic, and neither torch nor the model is imported.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import SettingsError
from workbench.cost import (
    CallLog,
    CallSummary,
    ComputeCache,
    Cost,
    Store,
    Weights,
    price,
    versions,
)
from workbench.cost._cached import Sequences
from workbench.cost.allocator import AllocatorOptions
from workbench.cost.frames import frames_ram_bytes
from workbench.cost.loading import Loaded, loading_notes
from workbench.cost.regressions import torch_notes
from workbench.devices import Device, rates_of, resolve
from workbench.models import ModelSpec, Workload, resolve_model
from workbench.quality import quality_of
from workbench.techniques import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench._rehearsing import Rehearsing, Workshop
    from workbench.cost._trace import Trace


def estimate(
    workload: Workload | ModelSpec | str | Path | DiffusionPipeline | None = None,
    settings: Settings | Mapping[str, Any] | str | None = None,
    device: Device | str | None = None,
    *,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    vram_gb: float | None = None,
    ram_gb: float | None = None,
    desktop_gb: float | None = None,
) -> Cost:
    """Predicts memory, time and quality of one configuration, without the GPU and without the weights.

    Args:
        workload: what to make; a model (a catalogue name, a folder, a hub id, a pipeline in memory) means its native workload, None the
            default model's.
        settings: techniques by id, as `Settings`, a mapping, JSON text or the path of a JSON file; None means the library's defaults.
        device: a card or its name; None means a typical card of `vram_gb`.
        frames: and the others up to `batch`: instead of the native values, where `workload` is a model.
        vram_gb: a cap in GiB; with `device` it must not exceed that card's memory.
        ram_gb: host RAM in GiB; None means unlimited.
        desktop_gb: GiB that the desktop and other programs hold on the card, within `vram_gb`; None means the card's default: 0 on
            data-centre cards, 0.4 on those with a display, of which a `vram_gb` below a given `device` takes first what it takes away.

    Raises:
        InputError: something of this is wrong; the message says what, which value, and what is allowed.
    """
    workload = Workload.of(
        workload, frames=frames, height=height, width=width, steps=steps, guidance=guidance, batch=batch
    )
    chosen = resolve(device, vram_gb=vram_gb, ram_gb=ram_gb, desktop_gb=desktop_gb)
    with collector_paused():
        return Predictor(workload).cost(Settings.parse(settings), chosen)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No cyclic garbage collection for a few seconds: what a cold plan imports and traces stays anyway, and looking through it again
    and again takes a fifth of the time. Tensors die by reference counts, which go on."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            # what was made meanwhile counts as old, so that the next small collection does not walk through all of it
            gc.freeze()
            gc.unfreeze()
            gc.enable()


class Predictor:
    """Everything known of one workload, so that many settings and devices are priced fast."""

    def __init__(self, workload: Workload, store: Store | None = None) -> None:
        self.workload = workload
        self.spec = resolve_model(workload.model)
        self.store = store if store is not None else Store()
        self._logs: dict[str, CallLog] = {}
        self._summaries: dict[tuple[str, str], CallSummary] = {}
        self._weights: dict[tuple[str, str], Weights] = {}
        self._loaded: dict[tuple[str, str], Loaded] = {}
        self._compute: dict[str, ComputeCache] = {}
        self._sequences: dict[AllocatorOptions, Sequences] = {}
        self._rehearsing: dict[str, Rehearsing] = {}
        self._workshop: Workshop | None = None

    # --- the price --------------------------------------------------------------------------------------------------

    def cost(self, settings: Settings, device: Device) -> Cost:
        """The cost of one configuration on one device.

        Raises:
            SettingsError: a technique does not apply to this model or device.
        """
        settings.check(self.spec, device)
        kernel = settings.attention_kernel(device)
        log = self.log(settings)
        calls = {key: self.summary(settings, component, key, kernel) for key, component in log.keys().items()}
        weights = {name: self.weights(settings, name) for name in self.spec.component_names()}
        residency = settings.residency(self.spec)
        compute = self.compute(device)
        frames = frames_ram_bytes(log.video, self.workload.batch, self.spec.pipeline_class)
        loaded = {name: self.loaded(settings, name) for name in weights}
        sequence = self._sequence(settings)
        priced = price(
            log, calls, weights, residency, device, compute, sequence, frames_bytes=frames, loaded=loaded
        )
        # a cast autoencoder is nothing that a loader could pack
        packed = priced.loading if settings.get("quantization") is not None else ()
        return Cost(
            workload=self.workload,
            device=device,
            settings=settings.to_json(),
            dtypes=settings.dtypes(self.spec),
            price=priced,
            quality=quality_of(settings, self.spec, self.workload),
            versions=versions(),
            notes=(
                *self.spec.assumptions,
                *_made_instead(log, self.workload),
                *torch_notes(versions().get("torch", ""), settings.dtypes(self.spec), self._vae_class()),
                *settings.notes(self.spec, device),
                *loading_notes(priced.host_ram, packed, priced.required_vram_bytes, device),
            ),
        )

    def _vae_class(self) -> str | None:
        return next((part.class_name for part in self.spec.components if part.name == "vae"), None)

    def num_blocks(self) -> int:
        """Blocks of the denoiser that group offloading finds, of two experts the most; 0 if there are none."""
        plain = Settings()
        return max((len(self.weights(plain, name).blocks) for name in self.spec.denoisers), default=0)

    def compute(self, device: Device) -> ComputeCache:
        """Compute times of calls at a device's rates, kept between prices."""
        return self._compute.setdefault(rates_of(device), ComputeCache(device))

    def _sequence(self, settings: Settings) -> Sequences:
        options = settings.allocator_options()
        return self._sequences.setdefault(options, Sequences(options))

    # --- what is known ----------------------------------------------------------------------------------------------

    def log(self, settings: Settings) -> CallLog:
        """What the pipeline calls under these settings."""
        part = settings.changing_calls()
        name = part.canonical()
        if name not in self._logs:
            key = self._key({"settings": part.to_json()})
            known = self.store.get("log", key)
            if known is None:
                known = self._rehearsed(part).log.to_json()
                self.store.put("log", key, known)
            self._logs[name] = CallLog.from_json(known)
        return self._logs[name]

    def summary(self, settings: Settings, component: str, call: str, kernel: str) -> CallSummary:
        """What one call costs under the techniques that rewrite its component."""
        part = settings.rewriting(self.spec, component)
        options = settings.allocator_options()
        name = f"{call}|{part.canonical()}|{kernel}|{options.conf()}"
        if (component, name) not in self._summaries:
            key = {
                "component": self._component_key(component),
                "call": call,
                "settings": part.to_json(),
                "kernel": kernel,
                **_conf(options),
            }
            known = self.store.get("call", key)
            if known is None:
                known = self._summarised(settings, part, component, call, kernel)
                self.store.put("call", key, known)
            if "refused" in known:
                raise SettingsError(known["refused"])
            self._summaries[component, name] = CallSummary.from_json(known)
        return self._summaries[component, name]

    def _summarised(
        self, settings: Settings, part: Settings, component: str, call: str, kernel: str
    ) -> dict[str, Any]:
        """A call's summary as JSON, or the sentence that refuses the techniques, which is kept like one: it took as long to find."""
        rehearsed = self._rehearsed(settings.changing_calls())
        try:
            return rehearsed.summary(part, component, call, kernel, settings.allocator_options()).to_json()
        except SettingsError as error:
            return {"refused": str(error)}

    def weights(self, settings: Settings, component: str) -> Weights:
        """What a component's weights take under the techniques that rewrite it."""
        part = settings.rewriting(self.spec, component)
        options = settings.allocator_options()
        name = f"{part.canonical()}|{options.conf()}"
        if (component, name) not in self._weights:
            key = {
                "component": self._component_key(component),
                "settings": part.to_json(),
                **_conf(options),
            }
            known = self.store.get("weights", key)
            if known is None:
                rehearsed = self._rehearsed(settings.changing_calls())
                known = rehearsed.weights(part, component, options).to_json()
                self.store.put("weights", key, known)
            self._weights[component, name] = Weights.from_json(known)
        return self._weights[component, name]

    def loaded(self, settings: Settings, component: str) -> Loaded:
        """What a component is loaded as, and what the techniques make of it."""
        part = settings.rewriting(self.spec, component)
        name = part.canonical()
        if (component, name) not in self._loaded:
            key = {"component": self._component_key(component), "settings": part.to_json()}
            known = self.store.get("loaded", key)
            if known is None:
                known = self._rehearsed(settings.changing_calls()).loaded(part, component).to_json()
                self.store.put("loaded", key, known)
            is_mapped = self.spec.component(component).is_mapped
            self._loaded[component, name] = Loaded.from_json(known | {"is_mapped": is_mapped})
        return self._loaded[component, name]

    def rehearsing(self, settings: Settings) -> Rehearsing:
        """The rehearsal under these settings itself, with its traces; imports torch and diffusers."""
        return self._rehearsed(settings.changing_calls())

    def trace(self, settings: Settings, component: str, call: str, kernel: str) -> Trace:
        """The trace behind `summary`."""
        return self.rehearsing(settings).trace(
            settings.rewriting(self.spec, component), component, call, kernel
        )

    def _rehearsed(self, part: Settings) -> Rehearsing:
        """The rehearsal under the techniques that change calls; imports torch and diffusers."""
        name = part.canonical()
        if name not in self._rehearsing:
            from workbench._rehearsing import Rehearsing, Workshop

            if self._workshop is None:
                self._workshop = Workshop(self.spec, self.workload)
            self._rehearsing[name] = Rehearsing(self._workshop, part)
        return self._rehearsing[name]

    def _key(self, more: Mapping[str, Any]) -> dict[str, Any]:
        parts = [self._component_key(name) for name in self.spec.component_names()]
        scheduler = [self.spec.scheduler.class_name, dict(self.spec.scheduler.config)]
        extras = {name: [part.class_name, dict(part.config)] for name, part in self.spec.extras.items()}
        pipeline = [
            self.spec.pipeline_class,
            dict(self.spec.pipeline_config),
            extras,
            dict(self.spec.call),
            self.spec.inputs,
        ]
        return {
            "workload": self.workload.to_json(),
            "components": parts,
            "scheduler": scheduler,
            "pipeline": pipeline,
            **more,
        }

    def _component_key(self, component: str) -> list[Any]:
        part = self.spec.component(component)
        return [part.class_name, dict(part.config), part.dtype]


def _conf(options: AllocatorOptions) -> dict[str, str]:
    """What a key says of the allocator: nothing where it is as ever."""
    return {"allocator": options.conf()} if options.conf() else {}


def _made_instead(log: CallLog, workload: Workload) -> tuple[str, ...]:
    """A sentence where the pipeline gives another video than it was asked for: it rounds to whole sections, or to sizes of its own."""
    if log.video is None or log.video == (workload.frames, workload.height, workload.width):
        return ()
    frames, height, width = log.video
    return (
        f"asked for {workload.frames} frames of {workload.height} × {workload.width}, the pipeline makes {frames} of {height} × {width}",
    )
