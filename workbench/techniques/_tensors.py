"""Weights while techniques change them: originals that are kept, devices that are remembered, hooks that are taken off again."""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def modules_of(pipe: DiffusionPipeline) -> dict[str, nn.Module]:
    """The neural networks of a pipeline by the pipeline's own names."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


def is_weightless(pipe: DiffusionPipeline) -> bool:
    """Whether the pipeline's weights are on the meta device, so that nothing can be moved or computed."""
    return any(tensor.is_meta for module in modules_of(pipe).values() for tensor in module.parameters())


def kept(tensor: Tensor) -> Tensor:
    """An original to put back later. It costs host RAM, never VRAM: one that is on the GPU is copied from it."""
    return tensor if tensor.device.type in ("cpu", "meta") else tensor.to("cpu")


def stores(module: nn.Module) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(full name, the dictionary that holds it, its key there) of every parameter and buffer.

    By place, not by object: offloading libraries put other `Parameter` objects in the same places.
    """
    for path, owner in module.named_modules():
        for store in (owner._parameters, owner._buffers):
            for key, tensor in store.items():
                if tensor is not None:
                    yield f"{path}.{key}" if path else key, store, key


def put_back(store: dict[str, Any], key: str, original: Tensor) -> None:
    """Gives a parameter or buffer its original data, on the device where it now is."""
    store[key].data = original if original.is_meta else original.to(store[key].device)


def with_registry(module: nn.Module) -> frozenset[nn.Module]:
    """Parts of a module that have a registry of diffusers hooks; pipelines make one on their denoiser in passing."""
    return frozenset(part for part in module.modules() if "_diffusers_hook" in vars(part))


def forget_hooks(module: nn.Module, names: tuple[str, ...], before: frozenset[nn.Module]) -> None:
    """Takes diffusers hooks of these names off a module and everything below it.

    diffusers has no public way to switch off group offloading or layerwise casting.

    Args:
        before: what `with_registry` said before the hooks were put on; the other registries go.
    """
    for part in with_registry(module):
        for name in names:
            part._diffusers_hook.remove_hook(name, recurse=False)
        if part not in before:
            del part._diffusers_hook
        drop_plain_forward(part)


def drop_plain_forward(module: nn.Module) -> None:
    """Deletes a `forward` that was set on the instance and is the class's own again."""
    forward = vars(module).get("forward")
    if isinstance(forward, MethodType) and forward.__func__ is type(module).forward:
        del module.forward


def move(module: nn.Module, device: torch.device) -> None:
    """Moves a module; diffusers' own `to` warns about half precision on the CPU, which is meant here."""
    nn.Module.to(module, device)
