"""`fit`: the longest clip, or the largest size, that a card can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError
from workbench._estimate import collector_paused
from workbench._plan import Limits, check_counts, searched
from workbench.devices import Device, resolve
from workbench.models import DEFAULT_MODEL, ModelSpec, Workload, resolve_model
from workbench.questions._climb import Climb, Rung
from workbench.questions._ladder import MAXIMIZE, Ladder
from workbench.search import Plan
from workbench.search._words import describe_choice
from workbench.search.caution import TOLERATED
from workbench.search.pins import Pins
from workbench.techniques import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


@dataclass(frozen=True, kw_only=True, repr=False)
class Fit:
    """The largest clip that a card can make. Shows itself as a table, in a terminal and in a notebook."""

    maximize: str
    """`frames` or `resolution`."""
    device: Device
    plan: Plan | None
    """The plan for that clip; None when not even the smallest can be made."""
    ladder: tuple[Rung, ...]
    """Every size that was looked at, the smallest first."""
    binds: str
    """Why there is no larger one: `memory`, `host RAM`, `time`, `quality`, or `model`, whose own limit is reached."""
    limits: Limits
    pins: Pins
    choice: str = ""
    """How the card was chosen; empty when the caller named it."""
    fails: str = ""
    """What the pipeline's own code said of the next larger size, where it fails there; then `binds` is `model`."""

    @property
    def workload(self) -> Workload | None:
        """The largest clip; None when there is none."""
        return None if self.plan is None else self.plan.workload

    @property
    def next_up(self) -> Rung | None:
        """The next larger size, which cannot be made; None when the model itself makes none."""
        return next((rung for rung in self.ladder if not rung.is_good), None)

    def to_json(self) -> dict[str, Any]:
        """One JSON object: what `--json` prints."""
        return {
            "maximize": self.maximize,
            "workload": None if self.workload is None else self.workload.to_json(),
            "binds": self.binds,
            "fails": self.fails,
            **self.pins.to_json(),
            "max_seconds": self.limits.max_seconds,
            "min_quality": self.limits.min_quality,
            "ladder": [_rung_json(rung) for rung in self.ladder],
            "plan": None if self.plan is None else self.plan.to_json(),
        }

    def __repr__(self) -> str:
        from workbench.questions._fit_report import fit_report
        from workbench.search._render_text import render_report

        return render_report(fit_report(self))

    def _repr_html_(self) -> str:
        from workbench.questions._fit_report import fit_report
        from workbench.search._render_html import render_report

        return render_report(fit_report(self))


def _rung_json(rung: Rung) -> dict[str, Any]:
    cost = rung.candidate.cost
    return {
        "frames": rung.workload.frames,
        "height": rung.workload.height,
        "width": rung.workload.width,
        "fits": rung.is_good,
        "everything_tried": rung.is_sure,
        "binds": rung.binds,
        "required_vram_gib": cost.required_vram_bytes / 2**30,
        "host_ram_gib": cost.host_ram_bytes / 2**30,
        "total_s": cost.total_s,
        "caution": rung.candidate.caution,
        "settings": rung.candidate.settings.to_json(),
    }


def fit(
    vram_gb: float | None = None,
    *,
    model: ModelSpec | str | Path | DiffusionPipeline = DEFAULT_MODEL,
    maximize: str = "frames",
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    device: Device | str | None = None,
    ram_gb: float | None = None,
    desktop_gb: float | None = None,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    max_caution: int | None = TOLERATED,
    pin: Settings | Mapping[str, Any] | None = None,
    forbid: Sequence[str] = (),
    trials: int = 64,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> Fit:
    """Finds the longest clip, or the largest size, for which there is a plan that fits a card.

    The sizes are those that the model can make (`Ladder`). Memory and time are taken to grow with size; on the next larger size every
    configuration of the search is tried, and none meets the limits.

    Args:
        vram_gb, device, ram_gb, desktop_gb: the cap and the machine, as in `plan`.
        maximize: `frames`, at the given height and width; or `resolution`, at the given frames and in the shape of height and width.
        frames: of the clips; where frames are maximized, where the climb starts, which changes nothing but its duration.
        max_seconds: of one clip; None means that only memory limits.
        max_caution: plans that stray further from the un-optimised run are left out; the default is what `plan` prefers by itself, None
            lets anything compete (windows that take clips of any length apart, for instance).
        pin, forbid, min_quality, trials, seed: as in `plan`, for every size.
        tell: called with a few words whenever a size is looked at.

    Raises:
        InputError: something of this is wrong; the message says what, which value, and what is allowed.
    """
    if maximize not in MAXIMIZE:
        raise InputError(f"maximize must be one of {', '.join(MAXIMIZE)}, got {maximize!r}")
    limits = Limits.checked(max_seconds=max_seconds, min_quality=min_quality)
    check_counts(trials, seed)
    pins = Pins.of(pin, forbid, max_caution)
    given = {"frames": frames, "height": height, "width": width}
    given |= {"steps": steps, "guidance": guidance, "batch": batch}  # type: ignore[dict-item]
    spec = resolve_model(model)
    workload = Workload.for_model(spec, **{k: v for k, v in given.items() if v is not None})
    card = resolve(device, vram_gb=vram_gb, ram_gb=ram_gb, desktop_gb=desktop_gb)
    ladder = Ladder(spec=spec, workload=workload, maximize=maximize)
    climb = Climb(ladder, card, limits, pins, tell or (lambda words: None))
    choice = describe_choice(device, vram_gb)
    with collector_paused():
        highest = climb.run()
        plan = None
        if highest is not None:
            plan = searched(
                climb.predictor(highest),
                card,
                limits=limits,
                pins=pins,
                trials=trials,
                seed=seed,
                choice=choice,
            )
    above = {at: rung.binds for at, rung in climb.rungs.items()} | dict.fromkeys(climb.broken, "model")
    stops = min((at for at in above if highest is None or at > highest), default=None)
    return Fit(
        maximize=maximize,
        device=card,
        plan=plan,
        ladder=tuple(rung for _, rung in sorted(climb.rungs.items())),
        binds="model" if stops is None else above[stops],
        limits=limits,
        pins=pins,
        choice=choice,
        fails=climb.broken.get(stops, "") if stops is not None else "",
    )
