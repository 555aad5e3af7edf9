"""From a case to something that can be called: the pipeline around random weights, its arguments, the techniques on it.

Needs torch, diffusers and transformers (accelerate where weights are offloaded). The workbench's own `apply_all` and stand-ins are used
where it can be imported, because they are what must keep its word; else diffusers' own calls, for what has a plain equivalent.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from torch import Tensor, nn
from weights import DTYPES, fill, made

PLAIN = "GPU_VALIDATION_PLAIN"
"""Environment variable: if it is set, the workbench is not used even where it can be imported."""
PROMPT_TOKENS = 32
"""Real tokens of a stand-in prompt, as the workbench's stand-in has; only a pipeline that cuts the padding off sees it."""


class NeedsWorkbenchError(Exception):
    """A technique of this case has no plain equivalent, and the workbench cannot be imported."""


def workbench_or_none() -> Any:
    """The workbench's `apply_all`, `Settings` and stand-ins, or None with the reason why not in `.error`."""
    if os.environ.get(PLAIN):
        return SimpleNamespace(there=False, error=f"{PLAIN} is set")
    try:
        from workbench.models._standins import lend_transforms, stand_in
        from workbench.techniques import Settings, apply_all
    except Exception as error:  # noqa: BLE001 - whatever its imports raise on a foreign machine, the run goes on without it
        return SimpleNamespace(there=False, error=f"{type(error).__name__}: {error}")
    return SimpleNamespace(
        there=True,
        error="",
        Settings=Settings,
        apply_all=apply_all,
        stand_in=stand_in,
        lend_transforms=lend_transforms,
    )


# --- the pipeline -----------------------------------------------------------------------------------------------------


class Tokens(dict):  # type: ignore[type-arg]
    """What a tokenizer answers: keys that are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, *args: Any) -> Tokens:
        """On another device."""
        return Tokens({name: value.to(*args) for name, value in self.items()})


class Tokenizer:
    """Answers like a tokenizer: `PROMPT_TOKENS` ones, padded with zeros to `max_length` where that is asked for."""

    model_max_length = 77
    padding_side = "right"
    pad_token_id = 0
    eos_token_id = bos_token_id = 1

    def __call__(self, text: Any = None, **options: Any) -> Tokens:
        """Ids and mask, [prompts, length], int64."""
        count = len(text) if isinstance(text, list) else 1
        length = PROMPT_TOKENS
        if options.get("padding") == "max_length":
            length = options.get("max_length") or self.model_max_length
        ids = torch.zeros(count, length, dtype=torch.int64)
        ids[:, :PROMPT_TOKENS] = 1
        return Tokens(input_ids=ids, attention_mask=ids.clone())

    def batch_decode(self, ids: Any, **options: Any) -> list[str]:
        """No text per row."""
        return [""] * len(ids)


def assemble(model: Mapping[str, Any], modules: Mapping[str, nn.Module], workbench: Any) -> Any:
    """The model's pipeline class around these modules; other networks are None, tokenizers are stand-ins."""
    kind = getattr(diffusers, model["pipeline_class"])
    given = {
        **{part["name"]: modules.get(part["name"]) for part in model["components"]},
        **{
            name: made(getattr(diffusers, part["class_name"]), part["config"])
            for name, part in model["plain"].items()
        },
        **model["pipeline_config"],
    }
    for name in list(inspect.signature(kind.__init__).parameters)[1:]:
        if name not in given and (member := _stand_in(name, modules, workbench)) is not None:
            given[name] = member
    if workbench.there:
        workbench.lend_transforms(modules.values())
    pipe = kind(**given)
    if model["always_tiled"] and modules.get("vae") is not None:
        pipe.vae.enable_tiling()
    home = sys.modules[kind.__module__]
    if hasattr(home, "ftfy_clean") or hasattr(
        home, "basic_clean"
    ):  # they clean the prompt with ftfy, which may not be installed
        vars(home).setdefault("ftfy", SimpleNamespace(fix_text=lambda text: text))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _stand_in(name: str, modules: Mapping[str, nn.Module], workbench: Any) -> Any:
    if workbench.there:
        encoder = modules.get(name.replace("tokenizer", "text_encoder"))
        return workbench.stand_in(name, None, getattr(encoder, "config", None))
    return Tokenizer() if name.startswith("tokenizer") else None


