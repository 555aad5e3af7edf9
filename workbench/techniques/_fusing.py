"""Fuses the projections of a network and takes the fused copies out again, of which diffusers leaves some."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn

from workbench._errors import SettingsError
from workbench._units import format_gib
from workbench.techniques._technique import Handle
from workbench.techniques.fused_qkv import FUSED_LAYERS

_FLAG = "fused_projections"
_REMEMBERED = "original_attn_processors"
_ABSENT = object()


def fuse(network: Any, handle: Handle) -> str:
    """Fuses one network in place; the handle undoes it.

    Returns:
        What was done, for a report.

    Raises:
        SettingsError: projections are quantised, and cannot be joined.
    """
    attentions = [module for module in network.modules() if _FLAG in dir(module)]
    if any(getattr(module, _FLAG) for module in attentions):
        return "its projections were fused before, and stay so"
    for module in attentions:
        weight = getattr(getattr(module, "to_k", None), "weight", None)
        if isinstance(weight, Tensor) and type(weight.data) is not Tensor:
            raise SettingsError(
                f"fused_qkv joins weights of {type(network).__name__}, which are quantised already: fuse first"
            )
    flags = [(module, vars(module).get(_FLAG, _ABSENT)) for module in attentions]
    before = vars(network).get(_REMEMBERED, _ABSENT)
    handle.undoing(functools.partial(_undo, network, flags, before))
    network.fuse_qkv_projections()
    added = [part for module in attentions for part in _fused(module).values()]
    num_bytes = sum(p.numel() * p.element_size() for part in added for p in part.parameters())
    return f"{len(added)} fused projections, {format_gib(num_bytes)} beside the separate ones"


def _fused(attention: nn.Module) -> dict[str, nn.Module]:
    return {key: part for key in FUSED_LAYERS if (part := attention._modules.get(key)) is not None}


def _undo(network: Any, flags: list[tuple[nn.Module, Any]], remembered: Any) -> None:
    network.unfuse_qkv_projections()  # the processors; for classes of `Attention` the fused layers stay
    for module, value in flags:
        for key in _fused(module):
            del module._modules[key]
        _restore(module, _FLAG, value)
    _restore(network, _REMEMBERED, remembered)


def _restore(module: Any, key: str, value: Any) -> None:
    if value is not _ABSENT:
        setattr(module, key, value)
    elif key in vars(module):
        delattr(module, key)
