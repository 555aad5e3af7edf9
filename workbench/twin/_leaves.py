"""Every whole number in a model's configurations, and what its name says it counts.

Nothing here knows a model. The names are the conventions of diffusers and transformers (`num_layers`, `attention_head_dim`,
`block_out_channels`); they give a first guess of what may be made small, and `_search.py` finds out whether it may.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.models import ComponentSpec, ModelSpec

Value = int | tuple[Any, ...]
Place = tuple[str, tuple[str, ...]]
"""(component, path of keys in its configuration)."""

# Words of a name that say that a number is no width, though it may be large.
_OTHER_QUANTITIES = frozenset(
    (
        *(
            "max",
            "min",
            "num",
            "position",
            "positions",
            "pos",
            "sequence",
            "seq",
            "length",
            "len",
            "tokens",
            "window",
        ),
        *(
            "stride",
            "hop",
            "freq",
            "theta",
            "bins",
            "buckets",
            "distance",
            "rate",
            "timestep",
            "timesteps",
            "steps",
        ),
        *("resolution", "resolutions", "multiplier", "scale", "scalar", "factor", "ratio", "groups", "per"),
        *("class", "classes", "labels", "queries"),
    )
)
_SIZED = frozenset(("patch", "image", "sample", "kernel", "window", "tile", "chunk"))
"""Words before `size` that make it one of something else than a layer."""
_INTERFACE = frozenset(("latent", "in", "out", "input", "output", "z"))
"""Words of an autoencoder's widths that the other components see."""
_FEED_FORWARD = ("ff", "ffn", "intermediate", "mlp")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One whole number, or one list of whole numbers or of words, of a component's configuration."""

    component: str
    path: tuple[str, ...]
    value: Value
    in_autoencoder: bool

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.component, self.path

    @property
    def scope(self) -> Place:
        """The (nested) configuration that it belongs to: what a language and a vision tower have is not mixed up."""
        return self.component, self.path[:-1]

    @property
    def number(self) -> int:
        """The number; 0 if it is a list."""
        return self.value if isinstance(self.value, int) else 0

    @property
    def entries(self) -> tuple[Any, ...]:
        """What the list holds; a single number is a list of one."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.value, tuple)

    @property
    def words(self) -> list[str]:
        """The words of its name."""
        return self.path[-1].lower().split("_")

    @property
    def kind(self) -> str:
        """`token`, `vocabulary`, `depth`, `heads`, `head_dim`, `extent`, `width`, of lists `words`, `channels`, `multiples`, or `other`."""
        words, last = set(self.words), self.words[-1]
        if isinstance(self.value, tuple) and isinstance(self.value[0], str):
            return "words"
        if "token" in words and last in ("id", "ids", "index", "idx", "indices"):
            return "token"
        if "vocab" in words:
            return "vocabulary"
        if last in ("layers", "layer", "depth", "depths", "blocks") or self.path[-1].endswith("s_per_block"):
            return "depth"
        if last in ("heads", "head"):
            return "heads"
        if self.path[-1].endswith(("head_dim", "head_dims", "d_kv", "dim_head", "head_size")):
            return "head_dim"
        if isinstance(self.value, tuple):
            return "channels" if "channels" in words else "multiples" if "mult" in words else "other"
        if words & {"sample", "height", "width", "frames"} or self.path[-1] == "video_length":
            return "extent"
        return "other" if words & _OTHER_QUANTITIES or ("size" in words and words & _SIZED) else "width"

    @property
    def is_feed_forward(self) -> bool:
        """Whether it is the inner width of a feed-forward layer, which nothing else has to match."""
        return any(word.startswith(_FEED_FORWARD) for word in self.words) or self.path[-1] == "d_ff"

    @property
    def is_interface(self) -> bool:
        """Whether another component may have to match it: the latents of an autoencoder, every width of another network."""
        return not self.in_autoencoder or bool(_INTERFACE & set(self.words))


def leaves_of(spec: ModelSpec) -> tuple[Leaf, ...]:
    """Every whole number and list of whole numbers in the configurations of a model's networks, defaults of the classes included."""
    return tuple(
        Leaf(part.name, path, value, "Autoencoder" in part.class_name or part.name.startswith("vae"))
        for part in spec.components
        for path, value in _numbers(effective_config(part))
    )


def effective_config(part: ComponentSpec) -> dict[str, Any]:
    """The configuration with the defaults of the class filled in; nested ones of transformers too."""
    from workbench.models._build import component_class

    kind = component_class(part)
    if part.library == "transformers":
        full: dict[str, Any] = kind.config_class(**copy.deepcopy(dict(part.config))).to_dict()
        return full
    parameters = inspect.signature(kind.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return {**defaults, **part.config}


def changed(spec: ModelSpec, changes: Mapping[Place, Value]) -> ModelSpec:
    """The model with these numbers in the configurations of its networks."""
    parts = []
    for part in spec.components:
        mine = {path: value for (name, path), value in changes.items() if name == part.name}
        parts.append(replace(part, config=_with(part, mine)) if mine else part)
    return replace(spec, components=tuple(parts))


def _with(part: ComponentSpec, changes: Mapping[tuple[str, ...], Value]) -> dict[str, Any]:
    """The configuration with these numbers.

    What the row leaves to the class stays with the class, so that what it works out from the numbers (which layers attend to a window)
    follows them. Where the class does not take a number under the name that it shows it under, all of it is spelled out.
    """
    full = effective_config(part)
    config = _written(copy.deepcopy(dict(part.config)), full, changes)
    if any(len(path) > 1 for path in changes):
        seen = dict(_numbers(effective_config(replace(part, config=config))))
        if any(seen.get(path) != value for path, value in changes.items()):
            return _written(copy.deepcopy(full), full, changes)
    return config


def _written(
    config: dict[str, Any], full: Mapping[str, Any], changes: Mapping[tuple[str, ...], Value]
) -> dict[str, Any]:
    for path, value in changes.items():
        inner, theirs = config, full
        for key in path[:-1]:
            # a nested configuration that is left to the class has the class's values, not the defaults of its own type
            if not isinstance(inner.get(key), dict):
                inner[key] = copy.deepcopy(theirs[key])
            inner, theirs = inner[key], theirs[key]
        is_list = isinstance(theirs[path[-1]], list)
        inner[path[-1]] = list(value) if is_list and isinstance(value, tuple) else value
    return config


def _numbers(
    config: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Value]]:
    for key, value in config.items():
        if not isinstance(key, str) or key.startswith("_"):
            continue
        if _is_whole(value):
            yield (*prefix, key), value
        elif isinstance(value, (list, tuple)) and value and _is_uniform(value):
            yield (*prefix, key), tuple(value)
        elif isinstance(value, Mapping):
            yield from _numbers(value, (*prefix, key))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_uniform(values: list[Any] | tuple[Any, ...]) -> bool:
    return all(_is_whole(item) for item in values) or all(isinstance(item, str) for item in values)
