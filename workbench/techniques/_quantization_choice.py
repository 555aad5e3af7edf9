"""What the `quantization` technique is told of one component: the kind, and which of its layers. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from workbench._errors import SettingsError, UnknownNameError
from workbench.techniques._checks import check_choice
from workbench.techniques._kinds import KINDS

LAYERS: Final = ("insensitive", "configured", "all")
"""Which layers of a component are quantised.

- `insensitive`  the default: not those that the component's class excludes from layerwise casting or keeps in fp32, nor what embeds,
                 nor the final projection.
- `configured`   what a `quantization_config` of diffusers or transformers quantises: every linear layer but those that the class
                 keeps in fp32 (`_keep_in_fp32_modules`; T5's `wo`), and the output embedding of a language model.
- `all`          what torchao's `quantize_` does to a whole network: every linear layer.
"""
_FIELDS: Final = ("kind", "layers", "skip")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """How one component is quantised."""

    kind: str
    """One of `_kinds.KINDS`."""
    layers: str = "insensitive"
    """One of `LAYERS`."""
    skip: tuple[str, ...] = ()
    """More layers to leave alone: regular expressions that are searched in a layer's full name, as diffusers' `skip_modules_pattern`."""

    @classmethod
    def parse(cls, owner: str, component: str, value: object) -> Choice:
        """From the name of a kind, or `{"kind": ..., "layers": ..., "skip": [...]}`.

        Raises:
            UnknownNameError: a kind, a choice of layers or a key that does not exist.
            SettingsError: `kind` is missing, or `skip` is no list of regular expressions.
        """
        if isinstance(value, Choice):
            return value
        given: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"kind": value}
        for name in given:
            if name not in _FIELDS:
                raise UnknownNameError.of(f"key of {owner} of {component}", str(name), _FIELDS)
        if "kind" not in given:
            raise SettingsError(f"{owner} of {component} needs the key 'kind'")
        check_choice(owner, f"kind for {component}", given["kind"], KINDS)
        layers = given.get("layers", LAYERS[0])
        check_choice(owner, f"layers for {component}", layers, LAYERS)
        return cls(kind=given["kind"], layers=layers, skip=_patterns(owner, component, given.get("skip", ())))

    def to_json(self) -> str | dict[str, Any]:
        """Canonical: the kind's name alone where the rest is as by default."""
        more: dict[str, Any] = {}
        if self.layers != LAYERS[0]:
            more["layers"] = self.layers
        if self.skip:
            more["skip"] = list(self.skip)
        return {"kind": self.kind, **more} if more else self.kind


def _patterns(owner: str, component: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(pattern, str) for pattern in value):
        raise SettingsError(
            f"skip for {component} of {owner} must be a list of regular expressions, got {value!r}"
        )
    for pattern in value:
        try:
            re.compile(pattern)
        except re.error as error:
            raise SettingsError(
                f"skip for {component} of {owner} must be a list of regular expressions, got {pattern!r}: {error}"
            ) from None
    return tuple(sorted(set(value)))
