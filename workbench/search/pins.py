"""What a caller decides himself: techniques that stay as given (`pin`), and what must not be used (`forbid`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workbench._errors import InputError, SettingsError, UnknownNameError
from workbench.devices import Device
from workbench.models import ModelSpec
from workbench.search.caution import caution
from workbench.techniques import ORDER, AbstractTechnique, Settings
from workbench.techniques import get as get_technique

_NOTHING: Mapping[str, Any] = {"offload": {"mode": "none"}}
"""Parameters with which a technique does nothing: they are never forbidden."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pins:
    """Limits on a space, checked."""

    settings: Settings = field(default_factory=Settings)
    """Techniques that stay exactly as they are here, whatever the search chooses of the others."""
    forbidden: tuple[str, ...] = ()
    """`technique`, or `technique=value` for one value of any of its parameters; sorted, each once."""
    max_caution: int | None = None
    """Choices of more caution than this are left out; what is pinned does not count."""

    NONE: ClassVar[Pins]

    @classmethod
    def of(
        cls,
        pin: Settings | Mapping[str, Any] | None = None,
        forbid: Iterable[str] = (),
        max_caution: int | None = None,
    ) -> Pins:
        """Reads what a caller gave.

        Args:
            pin: parameters by technique id, as in settings JSON; for a technique with one main parameter its value is enough:
                `{"steps": 30, "offload": "model", "quantization": {"transformer": "int8wo"}}`.
            forbid: technique ids, or `id=value`: `("cache", "quantization=nf4")`.

        Raises:
            UnknownNameError: a technique that does not exist.
            SettingsError: parameters that the technique does not take, or pinned techniques that conflict.
            InputError: a technique is pinned and forbidden, or `forbid` is no list of names.
        """
        if pin is not None and not isinstance(pin, Settings | Mapping):
            raise InputError(f"pin must be parameters by technique id, got {pin!r}")
        if isinstance(pin, Mapping):
            pin = Settings.parse({name: _parameters(name, value) for name, value in pin.items()})
        pinned = pin if pin is not None else Settings()
        forbidden = _forbidden(forbid)
        for technique in pinned.techniques:
            for entry in forbidden:
                if _matches(entry, technique.id, technique.to_json()):
                    raise InputError(f"{technique.id} is pinned and forbidden ({entry!r}): drop one of them")
        if max_caution is not None and (
            isinstance(max_caution, bool) or not isinstance(max_caution, int) or max_caution < 0
        ):
            raise InputError(f"max_caution must be a whole number of at least 0, got {max_caution!r}")
        return cls(settings=pinned, forbidden=forbidden, max_caution=max_caution)

    def check(self, model: ModelSpec, device: Device | None) -> None:
        """Makes sure that what is pinned can act.

        Raises:
            SettingsError: it cannot; the sentence says which and why.
        """
        try:
            self.settings.check(model, device)
        except SettingsError as error:
            raise SettingsError(f"cannot pin: {error}") from None

    def over(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Settings JSON with what is pinned instead of what was chosen there."""
        return {**chosen, **self.settings.to_json()}

    def allow(self, settings: Mapping[str, Any], steps: int) -> bool:
        """Whether nothing of a settings JSON is forbidden, and its caution is within the limit."""
        if any(_matches(entry, name, value) for name, value in settings.items() for entry in self.forbidden):
            return False
        return self.max_caution is None or self.caution(settings, steps) <= self.max_caution

    def caution(self, settings: Mapping[str, Any], steps: int) -> int:
        """How far the search strays from the un-optimised run: what is pinned is the caller's decision and does not count."""
        pinned = self.settings.to_json()
        return caution({name: value for name, value in settings.items() if name not in pinned}, steps)

    def to_json(self) -> dict[str, Any]:
        """Canonical: equal limits are equal JSON."""
        return {
            "pin": json.loads(self.settings.canonical()),
            "forbid": list(self.forbidden),
            "max_caution": self.max_caution,
        }

    def __bool__(self) -> bool:
        return bool(self.settings.techniques or self.forbidden or self.max_caution is not None)


Pins.NONE = Pins()


def _parameters(name: str, value: Any) -> Any:
    """Parameters of a technique; a bare value is that of its main parameter."""
    if value is None or isinstance(value, Mapping):
        return {} if value is None else value
    technique = get_technique(name)
    main = main_parameter(technique)
    if main is None:
        raise SettingsError(
            f"{name} has no main parameter: pin an object of its parameters (by component, if it has one value for each), got {value!r}"
        )
    return {main: value}


def main_parameter(technique: type[AbstractTechnique]) -> str | None:
    """The first parameter, if there is one that a bare value can stand for: no mapping by component, none that may be left open."""
    fields = dataclasses.fields(technique)  # type: ignore[arg-type]
    if not fields or "Mapping" in str(fields[0].type) or fields[0].default is None:
        return None
    return fields[0].name


def _forbidden(forbid: Iterable[str]) -> tuple[str, ...]:
    if isinstance(forbid, str) or not isinstance(forbid, Iterable):
        raise InputError(f"forbid must be a list of technique ids, got {forbid!r}")
    entries = set(forbid)
    for entry in entries:
        name, has_value, value = str(entry).partition("=")
        if name not in ORDER:
            raise UnknownNameError.of("technique", name, ORDER)
        if has_value and not value:
            raise InputError(f"forbid {entry!r} names no value: write {name!r} or '{name}=value'")
    return tuple(sorted(entries))


def _matches(entry: str, name: str, parameters: Any) -> bool:
    """Whether an entry of `forbidden` means these parameters of a technique."""
    forbidden, has_value, value = entry.partition("=")
    if forbidden != name:
        return False
    if not has_value:
        return bool(parameters != _NOTHING.get(name))
    values = parameters.values() if isinstance(parameters, Mapping) else (parameters,)
    return any(_text(item) == value for item in values)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
