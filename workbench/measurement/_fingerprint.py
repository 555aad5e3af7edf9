"""Tells pipelines and folders apart by what they hold, without reading all of it. Touches the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_VALUES: Final = 16
"""Values that are looked at of each tensor, evenly spread: an adapter that was fused or a weight that was trained shows in them."""


def fingerprint_of(pipe: DiffusionPipeline) -> str:
    """A text that equal pipelines share: classes and configurations of the components, names, shapes, dtypes and samples of the weights,
    switches such as tiling, processors of attention, and hooks.

    Where the weights lie does not matter. Samples are of the values as stored, so quantised weights differ from plain ones.
    """
    import torch
    from torch import nn

    digest = hashlib.sha256(type(pipe).__name__.encode())
    for name, part in sorted(pipe.components.items()):
        digest.update(f"{name} {type(part).__module__}.{type(part).__qualname__}".encode())
        if isinstance(part, nn.Module):
            tensors = {
                key: value for key, value in part.state_dict().items() if isinstance(value, torch.Tensor)
            }
            for key, tensor in tensors.items():
                digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(_sample(tensor))
            digest.update(json.dumps(_switches(part), sort_keys=True).encode())
        elif hasattr(part, "config"):
            digest.update(_plain(part.config).encode())
    return digest.hexdigest()


def _sample(tensor: Any) -> bytes:
    """Some values of a tensor, as bytes."""
    import torch

    plain = tensor.dequantize() if hasattr(tensor, "dequantize") and tensor.is_quantized else tensor
    if plain.device.type == "meta" or not plain.numel():
        return b""
    count = min(_VALUES, plain.numel())
    at = torch.arange(count) * (plain.numel() - 1) // max(1, count - 1)
    flat = plain.detach().reshape(-1) if plain.is_contiguous() else plain.detach().contiguous().reshape(-1)
    return bytes(flat[at.to(flat.device)].double().cpu().numpy().tobytes())


def _switches(part: Any) -> list[Any]:
    """What was switched on a component after it was loaded: plain attributes, processors, hooks, replaced forwards."""
    found = []
    for name, module in part.named_modules():
        processor = getattr(module, "processor", None)
        found.append(
            [
                name,
                _plain_values(module, lambda key: not key.startswith("_") and key != "name_or_path"),
                type(processor).__name__,
                {} if processor is None else _plain_values(processor, lambda key: True),
                "forward" in vars(module),
                len(module._forward_hooks) + len(module._forward_pre_hooks),
            ]
        )
    return found


def _plain_values(thing: Any, is_wanted: Callable[[str], bool]) -> dict[str, Any]:
    return {
        key: value
        for key, value in getattr(thing, "__dict__", {}).items()
        if is_wanted(key) and isinstance(value, (bool, int, float, str, type(None)))
    }


def _plain(config: Any) -> str:
    """A configuration without what says only where it was read from."""
    kept = {key: value for key, value in dict(config).items() if not str(key).startswith("_")}
    return json.dumps(kept, sort_keys=True, default=str)


def folder_fingerprint(folder: Path) -> str:
    """Names, sizes and times of the files of a saved pipeline: another set of weights in the same folder is another text."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            stat = path.stat()
            digest.update(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()
