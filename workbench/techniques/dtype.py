"""The dtype that a component's weights are held and computed in."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench._errors import SettingsError, UnknownNameError
from workbench.techniques._checks import check_choice, check_components, read_object
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Effect, Handle
from workbench.techniques._together import together

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

DTYPES = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dtype(AbstractTechnique):
    """Casts components to the dtype that `from_pretrained(dtype=...)` would load them in.

    What the library keeps in fp32 (Wan's time embedding and norms, T5's output layers in fp16) is kept here too. A dtype that the
    weights were not trained in loses precision that casting back does not return, so the handle keeps the originals in host RAM.
    Helps: half precision halves weights and activations and uses tensor cores; for most video VAEs, which are documented in fp32,
    bf16 halves the peak of the decode. Hurts: fp16 overflows in models trained in bf16 (T5, many DiTs); bf16 has 8 bits of precision;
    cards before Ampere have no bf16 units. Not to be confused with quantisation, which stores weights smaller than it computes.

    Source: diffusers `load_model_dict_into_meta`, transformers `_get_dtype_plan`.
    """

    id: ClassVar[str] = "dtype"

    components: Mapping[str, str]
    """Component -> `fp32`, `fp16` or `bf16`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", dict(self.components))
        if not self.components:
            raise SettingsError("dtype needs at least one component, got none")
        for name, value in self.components.items():
            check_choice(self.id, f"value for {name}", value, DTYPES)

    def __hash__(self) -> int:
        return hash((self.id, frozenset(self.components.items())))

    @classmethod
    def parse(cls, parameters: object) -> Dtype:
        """From `{component: dtype}`."""
        return cls(components=read_object(cls.id, parameters))

    def to_json(self) -> dict[str, Any]:
        """`{component: dtype}`."""
        return dict(sorted(self.components.items()))

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """A model with these components, on a device that computes in their dtypes."""
        check_components(model, self.components)
        names = together(model)
        if set(names) & self.components.keys() and len({self._dtype(model, name) for name in names}) > 1:
            return (
                f"{model.pipeline_class} hands tensors from one network to the next as they are: give {', '.join(names[:-1])} and "
                f"{names[-1]} the same dtype"
            )
        if device is not None and device.architecture != "cpu":
            for name, value in self.components.items():
                if value == "bf16" and "bf16" not in device.dense_flops:
                    return f"{device.title} has no bf16 units, so {name} cannot be bf16"
        return None

    def _dtype(self, model: ModelSpec, component: str) -> str:
        return self.components.get(component, model.component(component).dtype)

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The components it names."""
        return frozenset(self.components)

    @property
    def changes_calls(self) -> bool:
        """Pipelines cast latents and embeddings to the dtype of the component that takes them."""
        return True

    def narrowed(self, component: str) -> Dtype:
        """The entry of one component."""
        return Dtype(components={component: self.components[component]})

    def dtypes(self, dtypes: Mapping[str, str]) -> dict[str, str]:
        """With these components in these dtypes."""
        return {**dtypes, **self.components}

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Casts in place; the handle puts the very same original tensors back."""
        from workbench.models._build import loading_dtypes
        from workbench.techniques._tensors import kept, modules_of, put_back, stores

        handle = Handle()
        modules = modules_of(pipe)
        with handle.whole_or_not_at_all():
            for name, value in self.components.items():
                if name not in modules:
                    raise UnknownNameError.of(f"component of {type(pipe).__name__}", name, modules)
                wanted = loading_dtypes(modules[name], value)
                count = 0
                for key, store, place in stores(modules[name]):
                    # a tied weight has one of its names in the twin; under the others it is the same tensor
                    target = wanted.get(key, store[place].dtype)
                    if store[place].dtype != target and store[place].is_floating_point():
                        handle.undoing(functools.partial(put_back, store, place, kept(store[place].data)))
                        store[place].data = store[place].data.to(target)
                        count += 1
                handle.did(f"{name} is in {value} ({f'{count} tensors cast' if count else 'it was already'})")
        return handle

    def effect(self) -> Effect:
        """Nobody has published what another dtype costs these models."""
        return UNKNOWN
