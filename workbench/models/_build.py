"""Builds the real pipeline of a catalogue row without weights: every module on the meta device, dtypes as loading gives them.

The classes are diffusers' and transformers' own, so what is traced is the code that will run. The dtypes follow the rules of
`from_pretrained` of both packages, parts kept in fp32 included; a test loads saved pipelines and compares every tensor.
Imports torch and diffusers (seconds): import this module only where a pipeline is needed.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from workbench._errors import InputError, UnknownNameError
from workbench.models._quiet import quiet_imports
from workbench.models._spec import ComponentSpec, ModelSpec

with quiet_imports():
    import diffusers
    import transformers

    from workbench.models._call import call_kwargs as call_kwargs
    from workbench.models._call import set_guidance as set_guidance
    from workbench.models._standins import lend_transforms, stand_in

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def build_meta_pipeline(
    spec: ModelSpec, components: Iterable[str] | None = None
) -> diffusers.DiffusionPipeline:
    """The pipeline of this row without weights, ready for `pipe(**call_kwargs(spec, workload, pipe))` under a tracer.

    Args:
        components: names of the only components to build, to save time; the others are None. None builds all.
            Without the VAE the pipeline assumes a compression of 4x8x8, as diffusers does.

    Raises:
        UnknownNameError: a name in `components` that the model does not have.
    """
    wanted = spec.component_names() if components is None else tuple(components)
    for name in wanted:
        spec.component(name)
    modules = {
        name: build_component(spec, name) if name in wanted else None for name in spec.component_names()
    }
    return assemble(spec, modules)


def build_component(spec: ModelSpec, name: str, device: str = "meta") -> torch.nn.Module:
    """One component of this row in evaluation mode: on `meta` without weights, on `cpu` with the class's random ones.

    Weights require gradients, as loading leaves them: even where none are computed, PyTorch looks at that to decide whether a product
    with a transposed operand copies it into one large product or becomes a batch of small ones (`should_fold`, LinearAlgebra.cpp).

    Raises:
        UnknownNameError: the model has no component of that name.
    """
    part = spec.component(name)
    component_class(part)  # imported first: its module's own tensors (Cosmos: wavelets) serve real models too
    with torch.device(device):
        module = construct(part)
    torch.nn.Module.to(module, device)  # what was made from a tensor elsewhere, or by `torch.Tensor(...)`
    _cast_as_loading_does(module, part.dtype)
    return module.eval()


def loading_dtypes(module: torch.nn.Module, dtype: str) -> dict[str, torch.dtype]:
    """The dtype that each parameter and buffer of this component has when it is loaded in `dtype` instead.

    A weightless twin is built from the component's own class and configuration, so that what the constructor and the
    loader keep in another dtype is kept here too.
    """
    with torch.device("meta"), _default_dtype(TORCH_DTYPES[dtype]):
        kind: Any = type(module)
        twin = kind.from_config(module.config) if _is_diffusers(module) else kind(module.config)
    _cast_as_loading_does(twin, dtype)
    return {key: tensor.dtype for key, tensor in (*twin.named_parameters(), *twin.named_buffers())}


def construct(part: ComponentSpec) -> torch.nn.Module:
    """The component of its real class, under its loading dtype as default dtype, on the current default device."""
    model_class = component_class(part)
    with _default_dtype(TORCH_DTYPES[part.dtype]):
        if part.library == "transformers":
            return model_class(model_class.config_class(**part.config))
        return made(model_class, part.config)


def made(kind: Any, config: Mapping[str, Any]) -> Any:
    """A diffusers class from a configuration; as in `from_config`, keys that this version's class does not have are passed over."""
    accepted = inspect.signature(kind.__init__).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        return kind(**config)
    return kind(**{name: value for name, value in config.items() if name in accepted})


def component_class(part: ComponentSpec) -> Any:
    """The class of a component.

    Raises:
        UnknownNameError: the installed version of its library has none of that name.
    """
    if part.library == "transformers":
        return _class(transformers, part.class_name)
    return _diffusers_class(part.library, part.class_name)


