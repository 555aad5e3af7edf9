"""The plan that is furthest within the limits, or least beyond them: whether a size can be made at all, and with what to try the next.

How much memory a configuration that fits would leave is asked of a card that is short of it: there PyTorch's allocator gives back what
it had only kept, so that the answer grows with size with fewer jumps.
"""

from __future__ import annotations

from workbench._estimate import Predictor
from workbench._plan import Limits, pricing
from workbench.devices import Device
from workbench.questions._fastest import Candidates, remembering, shares
from workbench.search import Candidate
from workbench.search._outlines import Outlines
from workbench.search.pins import Pins
from workbench.search.space import VAE_STAGES, Space
from workbench.techniques import Settings


class Press:
    """Prices for one workload under memory pressure."""

    def __init__(self, predictor: Predictor, device: Device, limits: Limits, pins: Pins) -> None:
        self.predictor, self.device, self.limits, self.pins = predictor, device, limits, pins
        self.price = remembering(pricing(predictor, device, pins))
        self._pressed = remembering(pricing(predictor, device.capped(memory_bytes=1), pins))

    def excess(self, settings: Settings) -> float:
        """The largest share of a limit that settings take: they do if and only if it is at most 1.

        Raises:
            SettingsError: a technique does not apply.
        """
        found = max(shares(self.price(settings), self.limits, self.device).values())
        if found > 1.0:
            return found
        return min(found, max(shares(self._pressed(settings), self.limits, self.device).values()))

    def leanest(self) -> Settings:
        """Of all configurations the one of least excess.

        Raises:
            SettingsError: what is pinned cannot act on this model, card or workload.
        """
        predictor, device = self.predictor, self.device
        whole = Space.of(predictor.spec, predictor.workload, device, self.pins, blocks=predictor.num_blocks())
        candidates = Candidates(
            self._leaner(whole), self._pressed, Outlines(predictor, device), _peaks_in_the_vae
        )
        best: Candidate | None = None
        least = float("inf")
        for candidate in candidates:
            if shares(candidate, self.limits, self.device).get("time", 0.0) > max(1.0, least):
                break  # all others are slower still
            excess = self.excess(candidate.settings)
            if best is None or excess < least:
                best, least = candidate, excess
        if best is None:
            assert candidates.refused is not None, "a space has a point"
            raise candidates.refused
        return best.settings

    def _leaner(self, space: Space) -> Space:
        """Without what only buys time with memory, if time is not limited: blocks that stay, groups that are fetched ahead; and files, if
        host RAM is not."""
        if self.limits.max_seconds is None:
            space = space.only(resident=(0,), stream=("off",))
        return space if self.device.ram_bytes is not None else space.only(disk=(0,))


def _peaks_in_the_vae(candidate: Candidate) -> bool:
    return candidate.cost.binds.name in VAE_STAGES
