"""The file of a profile: JSON with a type, a schema version and data; read through an allow-list of fields. Touches the disk.

`{"type": "workbench-profile", "version": 1, "data": {"name": ..., "workload": {...}, "settings": {...}, ...}}`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError, ProfileError
from workbench._files import replacing
from workbench._version import __version__
from workbench.devices import Device
from workbench.models import Workload

if TYPE_CHECKING:
    from workbench.profiles._profile import Profile

TYPE: Final = "workbench-profile"
SCHEMA_VERSION: Final = 1
"""Raised when a field changes its meaning, or when an older workbench would misread a new one."""

FIELDS: Final = (
    "name", "pipeline_class", "workload", "device", "settings", "prediction", "versions", "created_at",
)  # fmt: skip
_PREDICTED: Final = ("dtypes", "memory", "time", "quality", "versions")


def to_json(profile: Profile) -> dict[str, Any]:
    """The envelope around the profile's fields."""
    data = {
        "name": profile.name,
        "pipeline_class": profile.pipeline_class,
        "workload": profile.workload.to_json(),
        "device": profile.device.to_json(),
        "settings": dict(profile.settings),
        "prediction": dict(profile.prediction),
        "versions": dict(profile.versions),
        "created_at": profile.created_at,
    }
    return {"type": TYPE, "version": SCHEMA_VERSION, "data": data}


def fields_of(envelope: object) -> dict[str, Any]:
    """The profile's fields out of an envelope.

    Raises:
        ProfileError: no profile, a newer schema, a missing or unknown field, or a value that cannot be used.
    """
    data = _data_of(envelope)
    missing = [name for name in FIELDS if name not in data]
    unknown = [str(name) for name in data if name not in FIELDS]
    if missing or unknown:
        raise ProfileError(
            f"this profile is damaged: its data needs exactly the fields {', '.join(FIELDS)}; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
    for name in ("workload", "device", "settings", "prediction", "versions"):
        if not isinstance(data[name], Mapping):
            raise ProfileError(f"this profile is damaged: {name!r} must be a JSON object, got {data[name]!r}")
    absent = [name for name in _PREDICTED if name not in data["prediction"]]
    if absent:
        raise ProfileError(f"this profile is damaged: its prediction lacks {', '.join(absent)}")
    return {
        **data,
        "workload": _workload(data["workload"]),
        "device": _device(data["device"]),
        "settings": _settings(data),
    }


def _data_of(envelope: object) -> Mapping[str, Any]:
    if not isinstance(envelope, Mapping):
        raise ProfileError(
            f"this is not a workbench profile: it must be a JSON object, got {_kind(envelope)}"
        )
    if envelope.get("type") != TYPE:
        raise ProfileError(
            f"this is not a workbench profile: its 'type' must be {TYPE!r}, got {envelope.get('type')!r}"
        )
    version = envelope.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ProfileError(
            f"this profile is damaged: its schema version must be a whole number of at least 1, got {version!r}"
        )
    if version > SCHEMA_VERSION:
        raise ProfileError(
            f"this profile has schema version {version}; this workbench reads up to {SCHEMA_VERSION}: "
            "upgrade diffusion-workbench"
        )
    data = envelope.get("data")
    if not isinstance(data, Mapping):
        raise ProfileError(f"this profile is damaged: its 'data' must be a JSON object, got {_kind(data)}")
    return data


def _kind(value: object) -> str:
    """What a JSON value is called in JSON."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _workload(data: Mapping[str, Any]) -> Workload:
    try:
        return Workload.from_json(data)
    except InputError as error:
        raise ProfileError(f"this profile's workload cannot be used: {error}") from error


def _device(data: Mapping[str, Any]) -> Device:
    try:
        return Device.from_json(data)
    except InputError as error:
        raise ProfileError(f"this profile's device cannot be used: {error}") from error


def _settings(data: Mapping[str, Any]) -> dict[str, Any]:
    from workbench.techniques import Settings

    try:
        return Settings.parse(data["settings"]).to_json()
    except InputError as error:
        made = data["versions"].get("workbench", "an unknown version")
        raise ProfileError(
            f"this profile's settings, made by workbench {made}, are not understood by workbench {__version__}: {error}"
        ) from error


def write(envelope: Mapping[str, Any], path: Path) -> Path:
    """Writes an envelope; the file appears complete or not at all."""
    if not path.parent.is_dir():
        raise ProfileError(f"cannot save the profile {str(path)!r}: there is no folder {str(path.parent)!r}")
    if path.is_dir():
        raise ProfileError(f"cannot save the profile {str(path)!r}: it is a folder; name a file in it")
    text = json.dumps(envelope, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> Any:
    """The JSON value in a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProfileError(
            f"there is no profile {str(path)!r}: pass the path of a file that Profile.save wrote"
        ) from None
    except OSError as error:
        raise ProfileError(f"profile {str(path)!r} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise ProfileError(f"profile {str(path)!r} is damaged: it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise ProfileError(f"profile {str(path)!r} is damaged: it is not JSON ({where})") from None
