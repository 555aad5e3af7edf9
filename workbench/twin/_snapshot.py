"""All that a technique may change of a pipeline, as a value: taken before and after, it shows what was left behind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_STEADY = (bool, int, float, str, tuple, type(None), torch.dtype)


def snapshot(pipe: Any) -> dict[str, Any]:
    """All that a technique may change, by place: tensors by identity of their memory, plain attributes by value."""
    state: dict[str, Any] = {
        "class": type(pipe),
        "scheduler": (type(pipe.scheduler), dict(pipe.scheduler.config)),
    }
    for name, component in pipe.components.items():
        if isinstance(component, nn.Module):
            for path, module in component.named_modules():
                state |= {f"{name}.{path}:{key}": value for key, value in _module_state(module).items()}
    return state


def hooked_modules(pipe: Any) -> int:
    """How many modules of a pipeline have a hook of accelerate or diffusers, or a forward of their own."""
    return sum(
        "_hf_hook" in vars(module)
        or bool(getattr(vars(module).get("_diffusers_hook"), "hooks", None))
        or "forward" in vars(module)
        for component in pipe.components.values()
        if isinstance(component, nn.Module)
        for module in component.modules()
    )


def _module_state(module: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {"class": type(module)}
    for key, value in (*module._parameters.items(), *module._buffers.items()):
        state[key] = None if value is None else _tensor_state(value)
    for key, value in vars(module).items():
        if key not in ("_parameters", "_buffers", "_modules"):
            hooks = len(value) if key.endswith("_hooks") and hasattr(value, "__len__") else None
            # counters and caches that a call renews are compared by type only
            state[f".{key}"] = value if isinstance(value, _STEADY) else (type(value), hooks)
    processor = vars(module).get("processor")
    if processor is not None:
        state["processor"] = str(vars(processor))
    return state


def _tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    return (type(tensor), tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.requires_grad)
