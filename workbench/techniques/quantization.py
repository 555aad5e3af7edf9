"""Stores the weights of linear layers in fewer bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench._errors import SettingsError, UnknownNameError
from workbench.techniques._checks import check_components, read_object
from workbench.techniques._kinds import KINDS, why_not_here
from workbench.techniques._quantization_choice import Choice
from workbench.techniques._technique import AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantization(AbstractTechnique):
    """Quantises the linear layers of components after loading, each in one of `_kinds.KINDS`.

    A component's value is a kind, or `{"kind": ..., "layers": ..., "skip": [...]}`: `layers` is one of `_quantization_choice.LAYERS`.

    Weight-only kinds (`int8wo`, `fp8wo`, `int4wo`, `nf4`, `fp8_storage`) restore each weight to the component's dtype before it is used:
    half to a quarter of the memory, about the same time (a layer's restored weight lives while it computes). `int8dq`, `fp8dq` and `bnb8`
    quantise the activations too and multiply in 8 bits: faster on large layers, more scratch memory, more loss.

    Left alone by default, because they are small and sensitive: what the model's class itself excludes from layerwise casting or keeps
    in fp32 (`_skip_layerwise_casting_patterns`, `_keep_in_fp32_modules`: for Wan patch, time and text embeddings and norms), the final
    projection. Left alone always: layers whose shape the kind cannot pack, and embedding tables. Convolutions stay too, except under
    `fp8_storage`.
    The handle keeps the original weights in host RAM to put them back: a quantised component takes more RAM, not less.

    Sources: torchao 0.18 `quantize_`; diffusers `enable_layerwise_casting`; bitsandbytes; NF4: Dettmers et al. 2023 (arXiv 2305.14314).
    """

    id: ClassVar[str] = "quantization"

    components: Mapping[str, Choice | str | Mapping[str, Any]]
    """Component -> what is done to it; kept as `Choice`."""

    def __post_init__(self) -> None:
        if not self.components:
            raise SettingsError("quantization needs at least one component, got none")
        chosen = {name: Choice.parse(self.id, name, value) for name, value in self.components.items()}
        object.__setattr__(self, "components", chosen)

    def __hash__(self) -> int:
        return hash((self.id, frozenset(self.components.items())))

    @property
    def chosen(self) -> Mapping[str, Choice]:
        """Component -> what is done to it."""
        return self.components  # type: ignore[return-value]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds in use, each once."""
        return tuple(dict.fromkeys(choice.kind for choice in self.chosen.values()))

    @classmethod
    def parse(cls, parameters: object) -> Quantization:
        """From `{component: kind}` or `{component: {"kind": ..., ...}}`."""
        return cls(components=read_object(cls.id, parameters))

    def to_json(self) -> dict[str, Any]:
        """The inverse of `parse`, with a kind's name alone where that says all."""
        return {name: choice.to_json() for name, choice in sorted(self.chosen.items())}

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """A model with these components, in dtypes that the kinds take, on a card that has their kernels."""
        check_components(model, self.components)
        for name, choice in self.chosen.items():
            kind = choice.kind
            row = KINDS[kind]
            dtype = model.component(name).dtype
            if row.only_bf16 and dtype != "bf16":
                return f"{kind} takes bf16 weights only, and {name} is {dtype}"
            if device is not None and row.minimum is not None:
                has = device.compute_capability
                if (has is None and row.only_cuda) or (has is not None and has < row.minimum):
                    return f"{kind} needs compute capability {row.minimum[0]}.{row.minimum[1]}, which {device.title} has not"
            missing = why_not_here(kind, weightless=True, cuda=False)
            if missing is not None:
                return missing
        return None

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The components it names."""
        return frozenset(self.components)

    def narrowed(self, component: str) -> Quantization:
        """The entry of one component."""
        return Quantization(components={component: self.components[component]})

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Replaces weights in place; the handle puts the very same originals back."""
        import torch

        from workbench.techniques._quantizers import quantize
        from workbench.techniques._tensors import is_weightless, modules_of

        handle = Handle()
        modules, weightless = modules_of(pipe), is_weightless(pipe)
        with handle.whole_or_not_at_all():
            for name, choice in self.chosen.items():
                kind = choice.kind
                if name not in modules:
                    raise UnknownNameError.of(f"component of {type(pipe).__name__}", name, modules)
                reason = why_not_here(kind, weightless=weightless, cuda=torch.cuda.is_available())
                if reason is None:
                    handle.did(f"{name}: {quantize(modules[name], choice, handle)}")
                elif KINDS[kind].only_cuda and not KINDS[kind].planned_only:
                    handle.did(f"{name} was not quantised: {reason}")
                else:
                    raise SettingsError(f"quantization of {name}: {reason}")
        return handle

    def notes(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """Packages that the run will need, and what the prediction leaves out."""
        on_gpu = device is not None and device.compute_capability is not None
        needed = (why_not_here(kind, weightless=False, cuda=True) for kind in self.kinds) if on_gpu else ()
        return (
            *dict.fromkeys(KINDS[kind].caveat for kind in self.kinds if KINDS[kind].caveat),
            *(
                f"{kind} can be planned and not applied: {said}"
                for kind in self.kinds
                if (said := KINDS[kind].planned_only)
            ),
            *(why for why in needed if why),
        )

    def effect(self) -> Effect:
        """The worst that is known; unknown if it is unknown of one kind in use."""
        effects = [KINDS[kind].effect for kind in self.kinds]
        unknown = [effect for effect in effects if effect.loss_percent is None]
        return unknown[0] if unknown else max(effects, key=lambda effect: effect.loss_percent or 0.0)
