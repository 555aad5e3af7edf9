"""What a search composes, what it prices in full, and what it may leave out."""

from __future__ import annotations

import itertools

import pytest

from workbench._errors import SettingsError
from workbench._estimate import Predictor
from workbench._plan import pricing
from workbench.devices import resolve
from workbench.models import Workload
from workbench.search._composing import Composition
from workbench.search._outlines import Outlines
from workbench.search._study import Evaluated, run, seeds
from workbench.search.pareto import front
from workbench.search.pins import Pins
from workbench.search.space import SAVE_AROUND_THE_VAE, Space

FEW = {
    "unit": ("1", "layer"),
    "resident": (0, 1),
    "disk": (0,),
    "text": ("none", "int8wo"),
    "denoiser": ("none", "int8wo", "nf4"),
    "tiles": ("off", "default"),
    "steps": (8, 4),
}
"""A part of the space that can be priced in full, point by point."""


class Searching:
    """The tiny model on a card of this size; full prices are counted."""

    def __init__(self, vram_gb, *, few=None, **workload):
        asked = Workload.for_model(
            "tiny", **{"frames": 33, "height": 512, "width": 512, "steps": 8, **workload}
        )
        self.predictor, self.device = Predictor(asked), resolve(None, vram_gb=vram_gb)
        space = Space.of(self.predictor.spec, asked, self.device, blocks=self.predictor.num_blocks())
        self.space = space.only(**(FEW if few is None else few))
        self.count = 0
        price = pricing(self.predictor, self.device, Pins.NONE)

        def counted(settings):
            self.count += 1
            return price(settings)

        self.composition = Composition(self.space, Outlines(self.predictor, self.device))
        self.evaluated = Evaluated(self.composition, counted)

    def everything(self):
        """Every point of the space, priced in full."""
        price, found = pricing(self.predictor, self.device, Pins.NONE), []
        for point in self.space.points():
            try:
                found.append(price(self.space.settings_of(point)))
            except SettingsError:
                continue
        return found


def signature(candidates):
    return [(c.cost.total_s, c.caution, c.cost.host_ram_bytes) for c in candidates]


@pytest.mark.parametrize("vram_gb", [1.0, 1.2, 1.5, 2.0, 4.0])
def test_the_front_of_what_is_composed_is_that_of_every_point_priced_in_full(vram_gb):
    searching = Searching(vram_gb)
    composed = [searching.evaluated.of(c) for c in searching.composition.chosen()]
    every = searching.everything()
    assert signature(front(composed)) == signature(front(every))
    assert searching.count < len(every) / 10


def test_a_larger_cap_never_gives_a_worse_front():
    before = None
    for vram_gb in (1.0, 1.2, 1.4, 1.7, 2.0, 3.0, 6.0):
        # cards differ in speed as in size: one card, capped
        searching = Searching(6.0, few={})
        searching.device = searching.device.capped(memory_bytes=round(vram_gb * 2**30))
        composition = Composition(searching.space, Outlines(searching.predictor, searching.device))
        fitting = [c for c in composition.all() if c.fits]
        best = {
            caution: min((c.outline.total_s for c in fitting if c.caution <= caution), default=float("inf"))
            for caution in range(30)
        }
        if before is not None:
            assert all(best[caution] <= before[caution] for caution in best)
        before = best
    assert before[0] < float("inf")


def test_a_needless_point_answers_with_what_makes_it_needless():
    searching = Searching(24.0)
    space, composition = searching.space, searching.composition
    name = next(name for name in SAVE_AROUND_THE_VAE if len(space.dimensions[name]) > 1)
    without = composition.at(space.plain)
    assert without.fits
    assert composition.needed(space.at(name, space.dimensions[name][1])) is without
    assert composition.outlines.count == 1


def test_where_nothing_fits_the_nearest_miss_is_the_nearest_of_all():
    searching = Searching(0.9)
    missed = [searching.evaluated.of(c) for c in seeds(searching.composition)]
    every = searching.everything()
    assert not any(c.cost.fits for c in every)
    assert missed[0].cost.missing_bytes == min(c.cost.missing_bytes for c in every)


def test_a_study_reaches_the_front_with_and_without_its_seeds():
    searching = Searching(1.2)
    oracle = front([searching.evaluated.of(c) for c in searching.composition.chosen()])
    run(searching.evaluated, searching.device, trials=0, seed=0, storage=None)
    assert signature(front(searching.evaluated.all)) == signature(oracle)
    blind = Searching(1.2)
    study = run(blind.evaluated, blind.device, trials=400, seed=0, storage=None, first=[])
    found = front(blind.evaluated.all)
    assert len(study.trials) == 400
    # at every caution of the exact front the study's best is as fast, within what is told apart
    for exact in oracle:
        fastest = min(c.cost.total_s for c in found if c.caution <= exact.caution)
        assert fastest <= exact.cost.total_s * 1.02


def test_the_same_seed_gives_the_same_trials_and_another_one_others():
    def trials(seed):
        searching = Searching(1.5)
        return [
            t.params
            for t in run(searching.evaluated, searching.device, trials=20, seed=seed, storage=None).trials
        ]

    assert trials(3) == trials(3) != trials(4)


def test_points_have_the_dimensions_that_exist_and_no_others():
    space = Searching(6.0, few={}).space
    points = list(space.points())
    assert len({tuple(sorted(point.items(), key=str)) for point in points}) == len(points)
    for point in itertools.islice(points, 0, None, 97):
        assert ("unit" in point) == (point["offload"] == "group")
        assert ("stream" in point) == (point.get("unit") in ("1", "layer"))
        assert ("resident" in point) == (point.get("unit") == "1")
        assert ("disk" in point) == (point["offload"] == "group" and point.get("stream") != "late")
        assert point == space.completed(point)
    kept = [point["resident"] for point in points if "resident" in point]
    assert max(kept) < space.blocks == 3
