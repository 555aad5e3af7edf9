"""Fewer (or more) denoising steps than the workload's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.techniques._call_defaults import call_with
from workbench.techniques._checks import check_whole
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

_STEPS = "num_inference_steps"
GUIDE = "a practitioners' guide to video diffusion on small GPUs (its claim, not measured here): 50 to 25 steps cost 3-5 % of the quality"
"""It names neither model nor metric; the upper end of its range is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps(AbstractTechnique):
    """Denoises in `count` steps.

    Helps: the time of denoising is proportional to the steps; memory does not change. Hurts: quality falls, slowly at first (solvers
    of higher order, as Wan's UniPC, keep more of it), fast below about 15-20 steps of a model that was not distilled.
    Not to be confused with distilled models, which are trained for few steps.

    `pipe(...)` takes `count` as its default. A caller who passes `num_inference_steps` gets what he asks for: the profile sets defaults,
    it does not overrule.
    """

    id: ClassVar[str] = "steps"

    count: int
    """Denoising steps."""

    def __post_init__(self) -> None:
        check_whole(self.id, "count", self.count, minimum=1)

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Every diffusion pipeline."""
        return None

    @property
    def changes_calls(self) -> bool:
        """The denoiser is called another number of times."""
        return True

    def call_kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Without the workload's own number of steps, so that this one is the default."""
        return {name: value for name, value in kwargs.items() if name != _STEPS}

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Gives the pipeline a class of the same name whose call defaults to `count` steps."""
        return call_with(
            pipe, f"the pipeline denoises in {self.count} steps by default", **{_STEPS: self.count}
        )

    def effect(self) -> Effect:
        """Published for one point only; any other number of steps is unknown."""
        if self.count == 25:
            return Effect(provenance="published", loss_percent=5.0, metric="quality", source=GUIDE)
        return UNKNOWN
