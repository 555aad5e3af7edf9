"""What a scan of a pipeline's layers found: how much each block or layer alone costs when it is quantised. Touches the disk.

A scan is a record with the dimension `layer` (`records/schema.md`): one file for each network that was scanned, kept where plans look.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError, UnknownNameError
from workbench.devices._calibrated import calibration_folder
from workbench.models import ModelSpec
from workbench.records import load as load_record
from workbench.records._names import SCHEMA_VERSION, TYPE, attributes

if TYPE_CHECKING:
    import xarray

_NAN: Final = float("nan")
_CLIP, _UNRELATED = "clip", "unrelated"
_FACTS: Final = ("pipeline_class", "class_name", "config", "weights", "inputs", "versions", "created_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class KindScan:
    """One kind of quantisation on every layer alone, and on all of them."""

    packed_bytes: tuple[float, ...]
    """By layer: as stored under this kind; what it cannot pack stays as it is."""
    distances: tuple[float, ...]
    """By layer: mean squared error of the denoiser's prediction with this layer alone quantised, as a share of the prediction's mean
    square; 0 where the kind packs nothing, NaN where it is not measured yet."""
    whole: float = _NAN
    """The same with all layers quantised."""
    psnr_db: tuple[float, ...] = ()
    """By clip, of whole runs with all layers quantised against the un-optimised run of the same seed."""
    ssim: tuple[float, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every layer was measured."""
        return not any(math.isnan(value) for value in self.distances)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """How much the layers of one network mind being quantised; made by `workbench.sensitivity`."""

    component: str
    """`transformer`."""
    layers: tuple[str, ...]
    """Blocks or single layers, by their path within the component, in its order."""
    layer_bytes: tuple[float, ...]
    """What their quantisable weights take as loaded."""
    kinds: Mapping[str, KindScan] = field(hash=False)
    unrelated: tuple[float, float] | None = None
    """(PSNR in dB, SSIM) of the un-optimised clips of two seeds; None where fewer than two were made."""
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What was scanned: class and configuration of the network, a digest of its weights, the inputs, versions, date."""

    def kind(self, name: str) -> KindScan:
        """What was found for a kind.

        Raises:
            UnknownNameError: it was not scanned.
        """
        if name not in self.kinds:
            raise UnknownNameError.of("scanned kind", name, tuple(self.kinds))
        return self.kinds[name]

    def order(self, kind: str) -> tuple[str, ...]:
        """Layers, the most sensitive first.

        Raises:
            UnknownNameError: the kind was not scanned.
            InputError: its scan is not complete.
        """
        scan = self._complete(kind)
        return tuple(name for _, name in sorted(zip(scan.distances, self.layers, strict=True), key=_worst))

    def settings(
        self, kind: str, *, high_precision: int | None = None, budget_bytes: float | None = None
    ) -> dict[str, Any]:
        """Settings JSON of a mixed quantisation: the most sensitive layers stay as they are, the others are quantised.

        Args:
            high_precision: how many layers stay.
            budget_bytes: what all layers together may take; those stay that spare most error per byte, as long as they fit.

        Raises:
            UnknownNameError: the kind was not scanned.
            InputError: not exactly one of the two, or a budget below what all layers take when quantised.
        """
        if (high_precision is None) == (budget_bytes is None):
            raise InputError("settings of a sensitivity need high_precision or budget_bytes, one of the two")
        if budget_bytes is not None:
            kept = self._within(kind, budget_bytes)
        elif high_precision is not None and 0 <= high_precision <= len(self.layers):
            kept = set(self.order(kind)[:high_precision])
        else:
            raise InputError(f"high_precision must be 0 to {len(self.layers)}, got {high_precision!r}")
        skip = [pattern_of(name) for name in self.layers if name in kept]
        chosen: Any = {"kind": kind, "skip": skip} if skip else kind
        return {"quantization": {self.component: chosen}}

    def _within(self, kind: str, budget_bytes: float) -> set[str]:
        scan = self._complete(kind)
        taken = sum(scan.packed_bytes)
        if not budget_bytes >= taken:  # NaN too
            raise InputError(
                f"budget_bytes must be at least {taken:.0f}, what all layers take in {kind}, got {budget_bytes!r}"
            )
        extra = [loaded - packed for loaded, packed in zip(self.layer_bytes, scan.packed_bytes, strict=True)]
        places = [place for place, more in enumerate(extra) if more > 0 and scan.distances[place] > 0]
        kept = set()
        for place in sorted(places, key=lambda place: -scan.distances[place] / extra[place]):
            if taken + extra[place] <= budget_bytes:
                taken += extra[place]
                kept.add(self.layers[place])
        return kept

    def share(self, kind: str, skip: tuple[str, ...]) -> float | None:
        """The share of the error that is left when layers whose names these patterns find stay as they are; None if that is not known."""
        scan = self.kinds.get(kind)
        if scan is None or not scan.is_complete or not sum(scan.distances):
            return None
        searches = [re.compile(pattern) for pattern in skip]
        left = 0.0
        for name, distance in zip(self.layers, scan.distances, strict=True):
            if not any(search.search(name) for search in searches):
                left += distance
        # a pattern for parts of a block says nothing about whole blocks
        if any(not any(search.search(name) for name in self.layers) for search in searches):
            return None
        return left / sum(scan.distances)

    def _complete(self, kind: str) -> KindScan:
        scan = self.kind(kind)
        if not scan.is_complete:
            raise InputError(f"the scan of {kind} is not complete: call sensitivity again, and it goes on")
        return scan

    # --- as a record ------------------------------------------------------------------------------------------------

    def to_dataset(self) -> xarray.Dataset:
        """A record: a trial per kind, one per clip of it, and one for the unrelated clips; layers along `layer`."""
        import numpy as np
        import xarray

        rows = list(self._rows())
        layers = np.array([f"{self.component}.{name}" for name in self.layers], dtype=object)
        missing = (_NAN,) * len(self.layers)
        data: dict[str, Any] = {"layer_bytes": ("layer", np.array(self.layer_bytes, dtype=np.float64))}
        for name in ("settings", "status"):
            data[name] = ("trial", np.array([row[name] for row in rows], dtype=object))
        for name in ("prediction_distance", "psnr_db", "ssim"):
            data[name] = ("trial", np.array([row.get(name, _NAN) for row in rows]))
        for name in ("layer_distance", "layer_packed_bytes"):
            data[name] = (("trial", "layer"), np.array([row.get(name, missing) for row in rows]))
        coordinates = {
            "trial": np.array([row["trial"] for row in rows], dtype=object),
            "layer": layers,
            "stage": np.array([], dtype=object),
        }
        named = {name: (dims, values, attributes(name)) for name, (dims, values) in data.items()}
        facts = {
            name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for name, value in self.facts.items()
        }
        own = {"type": TYPE, "schema_version": SCHEMA_VERSION, "component": self.component}
        return xarray.Dataset(named, coords=coordinates, attrs={**own, **facts})

    def _rows(self) -> Any:
        for kind, scan in self.kinds.items():
            settings = json.dumps({"quantization": {self.component: kind}})
            common = {"settings": settings, "status": "ok"}
            yield common | {
                "trial": kind,
                "prediction_distance": scan.whole,
                "layer_distance": scan.distances,
                "layer_packed_bytes": scan.packed_bytes,
            }
            for number, (psnr, ssim) in enumerate(zip(scan.psnr_db, scan.ssim, strict=True)):
                yield common | {"trial": f"{kind}/{_CLIP} {number}", "psnr_db": psnr, "ssim": ssim}
        if self.unrelated is not None:
            psnr, ssim = self.unrelated
            yield {"trial": _UNRELATED, "settings": "{}", "status": "ok", "psnr_db": psnr, "ssim": ssim}

    @classmethod
    def from_dataset(cls, record: xarray.Dataset) -> Sensitivity:
        """The inverse of `to_dataset`.

        Raises:
            InputError: a record of something else.
        """
        if "layer_distance" not in record or "component" not in record.attrs:
            raise InputError("the record is no scan of layers: it has no layer_distance or component")
        component = str(record.attrs["component"])
        trials = [str(name) for name in record["trial"].values]
        kinds = {}
        for number, kind in enumerate(trials):
            if "/" in kind or kind == _UNRELATED:
                continue
            clips = [place for place, name in enumerate(trials) if name.startswith(f"{kind}/{_CLIP} ")]
            kinds[kind] = KindScan(
                packed_bytes=tuple(record["layer_packed_bytes"].values[number].tolist()),
                distances=tuple(record["layer_distance"].values[number].tolist()),
                whole=float(record["prediction_distance"].values[number]),
                psnr_db=tuple(float(record["psnr_db"].values[place]) for place in clips),
                ssim=tuple(float(record["ssim"].values[place]) for place in clips),
            )
        place = trials.index(_UNRELATED) if _UNRELATED in trials else None
        apart = (
            [float(record[name].values[place]) for name in ("psnr_db", "ssim")] if place is not None else []
        )
        facts = {name: _plain(record.attrs[name]) for name in _FACTS if name in record.attrs}
        return cls(
            component=component,
            layers=tuple(str(name).removeprefix(f"{component}.") for name in record["layer"].values),
            layer_bytes=tuple(record["layer_bytes"].values.tolist()),
            kinds=kinds,
            unrelated=(apart[0], apart[1]) if apart else None,
            facts=facts,
        )

    def matches(self, spec: ModelSpec) -> bool:
        """Whether a model has this network: the same pipeline and class, and nothing that its row states is otherwise here.

        Weights cannot be seen in a row, so a fine-tune counts as its base model.
        """
        if spec.pipeline_class != self.facts["pipeline_class"]:
            return False
        if self.component not in spec.component_names():
            return False
        part, config = spec.component(self.component), self.facts["config"]
        stated = json.loads(json.dumps(dict(part.config)))
        return part.class_name == self.facts["class_name"] and all(
            name in config and config[name] == value for name, value in stated.items()
        )


def pattern_of(layer: str) -> str:
    """A pattern that finds a layer, and all below it, by full names."""
    return rf"^{re.escape(layer)}(\.|$)"


def scan_file(spec: ModelSpec, component: str) -> Path:
    """Where the scan of a model's network is or would be: one file per pipeline class, class and configuration."""
    part = spec.component(component)
    text = json.dumps([spec.pipeline_class, part.class_name, dict(part.config)], sort_keys=True, default=str)
    return scan_folder() / f"{component}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.nc"


def scan_folder() -> Path:
    """`quality` beside the calibrations of devices."""
    return calibration_folder().parent / "quality"


def scans_of(spec: ModelSpec) -> tuple[Sensitivity, ...]:
    """Every scan of this user that is of this model's networks; at most one for each, the last one made.

    Raises:
        InputError: a file there cannot be read.
    """
    paths = sorted(scan_folder().glob("[!.]*.nc"), key=lambda path: path.stat().st_mtime_ns)
    found = [read_scan(path, path.stat().st_mtime_ns) for path in paths]
    return tuple({scan.component: scan for scan in found if scan.matches(spec)}.values())


@functools.lru_cache(maxsize=64)
def read_scan(path: Path, modified_ns: int) -> Sensitivity:
    """The scan in a file, read once for as long as the file stays the same."""
    return Sensitivity.from_dataset(load_record(path))


def _plain(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _worst(pair: tuple[float, str]) -> tuple[float, str]:
    return -pair[0], pair[1]
