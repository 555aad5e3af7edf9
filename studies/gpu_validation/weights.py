"""Builds a case's networks with random weights of the real dimensions. Needs torch, diffusers and transformers only.

A network is constructed on the meta device by its own class, gets the dtypes that loading gives it, and then storages on the CPU or the
GPU: a chunk of normal numbers copied again and again, which is as fast as memory and far from NaN. No file is read.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor, nn

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_CHUNK = {"cpu": 1 << 20, "cuda": 1 << 23}
"""Numbers in the chunk that weights are filled with. On a GPU over 10 MiB, so that it has a segment of its own and leaves no hole."""
_STD = 0.02
_ALIGNMENT = 512
"""The CUDA allocator rounds requests up to this (c10/cuda/CUDACachingAllocator.cpp, kMinBlockSize)."""


def build(part: Mapping[str, Any], device: str) -> nn.Module:
    """One component in evaluation mode with random weights.

    Args:
        part: `library`, `class_name`, `config` and `dtype` of a case file's component.
        device: `"cpu"` or `"cuda"`.
    """
    kind = component_class(part["library"], part["class_name"])
    dtype = DTYPES[part["dtype"]]
    with torch.device("meta"), _default_dtype(dtype):
        if part["library"] == "transformers":
            module = kind(kind.config_class(**part["config"]))
        else:
            module = made(kind, part["config"])
    nn.Module.to(module, "meta")
    cast_as_loading_does(module, dtype)
    _fill(module, device)
    if device == "cuda":
        torch.cuda.empty_cache()  # of the chunk, before the next component's weights settle in it
    return module.eval()


def component_class(library: str, name: str) -> Any:
    """A class of transformers, of diffusers, or of one of diffusers' pipeline packages."""
    if library == "transformers":
        return getattr(transformers, name)
    if library == "diffusers":
        return getattr(diffusers, name)
    return getattr(importlib.import_module(f"diffusers.pipelines.{library}"), name)


def made(kind: Any, config: Mapping[str, Any]) -> Any:
    """A diffusers class from a configuration; keys that the installed version does not have are passed over."""
    accepted = inspect.signature(kind.__init__).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        return kind(**config)
    return kind(**{name: value for name, value in config.items() if name in accepted})


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def cast_as_loading_does(module: nn.Module, dtype: torch.dtype) -> None:
    """The dtypes of `from_pretrained(torch_dtype=dtype)`: what a checkpoint holds is cast, but for the parts that the class keeps in fp32.

    diffusers: `_keep_in_fp32_modules`, whole segments of the key. transformers: the same list for fp16 only, `..._strict` always.
    """
    if isinstance(module, diffusers.ModelMixin):
        kept = set(module._keep_in_fp32_modules or ())
    else:
        kept = set(getattr(module, "_keep_in_fp32_modules_strict", None) or ())
        if dtype == torch.float16:
            kept |= set(getattr(module, "_keep_in_fp32_modules", None) or ())
    stored = module.state_dict().keys()
    for key, tensor in (*module.named_parameters(), *module.named_buffers()):
        if key in stored and tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if kept & set(key.split(".")) else dtype)


def _fill(module: nn.Module, device: str) -> None:
    """Gives every tensor a storage; one that two modules share (tied embeddings) stays shared."""
    done: dict[int, tuple[Tensor, Tensor]] = {}  # the original is kept, so that its id stays its own
    chunks: dict[torch.dtype, Tensor] = {}

    def filled(name: str, tensor: Tensor) -> Tensor:
        if id(tensor) not in done:
            data = torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device, requires_grad=False
            )
            fill(data, _value(name, tensor), chunks)
            if isinstance(tensor, nn.Parameter):
                data = nn.Parameter(data, requires_grad=tensor.requires_grad)
            done[id(tensor)] = (tensor, data)
        return done[id(tensor)][1]

    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, tensor in store.items():
                if tensor is not None and tensor.is_meta:
                    store[name] = filled(name, tensor)
        for name, value in vars(part).items():  # tensors that a class keeps beside its buffers
            if isinstance(value, Tensor) and value.is_meta:
                object.__setattr__(part, name, filled(name, value))


def _value(name: str, tensor: Tensor) -> float | None:
    """What a tensor is filled with: scales with ones, shifts and indices with zeros, everything else (None) with noise."""
    if not tensor.is_floating_point():
        return 0
    if not isinstance(tensor, nn.Parameter):
        return 1
    if tensor.ndim == 1:
        return 0 if name.endswith("bias") else 1
    return None


def fill(data: Tensor, value: float | None, chunks: dict[torch.dtype, Tensor] | None = None) -> None:
    """Fills a tensor with a number, or with normal noise of a small deviation if that is None."""
    if value is not None:
        data.fill_(value)
        return
    chunks = {} if chunks is None else chunks
    flat = data.as_strided((data.numel(),), (1,)) if data.is_contiguous() else data.reshape(-1)
    if data.dtype not in chunks:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(_CHUNK.get(data.device.type, 1 << 20), generator=generator) * _STD
        chunks[data.dtype] = noise.to(data.dtype).to(data.device)
    chunk = chunks[data.dtype]
    for start in range(0, flat.numel(), chunk.numel()):
        piece = flat[start : start + chunk.numel()]
        piece.copy_(chunk[: piece.numel()])
    if flat.data_ptr() != data.data_ptr():
        data.copy_(flat.view(data.shape))


def stored_bytes(module: nn.Module) -> int:
    """Bytes of a component's weights, each storage rounded up as the CUDA allocator does; shared storages count once."""
    sizes: dict[int, int] = {}
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for tensor in store.values():
                for inner in _inner(tensor) if tensor is not None else ():
                    storage = inner.untyped_storage()
                    sizes[storage._cdata] = -(-storage.nbytes() // _ALIGNMENT) * _ALIGNMENT
    return sum(sizes.values())


def _inner(tensor: Tensor) -> list[Tensor]:
    """The plain tensors in a weight: packed data and scales of a quantised one."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None or type(tensor) in (Tensor, nn.Parameter):
        return [tensor]
    return [inner for name in flatten()[0] for inner in _inner(getattr(tensor, name))]
