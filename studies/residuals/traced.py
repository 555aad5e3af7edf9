"""What is traced for the figures of `figures.csv`: a VAE's decode and encode, and a denoiser's activations per token."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from workbench._rehearsing import Rehearsing, Workshop
from workbench._units import GIB
from workbench.cost._calls import Call
from workbench.cost.rehearsal import Target, retrace
from workbench.cost.weigh import weigh
from workbench.models import Workload, resolve_model
from workbench.techniques import Settings

BLOCKS = 2
"""Blocks of a traced denoiser: they die before the next begins, so the peak grows with the tokens as in the whole one."""


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """A meta tensor."""
    return torch.empty(*shape, dtype=dtype, device="meta")


def built(cls: str, dtype: torch.dtype, **config: Any) -> nn.Module:
    """A network of diffusers on the meta device, its configuration the class's own but for `config`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            network: nn.Module = getattr(diffusers, cls)(**config).eval()
    finally:
        torch.set_default_dtype(before)
    return network


def peak_gib(component: str, name: str, network: nn.Module, kwargs: Mapping[str, Any]) -> float:
    """GiB alive at the peak of one call, its arguments included and the weights not."""
    given = sum(value.nbytes for value in kwargs.values() if isinstance(value, Tensor))
    trace = retrace(Call(component, name, (), dict(kwargs)), network, Target())
    return (given + trace.peak()) / GIB


@functools.cache
def _qwen_vae() -> tuple[nn.Module, float]:
    network = built("AutoencoderKLQwenImage", torch.float16)
    return network, weigh(network).total_bytes / GIB


def qwen_vae(what: str, height: int, width: int) -> float:
    """Allocated GiB at the peak of Qwen-Image's VAE in fp16, of one image; `what` is `decode` or `encode`."""
    network, weights = _qwen_vae()
    if what == "decode":
        kwargs = {"z": empty(1, 16, 1, height // 8, width // 8, dtype=torch.float16)}
    else:
        kwargs = {"x": empty(1, 3, 1, height, width, dtype=torch.float16)}
    return weights + peak_gib("vae", f"AutoencoderKLQwenImage.{what}", network, kwargs)


def _krea(tokens: int) -> dict[str, Any]:
    text = 512
    return {
        "hidden_states": empty(1, tokens - text, 64),
        "encoder_hidden_states": empty(1, text, 12, 2560),
        "timestep": empty(1),
        "position_ids": empty(tokens, 3, dtype=torch.float32),
        "return_dict": False,
    }


def _ideogram(tokens: int) -> dict[str, Any]:
    whole = torch.int64
    return {
        "hidden_states": empty(1, tokens, 128),
        "encoder_hidden_states": empty(1, tokens, 53248),
        "timestep": empty(1),
        "position_ids": empty(1, tokens, 3, dtype=whole),
        "segment_ids": empty(1, tokens, dtype=whole),
        "indicator": empty(1, tokens, dtype=whole),
        "return_dict": False,
    }


def _minimax(tokens: int) -> dict[str, Any]:
    text, sound, whole = 256, 512, torch.int64
    video = tokens - text - sound
    return {
        "hidden_states": empty(1, video, 96),
        "audio_hidden_states": empty(1, sound, 32),
        "encoder_hidden_states": empty(1, text, 5120),
        "timestep": empty(2, dtype=torch.float32),
        "timestep_indices": empty(tokens, dtype=whole),
        "token_tags": empty(tokens, dtype=whole),
        "position_ids": empty(tokens, 3, dtype=torch.float32),
        "video_indices": empty(video, dtype=whole),
        "audio_indices": empty(sound, dtype=whole),
        "text_indices": empty(text, dtype=whole),
        "return_dict": False,
    }


_NETWORKS: Mapping[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "krea-2": ("Krea2Transformer2DModel", _krea),
    "minimax-h3": ("MiniMaxH3Transformer3DModel", _minimax),
    "ideogram-4": ("Ideogram4Transformer2DModel", _ideogram),
}
"""Networks outside our catalogue: the class, whose own configuration is taken for the released one, and its arguments."""

_TOKENS = (8192, 16384)


def slope(model: str) -> float:
    """GiB that 1000 more tokens add to a denoiser's peak in bf16."""
    if model in _NETWORKS:
        cls, kwargs = _NETWORKS[model]
        network = built(cls, torch.bfloat16, num_layers=BLOCKS)
        low, high = (peak_gib("transformer", cls, network, kwargs(tokens)) for tokens in _TOKENS)
    else:
        low, high = (_catalogued(model, tokens) for tokens in _TOKENS)
    return (high - low) / (_TOKENS[1] - _TOKENS[0]) * 1000


def _catalogued(model: str, tokens: int) -> float:
    """The denoiser's call of a model of the catalogue, the one with a single clip, at another number of video tokens."""
    call, network = _single_clip(model)
    now = call.kwargs["hidden_states"].shape[1]

    def resized(value: Any) -> Any:
        if not isinstance(value, Tensor) or now not in value.shape:
            return value
        return empty(*(tokens if size == now else size for size in value.shape), dtype=value.dtype)

    kwargs = {name: resized(value) for name, value in call.kwargs.items()}
    given = sum(value.nbytes for value in kwargs.values() if isinstance(value, Tensor))
    return (given + retrace(replace(call, kwargs=kwargs), network, Target()).peak()) / GIB


@functools.cache
def _single_clip(model: str) -> tuple[Call, nn.Module]:
    workload = Workload.for_model(model, frames=17, height=256, width=384, steps=2)
    run = Rehearsing(Workshop(resolve_model(model), workload), Settings())
    calls = [call for call in run.calls.values() if call.component == "transformer"]
    smallest = min(calls, key=lambda call: call.kwargs["hidden_states"].shape[0])
    return smallest, run.pipe.transformer
