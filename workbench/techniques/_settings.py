"""`Settings`: the techniques in use, one value for each, in the order in which they are applied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench._errors import SettingsError, UnknownNameError
from workbench.cost import Residency
from workbench.cost.allocator import DEFAULT_OPTIONS, AllocatorOptions
from workbench.devices import Device
from workbench.models import ModelSpec
from workbench.techniques._checks import denoisers
from workbench.techniques._technique import AbstractTechnique


@dataclass(frozen=True, slots=True)
class Settings:
    """A set of techniques, at most one of each kind. Settings that are equal apply the same things in the same order."""

    techniques: tuple[AbstractTechnique, ...] = ()
    """In the order of `ORDER`; build with `Settings.of` or `Settings.parse`, which sort and check."""

    @classmethod
    def of(cls, techniques: Iterable[AbstractTechnique]) -> Settings:
        """These techniques, sorted and checked.

        Raises:
            SettingsError: two of one kind, or a pair that conflicts.
        """
        from workbench.techniques import CONFLICTS, ORDER

        chosen = sorted(techniques, key=lambda technique: ORDER.index(technique.id))
        ids = [technique.id for technique in chosen]
        for name in ids:
            if ids.count(name) > 1:
                raise SettingsError(f"{name} is given twice: each technique is used at most once")
        by_id = {technique.id: technique for technique in chosen}
        for conflict in CONFLICTS:
            sentence = conflict(by_id)
            if sentence is not None:
                raise SettingsError(sentence)
        return cls(tuple(chosen))

    @classmethod
    def parse(cls, value: Settings | Mapping[str, Any] | str | Path | None) -> Settings:
        """From a mapping of technique ids to parameters, JSON text, the path of a JSON file, or None (no technique).

        Raises:
            UnknownNameError: a technique that does not exist; the nearest names are offered.
            SettingsError: not readable, a parameter that does not exist or is out of range, or a pair that conflicts.
        """
        if isinstance(value, Settings):
            return value
        from workbench.techniques import ALL

        classes = {technique.id: technique for technique in ALL}
        data = _read(value)
        for name in data:
            if name not in classes:
                raise UnknownNameError.of("technique", name, tuple(classes))
        return cls.of(classes[name].parse(parameters) for name, parameters in data.items())

    def to_json(self) -> dict[str, Any]:
        """Settings JSON: parameters by technique id."""
        return {technique.id: technique.to_json() for technique in self.techniques}

    def canonical(self) -> str:
        """One text for equal settings, for use as a key."""
        return json.dumps(self.to_json(), sort_keys=True)

    def get(self, name: str) -> AbstractTechnique | None:
        """The technique of this id, if it is in use."""
        return next((technique for technique in self.techniques if technique.id == name), None)

    def with_(self, name: str, parameters: object) -> Settings:
        """The same settings with one technique set otherwise; None takes it out."""
        data = {key: value for key, value in self.to_json().items() if key != name}
        return Settings.parse(data if parameters is None else {**data, name: parameters})

    def check(self, model: ModelSpec, device: Device | None = None) -> None:
        """Makes sure that every technique can act on this model and device.

        Raises:
            SettingsError: one cannot; the sentence says which and why.
        """
        model = model.with_dtypes(self.dtypes(model))
        for technique in self.techniques:
            reason = technique.applies_to(model, device)
            if reason is not None:
                raise SettingsError(f"{technique.id} does not apply to {model.name}: {reason}")

    # --- what pricing asks ------------------------------------------------------------------------------------------

    def changing_calls(self) -> Settings:
        """Those under which the pipeline calls its components differently."""
        return Settings(tuple(technique for technique in self.techniques if technique.changes_calls))

    def rewriting(self, model: ModelSpec, component: str) -> Settings:
        """Those that change the ops or weights of a component, as far as they concern it."""
        return Settings(
            tuple(t.narrowed(component) for t in self.techniques if component in t.rewrites(model))
        )

    def call_kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """A workload's arguments of the pipeline call as they are passed under these settings, predicted or real."""
        for technique in self.techniques:
            kwargs = technique.call_kwargs(kwargs)
        return dict(kwargs)

    def dtypes(self, model: ModelSpec) -> dict[str, str]:
        """The dtype that each component is in: what the model's documentation loads, or what is set here."""
        dtypes = {part.name: part.dtype for part in model.components}
        for technique in self.techniques:
            dtypes = technique.dtypes(dtypes)
        return dtypes

    def notes(self, model: ModelSpec, device: Device | None = None) -> tuple[str, ...]:
        """What a reader of a prediction under these settings should know, one sentence each."""
        notes = tuple(note for technique in self.techniques for note in technique.notes(model, device))
        return (*notes, *self._unfused_attention(model, device))

    def _unfused_attention(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """Denoisers in bf16 on a card before Ampere, where no kernel spares them the score matrix."""
        if device is None or native_attention_kernel(device) != "efficient_sm7x":
            return ()
        dtypes = self.dtypes(model)
        names = [name for name in denoisers(model.component_names()) if dtypes[name] == "bf16"]
        if not names:
            return ()
        return (
            f"{device.title} has no fused attention in bf16 (PyTorch's need compute capability 8.0): {', '.join(names)} "
            f"{'holds' if len(names) == 1 else 'hold'} whole score matrices in fp32; dtype fp16 avoids it where the model bears it",
        )

    def known_loss_percent(self) -> float:
        """Sum of the losses that are known of these techniques; what is unknown is not in it."""
        return sum(technique.effect().loss_percent or 0.0 for technique in self.techniques)

    def residency(self, model: ModelSpec) -> Residency:
        """Where weights are when."""
        residency = Residency()
        for technique in self.techniques:
            residency = technique.residency(model, residency)
        return residency

    def allocator_options(self) -> AllocatorOptions:
        """The options that the allocator of a prediction runs under."""
        options = DEFAULT_OPTIONS
        for technique in self.techniques:
            options = technique.allocator_options(options)
        return options

    def attention_kernel(self, device: Device) -> str:
        """The best kernel that attention has wherever no technique insists on one: see `native_attention_kernel`.

        One that insists (`attention`) sets it on the denoiser itself, weightless or real, and the tracer sees it there.
        """
        return native_attention_kernel(device)


def native_attention_kernel(device: Device) -> str:
    """The best kernel that PyTorch has for attention on a device: `cpu`, or one of the generations of `cost/_sdpa.py`.

    PyTorch 2.13, sdp_utils.cpp: cuDNN is preferred on compute capability 9.x and 10.x (`check_prefer_cudnn_attention`), FlashAttention
    needs 8.0 (`check_flash_attention_hardware_support`), the memory-efficient kernel 5.0 (`check_mem_efficient_hardware_support`).
    """
    capability = device.compute_capability
    if capability is None:
        return "cpu" if device.architecture == "cpu" else "efficient_sm7x"
    if capability < (8, 0):
        return "efficient_sm7x" if capability >= (5, 0) else "math"
    return "cudnn" if capability[0] in (9, 10) else "flash"


def _read(value: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    """Settings JSON as a dictionary, wherever it is."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    text, origin = str(value), "settings"
    if isinstance(value, Path) or not text.lstrip().startswith(("{", "[")):
        origin = f"settings file {text!r}"
        try:
            text = Path(text).read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{origin} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{origin} is not text in UTF-8") from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(
            f"{origin} is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    if not isinstance(data, dict):
        raise SettingsError(f"{origin} must be a JSON object of technique ids, got {type(data).__name__}")
    return data
