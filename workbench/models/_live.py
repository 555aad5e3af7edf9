"""Reads a model off a pipeline in memory, with or without weights."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError
from workbench.models._spec import ComponentSpec, SchedulerSpec

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_DTYPES = {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16"}


class LiveReading:
    """What a pipeline in memory says of itself; the same fields as a folder's reading."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        from torch import nn

        kind = _base(type(pipe))
        self.pipeline_class = kind.__name__
        self.pipeline_config: dict[str, Any] = {}
        self.components: dict[str, ComponentSpec] = {}
        self.plain: dict[str, SchedulerSpec] = {}
        self.without_dtype: list[str] = []
        self.remarks: list[str] = []
        parts = pipe.components
        for name in list(inspect.signature(kind).parameters):
            part = parts.get(name, pipe.config.get(name))
            if isinstance(part, nn.Module):
                self.components[name] = _component(name, part)
            elif _is_config_only(part):
                self.plain[name] = SchedulerSpec(
                    class_name=type(part).__name__,
                    config=_public(dict(part.config)),
                    source="the live pipeline",
                )
            elif isinstance(part, (bool, int, float, str, list, tuple)) and name not in parts:
                self.pipeline_config[name] = part
        if "scheduler" not in self.plain:
            raise InputError(f"the live pipeline {self.pipeline_class} has no scheduler")


def _base(kind: type) -> type:
    """The pipeline's class in diffusers, below any class that a technique or a user derived from it."""
    for base in kind.__mro__:
        if base.__module__.startswith("diffusers.") and "__call__" in vars(base):
            return base
    raise InputError(f"{kind.__name__} is no pipeline class of diffusers")


def _component(name: str, module: Any) -> ComponentSpec:
    library = type(module).__module__.partition(".")[0]
    config = getattr(module, "config", None)
    if library not in ("diffusers", "transformers") or config is None:
        raise InputError(
            f"{name} of the live pipeline is a {type(module).__module__}.{type(module).__name__}, and only classes of diffusers and "
            "transformers can be planned: their configurations say how to build them without weights"
        )
    saved = dict(config) if library == "diffusers" else config.to_dict()
    return ComponentSpec(
        name=name,
        library=_library(type(module)),
        class_name=type(module).__name__,
        config=_public(saved),
        dtype=_dtype(module),
        source="the live pipeline",
    )


def _library(kind: type) -> str:
    """What a saved pipeline's index would say: the package, or the pipeline's own one for a class that diffusers shows nowhere else."""
    import diffusers

    package, _, rest = kind.__module__.partition(".")
    folder, _, rest = rest.partition(".")
    hidden = package == "diffusers" and folder == "pipelines" and not hasattr(diffusers, kind.__name__)
    return rest.partition(".")[0] if hidden else package


def _dtype(module: Any) -> str:
    """The dtype of most floating-point weights; bf16 for weights that are packed in another way."""
    counts: Counter[str] = Counter()
    for tensor in module.parameters():
        counts[str(tensor.dtype)] += tensor.numel()
    known = [_DTYPES[name] for name, _ in counts.most_common() if name in _DTYPES]
    return known[0] if known else "bf16"


def _is_config_only(part: Any) -> bool:
    """A scheduler or a guider: a diffusers class with a configuration and without weights."""
    return (
        part is not None
        and type(part).__module__.startswith("diffusers.")
        and getattr(part, "config", None) is not None
    )


def _public(config: dict[str, Any]) -> dict[str, Any]:
    from workbench.models._folder import NO_ARGUMENTS

    return {
        name: value
        for name, value in config.items()
        if not name.startswith("_") and name not in NO_ARGUMENTS and name != "quantization_config"
    }
