"""What might be made small, as moves: numbers that belong together, and what they might become, the smallest first.

A move is a guess. Numbers belong together where they are equal (the width of a text encoder and what the denoiser expects), where one
is the product of two others (heads, their size, and a width), or where a list adds up to one (rotary axes and the size of a head).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from workbench.twin._leaves import Leaf, Place, Value

LAYERS = 2
"""Layers of every stack: enough for a first one, a last one and what is carried between them."""
WIDTH = 128
"""Of embeddings and hidden layers: every kind of quantisation packs multiples of it."""
HEAD_DIM = 32
FEED_FORWARD = 256
CHANNELS = 32
"""Of convolutions: 32 groups is what nearly every group norm has."""
GROUPS = 8
"""Of an autoencoder's norms, where its configuration says how many, and then the least channels."""
VOCABULARY = 512

Changes = Mapping[Place, Value]


@dataclass(frozen=True, slots=True)
class Move:
    """Numbers that change together."""

    name: str
    options: tuple[Changes, ...]
    """What they might become, the smallest first."""
    kind: str = "width"
    """`stack` (layers and words, which seldom touch anything else), `width` or `convolution`."""
    is_doubtful: bool = False
    """Whether one of its numbers is also found, or is a part of one, where it does not change."""


def moves_of(leaves: Sequence[Leaf]) -> tuple[Move, ...]:
    """Every move that makes these numbers smaller."""
    by_component = _grouped(leaves, lambda leaf: leaf.component)
    moves = [
        *(_move(f"layers of {name}", _depths(own, leaves), "stack") for name, own in by_component.items()),
        *(_move(f"vocabulary of {name}", [_vocabulary(own)], "stack") for name, own in by_component.items()),
        *_widths(leaves),
        *_channels(leaves),
        *(
            _move(f"multiples of {name}", [_multiples(own)], "convolution")
            for name, own in by_component.items()
        ),
    ]
    moves = _with_products([move for move in moves if move.options], leaves)
    changing = {place for move in moves for place in move.options[0]}
    still = [leaf for leaf in leaves if leaf.place not in changing]
    return tuple(replace(move, is_doubtful=_is_doubtful(move, leaves, still)) for move in moves)


def _is_doubtful(move: Move, leaves: Sequence[Leaf], still: Sequence[Leaf]) -> bool:
    """Whether an inner width of an autoencoder equals what other networks take in, or a width is a half, third or quarter of a number
    beside it, and that number does not change."""
    own = [leaf for leaf in leaves if leaf.kind == "width" and leaf.place in move.options[0]]
    return any(
        (not leaf.is_interface and other.kind == "width" and other.number == leaf.number)
        or (other.scope == leaf.scope and other.number in (2 * leaf.number, 3 * leaf.number, 4 * leaf.number))
        for leaf in own
        for other in still
    )


def _move(name: str, options: Iterable[Changes], kind: str = "width") -> Move:
    distinct: list[Changes] = []
    for option in options:
        if option and option not in distinct:
            distinct.append(option)
    return Move(name, tuple(distinct), kind)


_Key = TypeVar("_Key", bound=Hashable)


def _grouped(leaves: Iterable[Leaf], key: Callable[[Leaf], _Key]) -> dict[_Key, list[Leaf]]:
    groups: dict[_Key, list[Leaf]] = {}
    for leaf in leaves:
        groups.setdefault(key(leaf), []).append(leaf)
    return groups


# --- layers and words ---------------------------------------------------------------------------------------------------


def _depths(own: Sequence[Leaf], leaves: Sequence[Leaf]) -> Iterator[Changes]:
    """A component with 2 layers, and with it what counts its hidden states, one more than layers; then with more layers."""
    counts = {leaf.number + 1 for leaf in own if leaf.kind == "depth" and leaf.number > 4 * LAYERS}
    counted = {leaf.place: LAYERS + 1 for leaf in leaves if leaf.number in counts and leaf.kind == "other"}
    yield {**_depth(own, LAYERS), **counted}
    yield _depth(own, LAYERS)
    for layers in (LAYERS + 1, 2 * LAYERS, 4 * LAYERS):
        yield _depth(own, layers)


