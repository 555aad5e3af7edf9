"""`compare`: two cards, two models, two caps or two settings side by side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench._errors import InputError
from workbench._estimate import Predictor, collector_paused
from workbench._plan import pricing
from workbench.devices import Device, resolve
from workbench.models import DEFAULT_MODEL, resolve_model
from workbench.questions._asked import Asked, Tell, silent
from workbench.questions._fastest import fastest
from workbench.search import Candidate
from workbench.search._words import describe_settings, model_title
from workbench.search.caution import TOLERATED
from workbench.techniques import Settings

MOST_SIDES = 8
"""More than these are a study, not a comparison."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the things compared."""

    name: str
    """What tells it from the others."""
    candidate: Candidate
    """The settings that were given, or the best plan; what comes closest where nothing meets the limits."""
    is_planned: bool
    """Whether the settings are those of the best plan."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "is_planned": self.is_planned,
            "caution": self.candidate.caution,
            **self.candidate.cost.to_json(),
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """Sides of a comparison. Shows itself as a table, in a terminal and in a notebook."""

    sides: tuple[Side, ...]
    """In the order in which they were given."""

    def to_json(self) -> dict[str, Any]:
        """One JSON object: what `--json` prints."""
        return {"sides": [side.to_json() for side in self.sides]}

    def __repr__(self) -> str:
        from workbench.questions._compare_report import comparison_report
        from workbench.search._render_text import render_report

        return render_report(comparison_report(self))

    def _repr_html_(self) -> str:
        from workbench.questions._compare_report import comparison_report
        from workbench.search._render_html import render_report

        return render_report(comparison_report(self))


def compare(
    model: Any = DEFAULT_MODEL,
    settings: Any = None,
    device: Any = None,
    *,
    vram_gb: Any = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    ram_gb: float | None = None,
    desktop_gb: float | None = None,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    max_caution: int | None = TOLERATED,
    pin: Settings | Mapping[str, Any] | None = None,
    forbid: Sequence[str] = (),
    tell: Tell = silent,
) -> Comparison:
    """Puts configurations side by side: every combination of the models, settings, cards and caps given.

    Args:
        model, settings, device, vram_gb: one, as in `estimate`, or a list of several. Without settings each side has its best plan.
        frames, height, width, steps, guidance, batch: of every side; None means each model's native value.
        max_seconds, min_quality, max_caution, pin, forbid: of the plans, as in `fit`.
        tell: called with a side's name when it is looked at.

    Raises:
        InputError: there is nothing to compare, or something of this is wrong; the message says what and what is allowed.
    """
    given = {"model": _several(model), "settings": _several(settings)}
    given |= {"device": _several(device), "vram_gb": _several(vram_gb)}
    choices = list(itertools.product(*given.values()))
    if not 2 <= len(choices) <= MOST_SIDES:
        raise InputError(
            f"compare needs 2 to {MOST_SIDES} combinations of models, settings, cards and caps, got {len(choices)}"
        )
    size: dict[str, Any] = {"frames": frames, "height": height, "width": width}
    size |= {"steps": steps, "guidance": guidance, "batch": batch}
    limits: dict[str, Any] = {
        "max_seconds": max_seconds,
        "min_quality": min_quality,
        "max_caution": max_caution,
    }
    sides = []
    predictors: dict[Any, Predictor] = {}
    with collector_paused():
        for chosen in choices:
            one = dict(zip(given, chosen, strict=True))
            asked = Asked.of(one["model"], size, **limits, pin=pin, forbid=forbid)
            card = resolve(one["device"], vram_gb=one["vram_gb"], ram_gb=ram_gb, desktop_gb=desktop_gb)
            name = _name(one, card, {key: len(values) for key, values in given.items()})
            tell(name)
            predictor = predictors.setdefault(asked.workload, Predictor(asked.workload))
            sides.append(_side(name, predictor, card, asked, one["settings"]))
    return Comparison(sides=tuple(sides))


def _several(value: Any) -> tuple[Any, ...]:
    """What was given, as several: only lists and tuples are more than one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _side(name: str, predictor: Predictor, card: Device, asked: Asked, settings: Any) -> Side:
    if settings is not None:
        candidate = pricing(predictor, card, asked.pins)(Settings.parse(settings))
        return Side(name=name, candidate=candidate, is_planned=False)
    found = fastest(predictor, card, asked.limits, asked.pins)
    shown = found.best if found.best is not None else found.miss
    assert shown is not None, "what was refused everywhere raises"
    return Side(name=name, candidate=shown, is_planned=True)


def _name(one: Mapping[str, Any], card: Device, numbers: Mapping[str, int]) -> str:
    """What tells a side from the others: only what there are several of."""
    words = []
    if numbers["model"] > 1:
        words.append(model_title(resolve_model(one["model"]).name))
    if numbers["device"] > 1:
        words.append(card.title.removeprefix("NVIDIA ").removeprefix("GeForce "))
    if numbers["vram_gb"] > 1:
        words.append(f"{one['vram_gb']:g} GiB")
    if numbers["settings"] > 1:
        settings = one["settings"]
        words.append(
            "best plan" if settings is None else describe_settings(Settings.parse(settings).to_json())
        )
    return ", ".join(words)
