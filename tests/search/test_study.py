"""What a study prices, and what it may leave out."""

from __future__ import annotations

import pytest

from workbench._estimate import Predictor
from workbench.devices import resolve
from workbench.models import Workload
from workbench.search import Candidate
from workbench.search._study import Evaluated, composed
from workbench.search.caution import caution
from workbench.search.pareto import front
from workbench.search.space import SAVE_AROUND_THE_VAE, Space


class Pricing:
    """Prices for the miniature on a card of this size, counted."""

    def __init__(self, vram_gb: float) -> None:
        workload = Workload.for_model("tiny", frames=33, height=512, width=512)
        device = resolve(None, vram_gb=vram_gb)
        predictor = Predictor(workload)
        self.count = 0

        def price(settings):
            self.count += 1
            cost = predictor.cost(settings, device)
            return Candidate(
                settings=settings, cost=cost, caution=caution(settings.to_json(), workload.steps)
            )

        self.space = Space.of(predictor.spec, workload, device)
        self.evaluated = Evaluated(self.space, price)


def signature(candidates):
    return [(c.settings.canonical(), c.caution) for c in candidates]


@pytest.mark.parametrize(
    "vram_gb, fits_without", [(1.0, False), (1.2, False), (1.5, False), (2.0, True), (4.0, True)]
)
def test_needless_points_are_not_priced_and_the_front_is_the_exhaustive_one(vram_gb, fits_without):
    pruned, whole = Pricing(vram_gb), Pricing(vram_gb)
    everything = [c for point in composed(whole.space) if (c := whole.evaluated._priced(point)) is not None]
    for point in composed(pruned.space):
        pruned.evaluated.at(point)
    assert signature(front(pruned.evaluated.all)) == signature(front(everything))
    assert (pruned.count < whole.count) == fits_without


def test_a_needless_point_answers_with_what_makes_it_needless():
    pricing = Pricing(24.0)
    plain = {name: choices[0] for name, choices in pricing.space.dimensions.items()}
    name = next(name for name in SAVE_AROUND_THE_VAE if len(pricing.space.dimensions[name]) > 1)
    without = pricing.evaluated.at(plain)
    assert without is not None
    assert without.cost.fits
    assert pricing.evaluated.at({**plain, name: pricing.space.dimensions[name][1]}) is without
    assert pricing.count == 1
