"""Checks that techniques share: parameters read from JSON, whole numbers, names of components."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from workbench._errors import SettingsError, UnknownNameError
from workbench.models._spec import is_denoiser

if TYPE_CHECKING:
    from workbench.models import ModelSpec


def read_object(owner: str, value: object) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SettingsError: it is something else, or a key is no text.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise SettingsError(f"parameters of {owner} must be a JSON object, got {value!r}")
    return dict(value)


def read_parameters(cls: Any, value: object) -> dict[str, Any]:
    """The fields of a technique from a JSON object; lists become tuples.

    Raises:
        UnknownNameError: a parameter that the technique does not have.
        SettingsError: it is no object, or a parameter without a default is missing.
    """
    given = read_object(cls.id, value)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in given:
        if not fields:
            raise SettingsError(f"{cls.id} takes no parameters, got {name!r}")
        if name not in fields:
            raise UnknownNameError.of(f"parameter of {cls.id}", name, fields)
    for name, found in fields.items():
        if found.default is dataclasses.MISSING and name not in given:
            raise SettingsError(f"{cls.id} needs the parameter {name!r}")
    return {name: tuple(item) if isinstance(item, list) else item for name, item in given.items()}


def check_whole(owner: str, name: str, value: object, *, minimum: int) -> None:
    """Makes sure that a parameter is a whole number.

    Raises:
        SettingsError: it is none, or below `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise SettingsError(f"{name} of {owner} must be a whole number of at least {minimum}, got {value!r}")


def check_number(owner: str, name: str, value: object, *, low: float, high: float) -> None:
    """Makes sure that a parameter is a number within bounds, both included.

    Raises:
        SettingsError: it is none, or outside.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # type: ignore[operator]
        bounds = f"between {low:g} and {high:g}" if high != math.inf else f"of at least {low:g}"
        raise SettingsError(f"{name} of {owner} must be a number {bounds}, got {value!r}")


def check_choice(owner: str, name: str, value: object, allowed: Iterable[str]) -> None:
    """Makes sure that a parameter is one of some words.

    Raises:
        UnknownNameError: it is none of them; the nearest ones are offered.
    """
    known = tuple(allowed)
    if value not in known:
        raise UnknownNameError.of(
            f"{name} of {owner}", value if isinstance(value, str) else repr(value), known
        )


def check_components(model: ModelSpec, names: Iterable[str]) -> None:
    """Makes sure that the model has these components.

    Raises:
        UnknownNameError: it lacks one; its components are offered.
    """
    for name in names:
        model.component(name)


def denoisers(names: Iterable[str]) -> tuple[str, ...]:
    """Those of some component names that are denoising networks."""
    return tuple(name for name in names if is_denoiser(name))
