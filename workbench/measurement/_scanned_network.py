"""A network taken apart for a scan: its layers in groups, the calls it gets, and what tells its weights from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Calls:
    """Keeps every so many calls of a network, fewer as they become many."""

    def __init__(self, count: int) -> None:
        self.count, self.every, self.number = count, 1, 0
        self.kept: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def seen(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward hook."""
        if self.number % self.every == 0:
            self.kept.append((copied(args), copied(kwargs)))
            if len(self.kept) >= 4 * self.count:
                self.kept, self.every = self.kept[::2], 2 * self.every
        self.number += 1

    def evenly(self) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """At most `count` of those that are kept, the first and the last among them."""
        last = len(self.kept) - 1
        places = {round(place * last / max(self.count - 1, 1)) for place in range(self.count)}
        return [self.kept[place] for place in sorted(places)]


def groups_of(module: Any, kinds: Sequence[str], by: str) -> dict[str, list[Any]]:
    """Name -> layers that one of the kinds can pack, in the network's order: all of a block, or each alone."""
    from workbench.techniques._quantization_choice import Choice
    from workbench.techniques._quantized_layers import layers_of

    chosen = {id(layer) for kind in kinds for layer in layers_of(module, Choice(kind=kind))[0]}
    groups: dict[str, list[Any]] = {}
    for name, layer in module.named_modules():
        if id(layer) in chosen:
            groups.setdefault(name if by == "layer" else _block_of(name), []).append(layer)
    return groups


def _block_of(name: str) -> str:
    """A path up to its first number: `blocks.3` of `blocks.3.attn1.to_q`; without one, its first name."""
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), 0)
    return ".".join(parts[: number + 1])


def digest_of(module: Any) -> str:
    """Twelve hex digits over the beginning of every parameter: other weights have others, and large ones are not read whole."""
    import hashlib

    found = hashlib.sha256()
    for name, parameter in module.named_parameters():
        head = parameter.detach().flatten()[:256].float().cpu().numpy()
        found.update(name.encode() + head.tobytes())
    return found.hexdigest()[:12]


def weight_bytes(layer: Any) -> int:
    """What a layer's weight takes as stored, scales included."""
    from workbench.cost.weigh import stored_parts

    return sum(part.numel() * part.element_size() for part in stored_parts(layer.weight))


def copied(value: Any) -> Any:
    """Arguments whose tensors nobody else writes to."""
    if hasattr(value, "detach"):
        return value.detach().clone()
    if isinstance(value, (tuple, list)):
        return type(value)(copied(each) for each in value)
    if isinstance(value, dict):
        return {name: copied(each) for name, each in value.items()}
    return value
