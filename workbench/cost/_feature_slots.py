"""The part of a list of features that one module uses, so that a call does not depend on what all other modules keep in that list.

Autoencoders that go frame by frame (Wan's, Qwen-Image's) hand one list through all modules, `feat_cache`, and in `feat_idx` the place of
the next convolution's features. Each module takes as many places as it has causal convolutions and moves `feat_idx` on. How many is
seen at the module's first call; what a later call does outside its places is checked, and such a call is not remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from torch import nn

from workbench.cost._hookstates import Holder, HookState

_FEATURES, _PLACE = "feat_cache", "feat_idx"


class Slots(MutableMapping[int, Any]):
    """Some places of a list as a mapping, live; one that is taken out is None, as before the first frame."""

    def __init__(self, features: list[Any], start: int, stop: int) -> None:
        self._features, self._places = features, range(start, stop)

    def __getitem__(self, place: int) -> Any:
        return self._features[place]

    def __setitem__(self, place: int, value: Any) -> None:
        self._features[place] = value

    def __delitem__(self, place: int) -> None:
        self._features[place] = None

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def clear(self) -> None:
        for place in self._places:
            self._features[place] = None


class Use:
    """A call's use of the list: what it is given, and after the call what it has done."""

    def __init__(
        self, module: nn.Module, features: list[Any], place: list[int], known: dict[int, int]
    ) -> None:
        self._module, self._features, self._place, self._known = module, features, place, known
        self._start = place[0]
        self._others: list[int] = []

    @classmethod
    def of(cls, module: nn.Module | None, kwargs: dict[str, Any], known: dict[int, int]) -> Use | None:
        """The use that a call makes; None of one without such a list.

        Args:
            known: by id of the module, how many places it takes.
        """
        features, place = kwargs.get(_FEATURES), kwargs.get(_PLACE)
        if module is None or type(features) is not list or type(place) is not list:
            return None
        return cls(module, features, place, known) if len(place) == 1 else None

    def state(self) -> HookState | None:
        """The module's own places; None as long as their number is not known."""
        taken = self._known.get(id(self._module))
        if taken is None or self._start + taken > len(self._features):
            return None
        self._others = self._outside(taken)
        slots: Any = Slots(self._features, self._start, self._start + taken)
        return HookState(Holder("", self._module, "", ""), slots, None)

    def was_as_known(self) -> bool:
        """Whether the call took the places that it was known to take, and left all others alone; learns their number."""
        taken = self._place[0] - self._start
        if self._known.setdefault(id(self._module), taken) == taken:
            return not self._others or self._others == self._outside(taken)
        self._known[id(self._module)] = len(self._features)  # from now on it depends on the whole list
        return False

    def _outside(self, taken: int) -> list[int]:
        return [id(f) for k, f in enumerate(self._features) if not 0 <= k - self._start < taken]


def without_features(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments without the list, of which only the length is left."""
    return {**kwargs, _FEATURES: len(kwargs[_FEATURES])}
