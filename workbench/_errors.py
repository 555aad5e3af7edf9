"""The exceptions of the package.

WorkbenchError
├── InputError (also ValueError)       something the caller passed is wrong; exit code 2 on the command line
│   ├── UnknownNameError               a model, device, technique or component that does not exist
│   ├── WorkloadError                  frames, size, steps, guidance or batch that the model cannot make
│   ├── SettingsError                  a technique's parameters, or two techniques, that do not go together
│   ├── CapError                       a VRAM or RAM cap that is no cap
│   └── ProfileError                   a profile that is damaged, newer than this package, or for another pipeline
├── measurement.RunError               a pipeline failed while it ran; carries what was measured until then
└── RehearsalError                     the pipeline could not be run without weights; says what it asked for
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorkbenchError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(WorkbenchError, ValueError):
    """A value that the caller passed is wrong. The message says what, which value, and what is allowed."""


MANY = 32
"""Names beyond which a message lists only the nearest ones."""
_NEAREST = 3


class UnknownNameError(InputError):
    """A name that is in no catalogue. The message offers the nearest ones."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Builds the message `unknown {kind} {name!r}: did you mean ...?` from the names that exist."""
        names = tuple(known)
        holding = _containing(name, names)
        close = difflib.get_close_matches(str(name).lower(), names, n=_NEAREST, cutoff=0.4)
        near = holding if len(holding) >= _NEAREST else list(dict.fromkeys([*holding, *close]))[:_NEAREST]
        if near and len(names) > MANY:
            return cls(f"unknown {kind} {name!r}: did you mean {', '.join(near)}? ({len(names)} are known)")
        if near:
            return cls(f"unknown {kind} {name!r}: did you mean {', '.join(near)}? (all: {', '.join(names)})")
        return cls(f"unknown {kind} {name!r}: allowed are {', '.join(names)}")


def _containing(name: str, names: tuple[str, ...]) -> list[str]:
    """Names that have every letter and digit of `name` in one run (`"wan"`, `"RTX 4090"`), if they are few enough to read."""
    wanted = _letters(name)
    found = [known for known in names if wanted and wanted in _letters(known)]
    return found if len(found) <= MANY // 2 else []


def _letters(name: str) -> str:
    return "".join(character for character in str(name).lower() if character.isalnum())


class WorkloadError(InputError):
    """Frames, height, width, steps, guidance or batch that the model cannot make."""


class SettingsError(InputError):
    """Unreadable settings, an unknown parameter, a value out of range, or a pair that conflicts."""


class CapError(InputError):
    """A memory cap that is not a positive number of GiB."""


class ProfileError(InputError):
    """A profile file that is damaged, of a newer schema, or made for another pipeline class."""


class RehearsalError(WorkbenchError):
    """The pipeline's own code could not be run without weights; the message says what it asked for."""
