"""Puts a cache of diffusers on a denoiser, so that it really acts, and takes it off again without a trace."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
)
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.hooks.hooks import StateManager
from torch import nn

from workbench._errors import SettingsError
from workbench.models._quiet import without_lines
from workbench.techniques import _foreseen
from workbench.techniques._around import around_calls
from workbench.techniques._cache_kinds import (
    DENOISERS,
    SIDE_STACKS,
    STACKS,
    TEMPORAL_STACKS,
    Denoiser,
    why_not,
)
from workbench.techniques._contexts import Teller
from workbench.techniques._mag_ratios import MAG_RATIOS
from workbench.techniques._technique import Handle
from workbench.techniques._tensors import drop_plain_forward, with_registry

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.techniques.cache import Cache

Parameters = Mapping[str, Any]
_CONFIG = "_cache_config"
"""Attribute in which diffusers remembers that a cache is on."""
_EXPERIMENTAL = ("diffusers.hooks.faster_cache", "FasterCache is a purely experimental feature")


def put_on(pipe: DiffusionPipeline, name: str, module: Any, cache: Cache, *, weightless: bool) -> Handle:
    """Enables one cache on a denoiser.

    Raises:
        SettingsError: it cannot act there, or it would hook nothing.
    """
    kind, given = cache.kind, cache.parameters
    reason = why_not(cache, type(pipe).__name__, type(module).__name__)
    if reason is not None:
        raise SettingsError(f"cache: {reason}")
    if module.is_cache_enabled:
        raise SettingsError(f"cache: {name} has a cache already ({type(module._cache_config).__name__})")
    handle, before = Handle(), with_registry(module)
    denoiser = DENOISERS[type(module).__name__]
    clock, tally = _foreseen.Clock(), _foreseen.Tally()
    config = _CONFIGS[kind](denoiser, given, clock)
    with _blocks_known(module, denoiser), handle.whole_or_not_at_all():
        shadowed = _CONFIG in vars(module)
        handle.undoing(functools.partial(_take_off, module, before, shadowed))
        with without_lines(_EXPERIMENTAL):
            module.enable_cache(config)
        hooks = list(_hooks(module))
        if not hooks:
            raise SettingsError(
                f"cache {kind} with these parameters hooks nothing of {type(module).__name__}"
            )
        for hook in hooks:
            _foresee(hook, given, clock, tally, weightless=weightless)
        managers = _managers(hooks)
        clock.states = managers[0]
        if isinstance(config, _foreseen.RunMagCacheConfig):
            config.curve.states = managers[0]
        asks = kind in ("pab", "fastercache")
        guesses = kind == "fastercache" and denoiser.unconditional is not None
        teller = Teller(pipe, managers, wants_timestep=asks, wants_guidance=guesses)
        handle.did(_sentence(name, kind, denoiser, given, len(hooks)), around_calls(module, "cache", teller))
        if kind == "first_block" and not weightless:
            handle.watch(functools.partial(_said, name, tally, given["hit_rate"]))
    return handle


def _first_block(denoiser: Denoiser, given: Parameters, clock: Any) -> Any:
    return FirstBlockCacheConfig(threshold=given["threshold"])


def _taylorseer(denoiser: Denoiser, given: Parameters, clock: Any) -> Any:
    blocks = rf"({STACKS}|{TEMPORAL_STACKS}|{SIDE_STACKS})\.\d+"
    if given["lite"]:
        patterns = {"cache_identifiers": [denoiser.output], "skip_predict_identifiers": [blocks]}
    else:
        patterns = {"cache_identifiers": [rf"{blocks}\.({denoiser.attention})"]}
    return TaylorSeerCacheConfig(
        cache_interval=given["interval"],
        disable_cache_before_step=given["warmup_steps"],
        max_order=given["order"],
        taylor_factors_dtype=torch.bfloat16,
        **patterns,
    )


def _magcache(denoiser: Denoiser, given: Parameters, clock: Any) -> Any:
    ratios = given["mag_ratios"]
    return _foreseen.RunMagCacheConfig(
        _foreseen.Curve(MAG_RATIOS[ratios] if isinstance(ratios, str) else ratios),
        threshold=given["threshold"],
        max_skip_steps=given["max_skips"],
        retention_ratio=given["retention"],
    )


def _pab(denoiser: Denoiser, given: Parameters, clock: Any) -> Any:
    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=given["interval"],
        temporal_attention_block_skip_range=given["temporal_interval"],
        cross_attention_block_skip_range=given["cross_interval"],
        spatial_attention_timestep_skip_range=given["timesteps"],
        temporal_attention_timestep_skip_range=given["timesteps"],
        cross_attention_timestep_skip_range=given["timesteps"],
        # anchored: "transformer_blocks" is found in "temporal_transformer_blocks" too, "blocks" in a text encoder's refiner
        spatial_attention_block_identifiers=(rf"^{STACKS}\.",),
        temporal_attention_block_identifiers=(rf"^{TEMPORAL_STACKS}\.",),
        cross_attention_block_identifiers=(rf"^({STACKS}|{TEMPORAL_STACKS})\.",),
        current_timestep_callback=clock,
    )


def _fastercache(denoiser: Denoiser, given: Parameters, clock: Any) -> Any:
    weight = given["weight"]
    return FasterCacheConfig(
        spatial_attention_block_skip_range=given["interval"],
        temporal_attention_block_skip_range=given["temporal_interval"],
        spatial_attention_timestep_skip_range=given["timesteps"],
        temporal_attention_timestep_skip_range=given["timesteps"],
        spatial_attention_block_identifiers=(rf"^{STACKS}\.",),
        temporal_attention_block_identifiers=(rf"^{TEMPORAL_STACKS}\.",),
        unconditional_batch_skip_range=given["unconditional_interval"],
        unconditional_batch_timestep_skip_range=given["unconditional_timesteps"],
        attention_weight_callback=lambda _: weight,
        tensor_format=denoiser.unconditional or "BCFHW",
        # "distilled" to diffusers: one branch per call, so that only attention is reused
        is_guidance_distilled=denoiser.unconditional is None,
        current_timestep_callback=clock,
    )


_CONFIGS: Mapping[str, Callable[[Denoiser, Parameters, Any], Any]] = {
    "first_block": _first_block,
    "taylorseer": _taylorseer,
    "magcache": _magcache,
    "pab": _pab,
    "fastercache": _fastercache,
}
_FORESEEN: Mapping[type, type] = {
    base: cls
    for cls in vars(_foreseen).values()
    if isinstance(cls, type)
    for base in cls.__bases__
    if base.__module__.startswith("diffusers.hooks.")
}
"""diffusers' class of a hook -> ours."""