def assemble(
    spec: ModelSpec, modules: Mapping[str, torch.nn.Module | None], tokenizer: object | None = None
) -> diffusers.DiffusionPipeline:
    """The row's pipeline class around these modules, with the row's scheduler and stand-ins for what has no weights.

    Args:
        tokenizer: takes the place of the stand-in for `tokenizer`.
    """
    pipeline_class = _class(diffusers, spec.pipeline_class)
    lend_transforms(module for module in modules.values() if module is not None)
    with quiet_imports(), _deprecations_ignored():
        plain = {
            name: made(_class(diffusers, part.class_name), part.config)
            for name, part in {"scheduler": spec.scheduler, **spec.extras}.items()
        }
    if tokenizer is not None:
        plain["tokenizer"] = tokenizer
    given = {**modules, **plain, **spec.pipeline_config}
    missing = [name for name in inspect.signature(pipeline_class.__init__).parameters if name not in given]
    size = _image_size(modules)
    others = {name: stand_in(name, size, _encoder_config(modules, name)) for name in missing[1:]}
    try:
        pipe = pipeline_class(**given, **{name: part for name, part in others.items() if part is not None})
    except TypeError as error:  # a member that neither the row nor a stand-in provides
        raise InputError(f"{spec.pipeline_class} cannot be built for {spec.name}: {error}") from error
    if spec.always_tiled and modules.get("vae") is not None:
        pipe.vae.enable_tiling()
    return pipe


@contextmanager
def _deprecations_ignored() -> Iterator[None]:
    """What diffusers' own classes use of NumPy and PyTorch is for diffusers to change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _image_size(modules: Mapping[str, torch.nn.Module | None]) -> int | None:
    """Pixels per side that the image encoder reads, if there is one and it says so; a text encoder may have one inside."""
    for name in ("image_encoder", *modules):
        config = getattr(modules.get(name), "config", None)
        size: int | None = getattr(getattr(config, "vision_config", config), "image_size", None)
        if name.startswith(("image_encoder", "text_encoder")) and size is not None:
            return size
    return None


def _encoder_config(modules: Mapping[str, torch.nn.Module | None], tokenizer: str) -> object:
    """Configuration of the text encoder of a tokenizer, by diffusers' naming: `tokenizer_2` is of `text_encoder_2`."""
    return getattr(modules.get(tokenizer.replace("tokenizer", "text_encoder")), "config", None)


def _diffusers_class(library: str, name: str) -> Any:
    """A class of diffusers, or of one of its pipelines' packages."""
    if library == "diffusers":
        return _class(diffusers, name)
    with quiet_imports():
        return _class(importlib.import_module(f"diffusers.pipelines.{library}"), name)


def _class(library: Any, name: str) -> Any:
    """The class of that name; the libraries import their parts when they are first asked for, hence the quiet."""
    try:
        with quiet_imports():
            return getattr(library, name)
    except AttributeError:
        version = sys.modules[library.__name__.partition(".")[0]].__version__
        raise UnknownNameError(f"{library.__name__} {version} has no class {name!r}") from None


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Both libraries construct a model under the dtype that it is loaded in; what the constructor fixes stays as it fixes it."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


def _cast_as_loading_does(module: torch.nn.Module, dtype: str) -> None:
    """Gives every floating-point weight the dtype that `from_pretrained` of its library gives it.

    Non-persistent buffers (rotary tables, for example) are not in a checkpoint, so loading leaves them as constructed.
    """
    stored = module.state_dict().keys()
    for key, tensor in (*module.named_parameters(), *module.named_buffers()):
        if key in stored and tensor.is_floating_point():
            tensor.data = tensor.data.to(_loading_dtype(module, TORCH_DTYPES[dtype], key, tensor.dtype))


def _loading_dtype(
    module: torch.nn.Module, dtype: torch.dtype, key: str, constructed: torch.dtype
) -> torch.dtype:
    if _is_diffusers(module):
        # diffusers/models/model_loading_utils.py, load_model_dict_into_meta: a whole segment of the key names a kept module.
        kept = module._keep_in_fp32_modules or ()
        return torch.float32 if set(kept) & set(key.split(".")) else dtype
    # transformers/core_model_loading.py: the plan's patterns are searched in the key, otherwise the constructed dtype stays.
    # T5's `wo` is in the plan for fp16 and not for bf16; the plan is the library's own, so another version's rule is followed.
    for pattern, kept_dtype in module._get_dtype_plan(dtype).items():
        if re.search(pattern.replace("*", ".*"), key):
            return kept_dtype
    return constructed


def _is_diffusers(module: torch.nn.Module) -> bool:
    """Whether the class is diffusers' (else transformers'); the two load differently."""
    return isinstance(module, _model_mixin())


@functools.cache
def _model_mixin() -> type:
    """The base of diffusers' models; looking it up imports the quantisation backends, so it is done once and quietly."""
    base: type = _class(diffusers, "ModelMixin")
    return base
