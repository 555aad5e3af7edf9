"""The profiles that ship with the package: one file per model, with the best plan for each of a few card sizes. Touches the disk.

`shipped/<model>.json`, made by `studies/profiles/run.py`: `{"type": "workbench-shipped-profiles", "version": 1, "model": ...,
"workload": {...}, "versions": {...}, "entries": [{"vram_gb": 6, "fits": true, "settings": {...}, "prediction": {...}}, ...]}`, an entry
a line. What every entry would repeat (workload, versions) is said once, and of the prediction what a reader decides by is kept. A size at
which nothing fits is an entry too: the nearest miss, and by how much it misses.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError, ProfileError, UnknownNameError
from workbench._files import replacing
from workbench._units import gib
from workbench.devices import resolve
from workbench.models import Workload
from workbench.profiles._versions import changed_versions

if TYPE_CHECKING:
    from workbench.cost import Cost
    from workbench.profiles._profile import Profile

TYPE: Final = "workbench-shipped-profiles"
SCHEMA_VERSION: Final = 1
SIZES: Final = (6, 8, 12, 16, 24, 48, 80)
"""GiB of the cards that profiles are made for."""
FOLDER: Final = Path(__file__).parent / "shipped"

_FIELDS: Final = (
    "model", "pipeline_class", "workload", "versions", "search", "created_at", "entries",
)  # fmt: skip
_ENTRY_FIELDS: Final = ("vram_gb", "fits", "missing_gib", "caution", "settings", "prediction")
_LEFT_OUT: Final = ("whereabouts", "loading", "host_ram", "by_kind_s")
"""Parts of a prediction that take most of its bytes and nobody chooses a profile by; `workbench estimate` makes them again."""
_REPEATED: Final = ("workload", "settings", "versions")
_DECIMALS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The best plan for one card size; where nothing fits, the nearest miss."""

    vram_gb: int
    fits: bool
    missing_gib: float
    """By how much the nearest miss exceeds VRAM and host RAM; 0 when it fits."""
    caution: int
    """How far it strays from the un-optimised run (`search/caution.py`)."""
    settings: Mapping[str, Any] = field(hash=False)
    prediction: Mapping[str, Any] = field(hash=False)
    """`Cost.to_json` in short."""

    @classmethod
    def of(cls, vram_gb: int, cost: Cost, caution: int) -> Entry:
        """The entry of a priced configuration."""
        return cls(
            vram_gb=vram_gb,
            fits=cost.fits,
            missing_gib=round(gib(cost.missing_bytes), _DECIMALS),
            caution=caution,
            settings=dict(cost.settings),
            prediction=_shortened(cost.to_json()),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object in a file."""
        return {name: getattr(self, name) for name in _ENTRY_FIELDS}


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedProfiles:
    """All profiles of one model, smallest card first."""

    model: str
    pipeline_class: str
    workload: Workload
    """The model's native one."""
    versions: Mapping[str, str] = field(hash=False)
    """Library to the version that the predictions are of."""
    search: Mapping[str, Any] = field(hash=False)
    """What the search was: its space, trials and seed."""
    created_at: str
    """ISO 8601, UTC."""
    entries: tuple[Entry, ...]

    @classmethod
    def of(
        cls, costs: Iterable[tuple[int, Cost, int]], *, pipeline_class: str, search: Mapping[str, Any]
    ) -> ShippedProfiles:
        """The profiles of one model.

        Args:
            costs: GiB of the card, the best configuration for it (or the nearest miss), and its caution; at least one.
        """
        rows = sorted(costs, key=lambda row: row[0])
        cost = rows[0][1]
        return cls(
            model=cost.workload.model,
            pipeline_class=pipeline_class,
            workload=cost.workload,
            versions=dict(cost.versions),
            search=dict(search),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            entries=tuple(Entry.of(*row) for row in rows),
        )

    def with_entries(self, entries: Iterable[Entry]) -> ShippedProfiles:
        """These and others; of two for one size these."""
        by_size = {entry.vram_gb: entry for entry in (*entries, *self.entries)}
        return dataclasses.replace(self, entries=tuple(by_size[size] for size in sorted(by_size)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """GiB of the cards that there are entries for."""
        return tuple(entry.vram_gb for entry in self.entries)

    def entry(self, vram_gb: float) -> Entry:
        """The entry of the largest size that is not above `vram_gb`.

        Raises:
            ProfileError: `vram_gb` is no number, or below the smallest size.
        """
        number = isinstance(vram_gb, Real) and not isinstance(vram_gb, bool)
        below = [entry for entry in self.entries if number and entry.vram_gb <= vram_gb]
        if not below:
            raise ProfileError(
                f"vram_gb must be a number of at least {self.entries[0].vram_gb} GiB, the smallest card that "
                f"profiles of {self.model} are made for, got {vram_gb!r}; plan for it: {_plan_command(self.model)}"
            )
        return below[-1]

    def profile(self, vram_gb: float) -> Profile:
        """The profile for a card of so many GiB: that of the largest size that is not above.

        Raises:
            ProfileError: `vram_gb` is no number or below the smallest size, or nothing fits there.
        """
        from workbench.profiles._profile import Profile

        entry = self.entry(vram_gb)
        if not entry.fits:
            raise ProfileError(self.miss(entry))
        return Profile(
            name=f"{self.model} on {entry.vram_gb} GiB, shipped",
            pipeline_class=self.pipeline_class,
            workload=self.workload,
            device=resolve(None, vram_gb=entry.vram_gb),
            settings=dict(entry.settings),
            prediction={
                "workload": self.workload.to_json(),
                "settings": dict(entry.settings),
                "versions": dict(self.versions),
                **entry.prediction,
            },
            versions=dict(self.versions),
            created_at=self.created_at,
        )

    def miss(self, entry: Entry) -> str:
        """The sentence on an entry where nothing fits."""
        fitting = [other.vram_gb for other in self.entries if other.fits]
        larger = f"; the smallest size that one fits is {fitting[0]} GiB" if fitting else ""
        return (
            f"nothing fits {self.model} at its native size onto {entry.vram_gb} GiB: "
            f"the nearest miss lacks {entry.missing_gib:.2f} GiB{larger}"
        )

    def stale(self) -> str:
        """A sentence if other library versions are installed than the predictions are of, and what to do; "" if they are the same."""
        changed = changed_versions(self.versions)
        if not changed:
            return ""
        return (
            f"the shipped profiles of {self.model} were planned with other versions ({'; '.join(changed)}): memory and time "
            f"may differ; plan anew with {_plan_command(self.model)}, "
            f"or all sizes with python studies/profiles/run.py --models {self.model}"
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object that a file holds."""
        values = {name: getattr(self, name) for name in _FIELDS}
        values["workload"] = self.workload.to_json()
        values["entries"] = [entry.to_json() for entry in self.entries]
        return {"type": TYPE, "version": SCHEMA_VERSION, **values}

    @classmethod
    def from_json(cls, data: Any) -> ShippedProfiles:
        """The profiles that `to_json` wrote.

        Raises:
            ProfileError: it is something else, of a newer schema, or damaged.
        """
        if not isinstance(data, Mapping) or data.get("type") != TYPE:
            raise ProfileError(f"these are no shipped profiles: they must be a JSON object of type {TYPE!r}")
        if data.get("version") != SCHEMA_VERSION:
            raise ProfileError(
                f"schema version of shipped profiles must be {SCHEMA_VERSION}, got {data.get('version')!r}"
            )
        try:
            values = {name: data[name] for name in _FIELDS}
            values["entries"] = tuple(
                Entry(**{name: entry[name] for name in _ENTRY_FIELDS}) for entry in values["entries"]
            )
            values["workload"] = Workload.from_json(values["workload"])
        except (KeyError, TypeError, InputError) as error:
            raise ProfileError(f"these shipped profiles are damaged: {error!r}") from error
        if not values["entries"]:
            raise ProfileError("these shipped profiles are damaged: there is no entry")
        return cls(**values)

    def save(self, folder: Path = FOLDER) -> Path:
        """Writes the file of this model, an entry a line; it appears complete or not at all."""
        path = folder / f"{self.model}.json"
        data = self.to_json()
        entries = data.pop("entries")
        head = ",\n".join(f" {json.dumps(name)}: {_text(value)}" for name, value in data.items())
        rows = ",\n".join(f"  {_text(entry)}" for entry in entries)
        with replacing(path) as temporary:
            temporary.write_text(f'{{\n{head},\n "entries": [\n{rows}\n ]\n}}\n', encoding="utf-8")
        return path


def shipped_models(folder: Path = FOLDER) -> tuple[str, ...]:
    """Names of the models that profiles ship for."""
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def load_shipped(model: str, folder: Path = FOLDER) -> ShippedProfiles:
    """The profiles of a model.

    Raises:
        UnknownNameError: none ship for this model.
        ProfileError: the file is damaged.
    """
    known = shipped_models(folder)
    if model not in known:
        raise UnknownNameError.of("model with shipped profiles", model, known)
    path = folder / f"{model}.json"
    try:
        return ShippedProfiles.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ProfileError, json.JSONDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from error


def _shortened(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction without what other fields of the file say and what takes most of its bytes."""
    kept = {name: value for name, value in prediction.items() if name not in _REPEATED}
    short: dict[str, Any] = _short(kept)
    return short


def _short(value: Any) -> Any:
    """A JSON value with its numbers rounded, and without the parts in `_LEFT_OUT`, however deep they are."""
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, Mapping):
        return {name: _short(inner) for name, inner in value.items() if name not in _LEFT_OUT}
    return [_short(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plan_command(model: str) -> str:
    return f"workbench plan --model {model} --vram-gb GIB --out FILE"