def _foresee(hook: Any, given: Parameters, clock: Any, tally: Any, *, weightless: bool) -> None:
    """Gives a hook the class that tells what it will do, and what that class needs."""
    ours = _FORESEEN.get(type(hook))
    if ours is None:
        return  # a block in the middle of the stack: it does what the first one decided
    hook.__class__ = ours
    if isinstance(hook, _foreseen._PerBranch):
        hook.branch()
    if isinstance(hook, _foreseen.FirstBlock):
        hook.rate, hook.weightless, hook.tally = given["hit_rate"], weightless, tally


@contextlib.contextmanager
def _blocks_known(module: nn.Module, denoiser: Denoiser) -> Iterator[None]:
    """Lets diffusers know the denoiser's blocks while it hooks them: each hook keeps what it is told of its block."""
    TransformerBlockRegistry._register()
    registry = TransformerBlockRegistry._registry
    added = []
    for cls in {type(part) for part in module.modules()}:
        where = denoiser.blocks.get(cls.__name__)
        if where is not None and cls not in registry:
            hidden, encoder = where
            metadata = TransformerBlockMetadata(
                return_hidden_states_index=hidden, return_encoder_hidden_states_index=encoder
            )
            TransformerBlockRegistry.register(cls, metadata)
            added.append(cls)
    try:
        yield
    finally:
        for cls in added:
            del registry[cls]


def _hooks(module: nn.Module) -> Iterator[Any]:
    """The cache hooks on a denoiser, in the order of its modules."""
    for part in module.modules():
        registry = vars(part).get("_diffusers_hook")
        for hook in registry.hooks.values() if registry is not None else ():
            if re.fullmatch(r"diffusers\.hooks\.\w+_(cache|broadcast)", type(hook).__module__):
                yield hook


def _managers(hooks: list[Any]) -> tuple[StateManager, ...]:
    found = {
        id(value): value for hook in hooks for value in vars(hook).values() if isinstance(value, StateManager)
    }
    return tuple(found.values())


def _take_off(module: Any, before: frozenset[nn.Module], shadowed: bool) -> None:
    """Disables the cache and removes what diffusers leaves behind: empty registries, forwards set on instances, a flag."""
    if module.is_cache_enabled:
        module.disable_cache()
    if not shadowed:
        vars(module).pop(_CONFIG, None)
    for part in with_registry(module):
        if part not in before:
            del part._diffusers_hook
        drop_plain_forward(part)


def _sentence(name: str, kind: str, denoiser: Denoiser, given: Parameters, count: int) -> str:
    more = ""
    if kind == "first_block":
        more = f", threshold {given['threshold']:g}"
    elif kind == "fastercache":
        more = ", attention only" if denoiser.unconditional is None else ", attention and half of guidance"
    return f"{name} caches with {kind} ({count} hooks{more})"


def _said(name: str, tally: Any, assumed: float) -> str | None:
    if not tally.asked:
        return None
    rate = tally.skipped / tally.asked
    return (
        f"{name} skipped {tally.skipped} of {tally.asked} calls that could be skipped: a hit rate of {rate:.2f}, "
        f"where {assumed:.2f} was assumed"
    )