def _depth(own: Sequence[Leaf], layers: int) -> dict[Place, Value]:
    found: dict[Place, Value] = {}
    for scope in _grouped(own, lambda leaf: leaf.scope).values():
        stacks = {leaf.number for leaf in scope if leaf.kind == "depth" and leaf.number > layers}
        for leaf in scope:
            new = _shallow(leaf, layers, stacks)
            if new != leaf.value:
                found[leaf.place] = new
    return found


def _shallow(leaf: Leaf, layers: int, stacks: set[int]) -> Value:
    """What a number or list becomes where stacks of these depths shrink to so many layers."""
    per_block = "block" in leaf.words or "res" in leaf.words
    if not leaf.is_list:
        return min(leaf.number, layers // 2 if per_block else layers) if leaf.kind == "depth" else leaf.value
    if leaf.kind not in ("depth", "other", "words"):
        return leaf.value
    if len(leaf.entries) in stacks and len(leaf.entries) > 2 * LAYERS:  # one entry per layer
        return _sample(leaf.entries, layers)
    if leaf.kind == "words":
        return leaf.value
    if _INDICES & set(leaf.words) and _is_rising(leaf.entries) and leaf.entries[-1] < max(stacks, default=0):
        return tuple(i for i in leaf.entries if i < layers) or (layers - 1,)
    return tuple(min(n, layers // 2) for n in leaf.entries) if leaf.kind == "depth" else leaf.value


_INDICES = frozenset(("layers", "layer", "block", "blocks", "index", "indexes", "indices"))
"""Words of a list that may hold numbers of layers."""


def _is_rising(values: tuple[int, ...]) -> bool:
    return all(a < b for a, b in itertools.pairwise(values))


def _sample(values: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """So many of the values in their order, as many different ones as possible."""
    first = [values.index(value) for value in dict.fromkeys(values)]
    rest = [k for k in range(len(values)) if k not in first]
    return tuple(values[k] for k in sorted([*first, *rest][:count]))


def _vocabulary(own: Sequence[Leaf]) -> Changes:
    """A small vocabulary, with the special tokens inside it."""
    found: dict[Place, Value] = {
        leaf.place: VOCABULARY for leaf in own if leaf.kind == "vocabulary" and leaf.number > VOCABULARY
    }
    tokens = [leaf for leaf in own if leaf.kind == "token"] if found else []
    large = sorted({n for leaf in tokens for n in leaf.entries if n >= VOCABULARY})
    small = {n: VOCABULARY - 1 - k for k, n in enumerate(large)}
    for leaf in tokens:
        new = tuple(small.get(n, n) for n in leaf.entries)
        if new != leaf.entries:
            found[leaf.place] = new if leaf.is_list else new[0]
    return found


def _with_products(moves: list[Move], leaves: Sequence[Leaf]) -> list[Move]:
    """Joins the moves of layers, of their width and of what concatenates the hidden states of all of them, where there is such a thing."""
    stacks = {leaf.number: leaf.place for leaf in leaves if leaf.kind == "depth" and leaf.number > LAYERS}
    widths = {leaf.number: leaf.place for leaf in leaves if leaf.kind == "width" and leaf.number > WIDTH}
    for leaf in leaves:
        if leaf.kind != "width" or leaf.is_feed_forward:
            continue
        for depth, width in itertools.product(stacks, widths):
            if depth * width == leaf.number and leaf.number > _CONCATENATED:
                moves = _concatenated(moves, stacks[depth], widths[width], leaf.place)
                break
    return moves


_CONCATENATED = 16384
"""Wider than any layer: what is wider and a product of layers and their width is a concatenation."""


def _concatenated(moves: list[Move], depth: Place, width: Place, product: Place) -> list[Move]:
    joined = [move for move in moves if {depth, width, product} & move.options[0].keys()]
    options = []
    for k in range(max(len(move.options) for move in joined)):
        option: dict[Place, Value] = {}
        for move in joined:
            option |= move.options[0 if move.kind == "stack" else min(k, len(move.options) - 1)]
        if isinstance(layers := option.get(depth), int) and isinstance(size := option.get(width), int):
            options.append({**option, product: layers * size})
    if not options:
        return moves
    name = ", ".join(move.name for move in joined)
    return [*(move for move in moves if move not in joined), _move(name, options)]


# --- widths and heads ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Attention:
    """One way to make the attention of a network small."""

    changes: Changes
    widths: Mapping[int, int]
    """Width of the network that its heads decide -> what it becomes."""


def _widths(leaves: Sequence[Leaf]) -> Iterator[Move]:
    """One move per set of widths that are equal or decided by the same heads."""
    classes: dict[int, list[Leaf]] = {}
    for leaf in leaves:
        if leaf.kind == "width" and leaf.number > _target(leaf):
            classes.setdefault(leaf.number, []).append(leaf)
    conv = {leaf.scope for leaf in leaves if leaf.kind == "channels"}
    scopes = {
        str(scope): found
        for scope, own in _grouped(leaves, lambda leaf: leaf.scope).items()
        if scope not in conv and (found := _attentions(own, _lists_within(scope, leaves)))
    }
    for names, values in _clusters({name: set(found[0].widths) for name, found in scopes.items()}, classes):
        chosen = [scopes[name] for name in names]
        members = {value: classes[value] for value in values}
        title = (
            ", ".join(dict.fromkeys(leaf.component for own in members.values() for leaf in own)) or names[0]
        )
        yield _move(f"widths of {title} {sorted(values)}", _width_options(chosen, members))


def _width_options(
    scopes: Sequence[list[_Attention]], members: Mapping[int, list[Leaf]]
) -> Iterator[Changes]:
    smallest = {value: _shared_target(own) for value, own in members.items()}
    for k in range(max((len(found) for found in scopes), default=1)):
        chosen = [found[min(k, len(found) - 1)] for found in scopes]
        decided = {value: new for one in chosen for value, new in one.widths.items()}
        option: dict[Place, Value] = {place: new for one in chosen for place, new in one.changes.items()}
        for value, own in members.items():
            option |= {leaf.place: min(value, decided.get(value, smallest[value])) for leaf in own}
        yield option
    if not scopes:
        for divisor in (16, 8, 4, 2):
            if all(value % divisor == 0 and value // divisor > smallest[value] for value in members):
                yield {leaf.place: value // divisor for value, own in members.items() for leaf in own}
        for own in members.values():  # equal by chance
            for part in _grouped(own, lambda leaf: leaf.component).values():
                yield {leaf.place: _shared_target(part) for leaf in part}


def _target(leaf: Leaf) -> int:
    if not leaf.is_interface:
        return CHANNELS // 2  # what an autoencoder multiplies, level by level
    return FEED_FORWARD if leaf.is_feed_forward else WIDTH


def _shared_target(leaves: Sequence[Leaf]) -> int:
    """What equal widths become: the inner width of a feed-forward layer gives way to any other."""
    others = [leaf for leaf in leaves if not leaf.is_feed_forward]
    return max(_target(leaf) for leaf in others or leaves)


def _clusters(
    decided: Mapping[str, set[int]], classes: Mapping[int, list[Leaf]]
) -> Iterator[tuple[list[str], list[int]]]:
    """(scopes, widths) that hang together: a scope with the widths that its heads decide."""
    waiting = [({name}, set(values) & set(classes)) for name, values in decided.items()]
    waiting += [(set(), {value}) for value in classes]
    while waiting:
        names, values = waiting.pop(0)
        while near := [one for one in waiting if one[1] & values]:
            waiting = [one for one in waiting if one not in near]
            names, values = names.union(*(n for n, _ in near)), values.union(*(v for _, v in near))
        yield sorted(names), sorted(values)


def _lists_within(scope: Place, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Lists of numbers of a configuration and of those inside it (the sections of a rotary embedding)."""
    component, path = scope
    return [
        leaf
        for leaf in leaves
        if leaf.kind == "other"
        and leaf.is_list
        and leaf.component == component
        and leaf.path[: len(path)] == path
    ]


def _attentions(scope: Sequence[Leaf], lists: Sequence[Leaf]) -> list[_Attention]:
    """Ways to make the attention of one network small: fewer heads, of 32, or of a fraction of their size."""
    heads = [leaf for leaf in scope if leaf.kind == "heads" and leaf.number]
    dims = [leaf for leaf in scope if leaf.kind == "head_dim" and leaf.number]
    if not heads:
        return []
    most = max(leaf.number for leaf in heads)
    hidden = {leaf.number for leaf in scope if leaf.path[-1] in _HIDDEN and leaf.number % most == 0}
    if dims:
        large = max(leaf.number for leaf in dims)
        decided = {leaf.number * size.number for leaf in heads for size in dims}
    else:
        large, decided = max(hidden, default=0) // most, hidden
    sizes = [HEAD_DIM, *(large // k for k in (4, 3, 2) if large % k == 0 and large // k > HEAD_DIM), large]
    found = [_attention(heads, dims, lists, large, size, decided) for size in sizes if size <= large]
    return [one for one in found if one is not None]


_HIDDEN = ("hidden_size", "d_model", "embed_dim", "model_dim", "dim")
"""Names of the width that the heads share where their own size is not given."""


def _attention(
    heads: Sequence[Leaf],
    dims: Sequence[Leaf],
    lists: Sequence[Leaf],
    large: int,
    size: int,
    decided: set[int],
) -> _Attention | None:
    """With heads of `size` instead of `large`; None if a list that adds up to a head cannot be divided like it."""
    most = max(leaf.number for leaf in heads)
    count = min(most, max(2, math.lcm(WIDTH, size) // size if size else WIDTH // HEAD_DIM))
    changes: dict[Place, Value] = {}
    for leaf in heads:
        fewer = "kv" in leaf.words or "key" in leaf.words
        changes[leaf.place] = max(1, count * leaf.number // most) if fewer else min(leaf.number, count)
    changes |= {leaf.place: min(leaf.number, size) for leaf in dims}
    for leaf in lists:
        if large and sum(leaf.entries) in (large, large // 2):
            if any(n * size % large for n in leaf.entries):
                return None
            changes[leaf.place] = tuple(n * size // large for n in leaf.entries)
    return _Attention(changes, dict.fromkeys(decided, count * size or WIDTH))


def _multiples(own: Sequence[Leaf]) -> Changes:
    """Levels that are at most twice as wide as the first."""
    return {
        leaf.place: tuple(min(n, 2) for n in leaf.entries)
        for leaf in own
        if leaf.kind == "multiples" and max(leaf.entries) > 2
    }


# --- convolutions -------------------------------------------------------------------------------------------------------


def _channels(leaves: Sequence[Leaf]) -> Iterator[Move]:
    """One move per set of convolutional networks with the same channels."""
    scopes = {
        scope: own
        for scope, own in _grouped(leaves, lambda leaf: leaf.scope).items()
        if any(leaf.kind == "channels" for leaf in own)
    }
    waiting = [([own], {leaf.value for leaf in own if leaf.kind == "channels"}) for own in scopes.values()]
    while waiting:
        owners, lists = waiting.pop(0)
        for other in [one for one in waiting if one[1] & lists]:
            waiting.remove(other)
            owners, lists = owners + other[0], lists | other[1]
        own = [leaf for owner in owners for leaf in owner]
        names = ", ".join(dict.fromkeys(leaf.component for leaf in own))
        yield _move(f"channels of {names}", _channel_options(own), "convolution")


def _channel_options(own: Sequence[Leaf]) -> Iterator[Changes]:
    """An autoencoder with 8 groups for its norms and few channels; then 32 channels and twice that; then a fraction of each number."""
    lists = [leaf for leaf in own if leaf.kind == "channels"]
    numbers = {n for leaf in lists for n in leaf.entries}
    least = min(numbers)
    heads = {leaf.place: _few_heads(leaf) for leaf in own if leaf.kind == "heads"}
    groups: Changes = {leaf.place: GROUPS for leaf in own if "groups" in leaf.words and leaf.number > GROUPS}

    def option(small: Mapping[int, int], more: Changes) -> Changes:
        return {**heads, **more, **{leaf.place: tuple(small[n] for n in leaf.entries) for leaf in lists}}

    def two_levels(few: int) -> Mapping[int, int]:
        return {n: min(n, few if n < 2 * least else 2 * few) for n in numbers}

    if all(leaf.in_autoencoder for leaf in own):
        yield option(two_levels(GROUPS), groups)
    if least > CHANNELS or max(numbers) > 2 * CHANNELS:
        yield option(two_levels(CHANNELS), {})
    for few in (GROUPS, 2 * GROUPS, CHANNELS, least // 4, least // 2):
        divisor = least // few if few else 1
        if divisor > 1 and all(n % divisor == 0 for n in numbers):
            yield option({n: n // divisor for n in numbers}, {})


def _few_heads(leaf: Leaf) -> Value:
    few = tuple(min(n, WIDTH // HEAD_DIM) for n in leaf.entries)
    return few if leaf.is_list else few[0]
