"""The rows of the catalogue by name. A family's file holds its rows; adding a family is one line here."""

from __future__ import annotations

from workbench._errors import UnknownNameError
from workbench.models import tiny, wan
from workbench.models._spec import ModelSpec

ALL: tuple[ModelSpec, ...] = (*wan.ROWS, *tiny.ROWS)


def get(name: str) -> ModelSpec:
    """The row of that name, in any case.

    Raises:
        UnknownNameError: no such model; the message offers the nearest names.
    """
    wanted = str(name).strip().lower()
    for spec in ALL:
        if spec.name == wanted:
            return spec
    raise UnknownNameError.of("model", name, names())


def names() -> tuple[str, ...]:
    """Every name, in catalogue order: the default first."""
    return tuple(spec.name for spec in ALL)
