"""Denoiser calls that reuse what an earlier one computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench._errors import SettingsError
from workbench.techniques._cache_kinds import KINDS, check_kind, hit_rate_source, why_not
from workbench.techniques._checks import check_choice, denoisers
from workbench.techniques._mag_ratios import MAG_RATIOS
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Cache(AbstractTechnique):
    """One of diffusers' caches on every denoiser, configured so that it acts.

    `first_block` skips all blocks but the first when that one's output has changed little since the step before: the data decides.
    `magcache` skips them by how much the residual of the blocks is known to change from step to step; needs `mag_ratios` of the model.
    `taylorseer` computes every `interval`-th step and extrapolates between; `lite` extrapolates the output, otherwise every attention.
    `pab` (pyramid attention broadcast) reuses attention for `interval` calls; `fastercache` extrapolates it and, where guidance is one
    call, guesses the unconditional half.

    Helps: time of denoising. Hurts: quality, and memory: each branch of guidance keeps hidden states (first_block, magcache), the
    denoiser's output (taylorseer lite) or the outputs of all attentions (the others), until the run is over. Not to be confused with
    fewer steps, which a cache resembles most where it skips whole calls.

    Sources: ParaAttention (first block); Liu et al. 2025, arXiv 2503.06923 (TaylorSeer); Ma et al. 2025, arXiv 2506.09045 (MagCache);
    Zhao et al. 2024, arXiv 2408.12588 (PAB); Lv et al. 2024, arXiv 2410.19355 (FasterCache). The code is diffusers' (`hooks`).
    """

    id: ClassVar[str] = "cache"

    kind: str
    """`first_block`, `taylorseer`, `magcache`, `pab` or `fastercache`. The other parameters belong to some kinds each."""
    threshold: float | None = None
    """first_block: largest relative change that counts as none. magcache: largest accumulated error."""
    hit_rate: float | None = None
    """first_block: part of the calls that can be skipped that a prediction takes to be skipped; a run goes by its data."""
    interval: int | None = None
    """taylorseer: steps from one that is computed to the next. pab, fastercache: calls for which self-attention serves."""
    temporal_interval: int | None = None
    """pab, fastercache: the same for attention over time, where it is apart; None leaves that alone."""
    cross_interval: int | None = None
    """pab: the same for cross-attention; None leaves that alone."""
    warmup_steps: int | None = None
    """taylorseer: first steps, all computed."""
    order: int | None = None
    """taylorseer: of the extrapolation; each order keeps one more tensor."""
    lite: bool | None = None
    """taylorseer: whether only the denoiser's output is kept."""
    max_skips: int | None = None
    """magcache: most steps skipped in a row."""
    retention: float | None = None
    """magcache: part of the steps, from the first, that are all computed."""
    mag_ratios: tuple[float, ...] | str | None = None
    """magcache: ratio of the residual's magnitude to that of the step before, for each step (other numbers of steps interpolate), or
    the name of a model whose ratios are published."""
    timesteps: tuple[int, int] | None = None
    """pab, fastercache: timesteps, of 1000, between which attention is reused."""
    unconditional_interval: int | None = None
    """fastercache: calls of which one computes the unconditional half of guidance."""
    unconditional_timesteps: tuple[int, int] | None = None
    """fastercache: timesteps between which that half is guessed."""
    weight: float | None = None
    """fastercache: how far attention is extrapolated; 0 repeats the last one."""

    def __post_init__(self) -> None:
        check_choice(self.id, "kind", self.kind, KINDS)
        check_kind(self)

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of its kind, defaults filled in."""
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in KINDS[self.kind].defaults.items()
        }

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Denoisers on which this kind was seen to act."""
        names = denoisers(model.component_names())
        if not names:
            return "it has no denoiser"
        for name in names:
            reason = why_not(self, model.pipeline_class, model.component(name).class_name)
            if reason is not None:
                return reason
        if self.kind != "magcache":
            return None
        if len(names) > 1:
            return "magcache counts the steps of one denoiser, and here two share them"
        if self.mag_ratios in MAG_RATIOS and self.mag_ratios != model.name:
            return f"its mag_ratios were measured on {self.mag_ratios}"
        return None

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The denoisers."""
        return frozenset(denoisers(model.component_names()))

    @property
    def changes_calls(self) -> bool:
        """Calls that compute and calls that are skipped differ."""
        return True

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """`enable_cache` of every denoiser."""
        from workbench.techniques._caches import put_on
        from workbench.techniques._tensors import is_weightless, modules_of

        handle, modules, weightless = Handle(), modules_of(pipe), is_weightless(pipe)
        names = denoisers(modules)
        if self.kind == "magcache" and len(names) > 1:
            raise SettingsError("cache magcache counts the steps of one denoiser, and here two share them")
        with handle.whole_or_not_at_all():
            for name in names:
                handle.include(put_on(pipe, name, modules[name], self, weightless=weightless))
        return handle

    def notes(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """Where the hit rate is from."""
        if self.kind != "first_block":
            return ()
        rate = self.parameters["hit_rate"]
        source = hit_rate_source(model.name, rate, self.parameters["threshold"])
        return (
            f"cache first_block is priced as if it skipped {rate:.0%} of the calls that it can skip ({source}); a run goes by its data",
        )

    def effect(self) -> Effect:
        """Published figures are of other settings and give no percentage."""
        return UNKNOWN
