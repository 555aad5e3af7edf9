"""What a search gives back: candidates and the plan made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.cost import Cost
from workbench.devices import Device
from workbench.models import Workload
from workbench.profiles import Profile
from workbench.search.pins import Pins
from workbench.techniques import Settings

if TYPE_CHECKING:
    import optuna
    import xarray


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Candidate:
    """One configuration with its price."""

    settings: Settings
    cost: Cost
    caution: int
    """How far it strays from the un-optimised run (`caution.py`)."""

    @property
    def order(self) -> tuple[float, int, int, str]:
        """What candidates are compared by: time, then caution, then VRAM; the settings' text makes ties repeatable."""
        return (self.cost.total_s, self.caution, self.cost.required_vram_bytes, self.settings.canonical())

    def profile(self, name: str = "") -> Profile:
        """This configuration as a profile that applies to a real pipeline."""
        return Profile.of(self.cost, name=name)

    def __repr__(self) -> str:
        from workbench.search._render_text import render_cost

        return render_cost(self.cost)

    def _repr_html_(self) -> str:
        from workbench.search._render_html import render_cost

        return render_cost(self.cost)


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """The outcome of a search. Shows itself as a table, in a terminal and in a notebook."""

    workload: Workload
    device: Device
    best: Candidate | None
    """None when nothing fits."""
    front: tuple[Candidate, ...]
    """Those that fit and that no other beats in both time and caution, fastest first."""
    nearest_miss: Candidate | None
    """When nothing fits: what comes closest."""
    study: optuna.Study
    trials: int
    """Configurations looked at, each once: composed, and the best of them priced in full."""
    seconds: float
    """How long the search took."""
    ranking: str
    """How `best` was chosen."""
    choice: str = ""
    """How the card was chosen, `"a typical 12 GB card"`; empty when the caller named it."""
    pins: Pins = Pins.NONE
    """What the caller pinned and forbade."""
    less_ram: tuple[tuple[int, Candidate | None], ...] = ()
    """Where host RAM is not limited: sizes in GiB that are less than `best` needs, with the best plan there, None if nothing fits."""

    def to_json(self) -> dict[str, Any]:
        """One JSON object: what `--json` prints; its keys are a contract."""
        return {
            "workload": self.workload.to_json(),
            "device": {
                "name": self.device.name,
                "title": self.device.title,
                "memory_gib": self.device.memory_bytes / 2**30,
            },
            **self.pins.to_json(),
            "best": _json(self.best),
            "front": [_json(candidate) for candidate in self.front],
            "nearest_miss": _json(self.nearest_miss),
            "less_ram": [{"ram_gib": size, "best": _json(candidate)} for size, candidate in self.less_ram],
            "trials": self.trials,
            "seconds": self.seconds,
            "ranking": self.ranking,
        }

    def to_dataset(self) -> xarray.Dataset:
        """The front as a dataset: dimension `candidate`, variables with units in their names."""
        import json

        import xarray

        costs = [candidate.cost for candidate in self.front]
        columns = {
            "total_s": [cost.total_s for cost in costs],
            "low_s": [cost.price.seconds[1] for cost in costs],
            "high_s": [cost.price.seconds[2] for cost in costs],
            "required_vram_gib": [cost.required_vram_bytes / 2**30 for cost in costs],
            "host_ram_gib": [cost.host_ram_bytes / 2**30 for cost in costs],
            "known_loss_percent": [cost.quality.known_loss_percent for cost in costs],
            "caution": [candidate.caution for candidate in self.front],
        }
        settings = [candidate.settings.canonical() for candidate in self.front]
        return xarray.Dataset(
            {name: ("candidate", values) for name, values in columns.items()},
            coords={"settings": ("candidate", settings)},
            attrs={
                "workload": json.dumps(self.workload.to_json()),
                "device": self.device.name,
                "versions": json.dumps(dict(costs[0].versions)) if costs else "{}",
            },
        )

    def __repr__(self) -> str:
        from workbench.search._render_text import render_plan

        return render_plan(self, self.choice)

    def _repr_html_(self) -> str:
        from workbench.search._render_html import render_plan

        return render_plan(self, self.choice)


def _json(candidate: Candidate | None) -> dict[str, Any] | None:
    return None if candidate is None else {**candidate.cost.to_json(), "caution": candidate.caution}
