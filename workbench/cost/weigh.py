"""Weighs a module: true stored bytes, where they are, and what the allocator reserves for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def weigh(component: nn.Module, options: AllocatorOptions = DEFAULT_OPTIONS) -> Weights:
    """The weights of a component, with the allocator under these options; storages that are shared (tied embeddings) count once."""
    own = {module: _own(module, component) for module in component.modules()}
    storages = _together(own.values())
    allocator = Allocator(options=options)
    for size in storages.values():
        allocator.allocate(size)
    owner, blocks = grouped_blocks(component)
    inside = _together(own[module] for module in owner.modules())
    of_blocks = _apart([_together(own[module] for module in block.modules()) for block in blocks])
    moved = {
        module: {key: size for key, (size, moves) in held.items() if moves} for module, held in own.items()
    }
    every = {module: _together((held,)) for module, held in own.items()}
    layers = _apart([_together((own[module],)) for module in owner.modules() if own[module]])
    unmoved = storages.keys() - {key for held in moved.values() for key in held}
    return Weights(
        total_bytes=_allocated(storages),
        reserved_bytes=allocator.peak_reserved,
        pinned_bytes=_pinned(storages),
        largest_leaf_bytes=_most_at_once(component, moved)[0],
        blocks=tuple(_allocated(held) for held in of_blocks),
        blocks_pinned=tuple(_pinned(held) for held in of_blocks),
        outside_bytes=_allocated({key: size for key, size in storages.items() if key not in inside}),
        largest_layer_bytes=_most_at_once(owner, every)[0],
        leaf_window_bytes=_most_at_once(owner, every)[1],
        unmoved_bytes=_allocated({key: storages[key] for key in unmoved}),
        layers=tuple(_allocated(part) for part in layers),
        num_tensors=len(storages),
    )


_Own = Mapping[int, tuple[int, bool]]
"""A module's own storages: id -> (bytes, whether accelerate moves them with the module)."""
_Sizes = Mapping[int, int]
"""Storages: id -> bytes."""


def _own(module: nn.Module, component: nn.Module) -> _Own:
    """accelerate's `cpu_offload` moves parameters, and persistent buffers where diffusers asks for buffers, which it does for a component
    that has parameters of its own (`enable_sequential_cpu_offload`). The other buffers it puts on the GPU for good."""
    with_buffers = len(component._parameters) > 0
    found: dict[int, tuple[int, bool]] = {}
    for store, moves in ((module._parameters, True), (module._buffers, with_buffers)):
        for name, tensor in store.items():
            if tensor is None:
                continue
            moves_too = moves and name not in module._non_persistent_buffers_set
            for part in stored_parts(tensor):
                storage = part.untyped_storage()
                found.setdefault(storage._cdata, (storage.nbytes(), moves_too))
    return found


def _together(held: Iterable[_Own]) -> dict[int, int]:
    return {key: size for own in held for key, (size, _) in own.items()}


def _apart(blocks: list[dict[int, int]]) -> list[dict[int, int]]:
    """The storages of each block, those that an earlier one has too left out."""
    seen: set[int] = set()
    found = []
    for held in blocks:
        found.append({key: size for key, size in held.items() if key not in seen})
        seen |= held.keys()
    return found


def _allocated(storages: _Sizes) -> int:
    return sum(round_up(size) for size in storages.values())


def _pinned(storages: _Sizes) -> int:
    return sum(1 << (size - 1).bit_length() for size in storages.values() if size)


def _most_at_once(component: nn.Module, own: Mapping[nn.Module, _Sizes]) -> tuple[int, int]:
    """(most bytes, the same with the next module's) that are there when each module's own weights come for its forward: they meet those
    of the modules around it. Modules are taken to run in the order in which they are registered."""
    paths = {component: _allocated(own[component])}
    order = []
    for module in component.modules():  # parents first
        if own[module]:
            order.append(module)
        for child in module.children():
            paths.setdefault(child, paths[module] + _allocated(own[child]))
    following = [_allocated(own[module]) for module in order[1:]] + [0]
    return (
        max((paths[module] for module in order), default=0),
        max((paths[module] + later for module, later in zip(order, following, strict=True)), default=0),
    )


def grouped_blocks(component: nn.Module) -> tuple[nn.Module, list[nn.Module]]:
    """The part of a component that group offloading is given, and the blocks that diffusers finds there.

    A diffusers model is given whole. A text encoder keeps its blocks further down, and group offloading looks at direct children only
    (`_apply_group_offloading_block_level`), so it is given the module that holds the longest list.
    """
    owner = component if hasattr(component, "enable_group_offload") else block_owner(component)
    return owner, _blocks_of(owner, frozenset(getattr(owner, "_group_offload_block_modules", None) or ()))


def _blocks_of(owner: nn.Module, block_modules: frozenset[str]) -> list[nn.Module]:
    found: list[nn.Module] = []
    for name, child in owner.named_children():
        if name in block_modules:
            found += _blocks_of(child, block_modules)
        elif isinstance(child, (nn.ModuleList, nn.Sequential)):
            found += list(child)
    return found


def block_owner(module: nn.Module) -> nn.Module:
    """The module whose child is the longest list of blocks; the module itself if there is no list."""
    owners = {
        owner: max(len(child) for child in owner.children() if isinstance(child, nn.ModuleList))
        for owner in module.modules()
        if any(isinstance(child, nn.ModuleList) for child in owner.children())
    }
    return max(owners, key=lambda owner: owners[owner]) if owners else module
