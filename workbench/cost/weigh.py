"""Weighs a module: true stored bytes, where they are, and what the allocator reserves for them."""

from __future__ import annotations

from torch import Tensor, nn

from workbench.cost._trace import round_up
from workbench.cost.allocator import DEFAULT_OPTIONS, Allocator, AllocatorOptions
from workbench.cost.residency import Weights


def stored_parts(tensor: Tensor) -> list[Tensor]:
    """The plain tensors that hold a weight: itself, or packed data and scales of a quantised one.

    The usual counters report a torchao weight at the size it pretends to have; its inner tensors say what it takes.
    """
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None or type(tensor) in (Tensor, nn.Parameter):
        return [tensor, *_quant_state_parts(tensor)]
    names, _ = flatten()
    return [part for name in names for part in stored_parts(getattr(tensor, name))]


def _quant_state_parts(tensor: Tensor) -> list[Tensor]:
    """Scales that bitsandbytes keeps beside a packed weight."""
    state = getattr(tensor, "quant_state", None)
    if state is None:
        return []
    held = [state, state.state2] if getattr(state, "state2", None) is not None else [state]
    return [value for part in held for value in vars(part).values() if isinstance(value, Tensor)]


def own_tensors(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers that belong to the module itself."""
    return [t for store in (module._parameters, module._buffers) for t in store.values() if t is not None]


def weigh(component: nn.Module, options: AllocatorOptions = DEFAULT_OPTIONS) -> Weights:
    """The weights of a component, with the allocator under these options; storages that are shared (tied embeddings) count once."""
    seen: set[int] = set()
    sizes: list[int] = []
    by_module: dict[int, int] = {}
    for module in component.modules():
        total = 0
        for tensor in own_tensors(module):
            for part in stored_parts(tensor):
                key = part.untyped_storage()._cdata
                if key not in seen:
                    seen.add(key)
                    sizes.append(part.untyped_storage().nbytes())
                    total += round_up(sizes[-1])
        by_module[id(module)] = total
    allocator = Allocator(options=options)
    for size in sizes:
        allocator.allocate(size)
    return Weights(
        total_bytes=sum(by_module.values()),
        reserved_bytes=allocator.peak_reserved,
        pinned_bytes=sum(1 << (size - 1).bit_length() for size in sizes if size),
        largest_leaf_bytes=max(
            (by_module[id(m)] for m in component.modules() if next(m.children(), None) is None), default=0
        ),
        blocks=tuple(sum(by_module[id(m)] for m in block.modules()) for block in block_lists(component)),
        num_tensors=len(sizes),
    )


def block_lists(component: nn.Module) -> list[nn.Module]:
    """The blocks that diffusers' block-level group offloading moves: children of the component's own module lists.

    Where the component itself has none (text encoders keep theirs one level down), the longest list found below is taken.
    """
    own = [block for child in component.children() if isinstance(child, nn.ModuleList) for block in child]
    if own:
        return own
    lists = [list(m) for m in component.modules() if isinstance(m, nn.ModuleList) and len(m) > 1]
    return max(lists, key=len, default=[])