def networks(pipe: Any) -> dict[str, nn.Module]:
    """The neural networks of a pipeline by its own names."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


# --- arguments --------------------------------------------------------------------------------------------------------


def value_of(data: Any, device: str) -> Any:
    """An argument from its JSON: see `predict.encoded`."""
    if isinstance(data, list):
        return [value_of(item, device) for item in data]
    if not isinstance(data, dict):
        return data
    if "$tensor" in data:
        return _tensor(data, device)
    if "$tuple" in data:
        return tuple(value_of(item, device) for item in data["$tuple"])
    if "$image" in data:
        from PIL import Image

        return Image.new("RGB", tuple(data["$image"]))
    if "$dtype" in data:
        return getattr(torch, data["$dtype"])
    return {name: value_of(item, device) for name, item in data.items()}


def _tensor(data: Mapping[str, Any], device: str) -> Tensor:
    name, shape = data["$tensor"]
    dtype = getattr(torch, name)
    if "values" in data:
        return torch.tensor(data["values"], dtype=dtype, device=device).reshape(shape)
    if "stride" in data:
        found = torch.empty_strided(shape, data["stride"], dtype=dtype, device=device)
    else:
        found = torch.empty(shape, dtype=dtype, device=device)
    fill(found, None if dtype.is_floating_point else 1)
    return found


# --- techniques -------------------------------------------------------------------------------------------------------


def apply(pipe: Any, settings: Mapping[str, Any], workbench: Any) -> tuple[str, list[str]]:
    """Applies a case's settings.

    Returns:
        By what (`workbench`, `diffusers`, or `nothing` where there is nothing to apply), and sentences.

    Raises:
        NeedsWorkbenchError: a technique has no plain equivalent here.
    """
    if not settings:
        return "nothing", []
    why = workbench.error
    if workbench.there:
        try:
            return "workbench", list(
                workbench.apply_all(pipe, workbench.Settings.parse(dict(settings))).report
            )
        except ImportError as error:  # torchao or bitsandbytes; what is applied is undone again
            why = f"{type(error).__name__}: {error}"
    for name, value in settings.items():
        if not _is_plain(name, value):
            raise NeedsWorkbenchError(f"{name} {dict(value)} ({why})")
    for name in sorted(
        settings, key=lambda name: name == "offload"
    ):  # offloading last: it moves what is then stored
        _PLAIN[name](pipe, settings[name])
    return "diffusers", [f"the workbench was not used: {why}"]


_PLAIN_OFFLOAD = frozenset({"mode", "components", "blocks_per_group", "stream"})
"""Parameters that `_offload` passes on; with any other one a case would measure something else than it says."""


def _is_plain(name: str, value: Mapping[str, Any]) -> bool:
    if name == "quantization":
        return all(
            kind == "fp8_storage" and part.startswith(("transformer", "unet")) for part, kind in value.items()
        )
    if name == "cache":
        return value.get("kind") == "first_block"
    if name == "vae_tiling":
        return not value
    if name == "offload":
        return value.keys() <= _PLAIN_OFFLOAD
    return name in _PLAIN


def _offload(pipe: Any, value: Mapping[str, Any]) -> None:
    if not torch.cuda.is_available() or value["mode"] == "none":
        return
    if value["mode"] == "model":
        pipe.enable_model_cpu_offload()
    elif value["mode"] == "sequential":
        pipe.enable_sequential_cpu_offload()
    else:
        grouped = value.get("components") or [name for name in networks(pipe) if not name.startswith("vae")]
        for name in networks(pipe):
            if name not in grouped:
                getattr(pipe, name).to("cuda")
        pipe.enable_group_offload(
            onload_device=torch.device("cuda"),
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=value.get("blocks_per_group", 1),
            use_stream=value.get("stream", False),
            exclude_modules=[name for name in networks(pipe) if name not in grouped],
        )


def _dtype(pipe: Any, value: Mapping[str, str]) -> None:
    for name, dtype in value.items():
        getattr(pipe, name).to(DTYPES[dtype])


def _small_storage(pipe: Any, value: Mapping[str, str]) -> None:
    for name in value:
        part = getattr(pipe, name)
        part.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=part.dtype)


def _first_block_cache(pipe: Any, value: Mapping[str, Any]) -> None:
    for name, part in networks(pipe).items():
        if name.startswith(("transformer", "unet")):
            part.enable_cache(diffusers.FirstBlockCacheConfig(threshold=value.get("threshold") or 0.1))


_PLAIN = {
    "offload": _offload,
    "dtype": _dtype,
    "quantization": _small_storage,
    "cache": _first_block_cache,
    "vae_tiling": lambda pipe, _: pipe.vae.enable_tiling(),
    "vae_slicing": lambda pipe, _: pipe.vae.enable_slicing(),
    "steps": lambda pipe, _: None,  # the case's arguments have them
}
