"""The rows of the catalogue by name. A family's file holds its rows; adding a family is one line here."""

from __future__ import annotations

import re

from workbench._errors import UnknownNameError
from workbench.models import (
    allegro,
    animatediff,
    cogvideox,
    cosmos,
    easyanimate,
    framepack,
    hunyuan,
    hunyuan15,
    kandinsky,
    latte,
    ltx,
    ltx2,
    miniature,
    mochi,
    sana_video,
    skyreels,
    stable_video_diffusion,
    tiny,
    wan,
    wan22,
)
from workbench.models._spec import ModelSpec

ALL: tuple[ModelSpec, ...] = (
    *wan.ROWS,
    *wan22.ROWS,
    *skyreels.ROWS,
    *sana_video.ROWS,
    *cogvideox.ROWS,
    *easyanimate.ROWS,
    *kandinsky.ROWS,
    *hunyuan.ROWS,
    *framepack.ROWS,
    *hunyuan15.ROWS,
    *ltx.ROWS,
    *ltx2.ROWS,
    *mochi.ROWS,
    *stable_video_diffusion.ROWS,
    *animatediff.ROWS,
    *latte.ROWS,
    *allegro.ROWS,
    *cosmos.ROWS,
    *miniature.ROWS,
    *tiny.ROWS,
)


_OTHERS: dict[str, ModelSpec] = {}
"""Models outside the catalogue that this process has read (`_resolve.py`), by the name that workloads call them by."""


def get(name: str) -> ModelSpec:
    """The row of that name, in any case; also of a model outside the catalogue that `resolve_model` has read in this process.

    Raises:
        UnknownNameError: no such model; the message offers the nearest names.
    """
    found = find(name)
    if found is None:
        raise UnknownNameError.of("model", name, names())
    return found


def find(name: str) -> ModelSpec | None:
    """The row of that name, or None; case, and spaces for hyphens, do not matter."""
    wanted = str(name).strip()
    rows = (spec for spec in ALL if _spelled(spec.name) == _spelled(wanted))
    return next(rows, _OTHERS.get(wanted))


def _spelled(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.lower())


def register(spec: ModelSpec) -> None:
    """Lets `get` find a model outside the catalogue for the rest of the process."""
    if spec not in ALL:
        _OTHERS[spec.name] = spec


def names() -> tuple[str, ...]:
    """Every name, in catalogue order: the default first."""
    return tuple(spec.name for spec in ALL)
