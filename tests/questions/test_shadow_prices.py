"""What memory buys: each step of the curve is what a plan under that cap says."""

from __future__ import annotations

import itertools
import json

import pytest

from workbench._errors import InputError
from workbench._estimate import Predictor
from workbench._plan import Limits
from workbench.devices import get
from workbench.models import Workload
from workbench.questions import ShadowPrices, shadow_prices
from workbench.questions._fastest import fastest
from workbench.questions._shadow_prices_report import buys
from workbench.search.pareto import EQUALLY_FAST
from workbench.search.pins import Pins
from workbench.views import plot_shadow_prices

CARD = get("rtx-3060-12gb")


@pytest.fixture(scope="module")
def prices(size) -> ShadowPrices:
    return shadow_prices(device=CARD, **size)


def best_under(size, cap_bytes: int):
    values = {name: value for name, value in size.items() if name != "model"}
    predictor = Predictor(Workload.for_model(size["model"], **values))
    return fastest(predictor, CARD.capped(memory_bytes=cap_bytes), Limits(), Pins.of(max_caution=3)).best


def test_each_step_is_the_best_plan_from_its_cap_on(prices, size) -> None:
    assert len(prices.steps) >= 2
    for before, step in itertools.pairwise((None, *prices.steps)):
        best = best_under(size, step.cap_bytes)
        assert best is not None
        assert best.cost.total_s == pytest.approx(step.seconds, rel=2 * EQUALLY_FAST)
        below = best_under(size, step.cap_bytes - 1)
        if before is None:
            assert below is None
        else:
            assert below.cost.total_s > step.seconds
            assert below.cost.total_s == pytest.approx(before.seconds, rel=2 * EQUALLY_FAST)


def test_more_memory_never_takes_longer(prices) -> None:
    caps = [step.cap_bytes for step in prices.steps]
    seconds = [step.seconds for step in prices.steps]
    assert caps == sorted(set(caps)) and seconds == sorted(set(seconds), reverse=True)
    assert all(step.candidate.cost.fits for step in prices.steps)


def test_a_gib_is_worth_what_it_saves(prices) -> None:
    first, second = prices.steps[:2]
    more_gib = (second.cap_bytes - first.cap_bytes) / 2**30
    assert prices.seconds_per_gib(0) * more_gib == pytest.approx(first.seconds - second.seconds)
    assert prices.seconds_per_gib(len(prices.steps) - 1) is None
    assert prices.at(second.cap_bytes - 1) is first and prices.at(second.cap_bytes) is second
    assert prices.at(first.cap_bytes - 1) is None


def test_it_shows_itself(prices) -> None:
    text = str(prices)
    assert "✔ from" in text and "What binds below each cap" in text
    data = json.loads(json.dumps(prices.to_json()))
    assert len(data["steps"]) == len(prices.steps) and data["steps"][-1]["saves_s_per_gib"] is None
    assert "What memory buys" in prices._repr_html_()
    figure = plot_shadow_prices(prices)
    points = next(trace for trace in figure.data if trace.mode == "markers")
    assert list(points.x) == [step.cap_bytes / 2**30 for step in prices.steps]


def test_nothing_fits_is_an_answer_without_a_figure(size) -> None:
    nothing = shadow_prices(device=CARD, vram_gb=0.3, **size)
    assert nothing.steps == () and "nothing fits" in str(nothing)
    with pytest.raises(InputError, match=r"nothing fits 0\.30 GiB"):
        plot_shadow_prices(nothing)


def test_what_a_step_buys_in_words() -> None:
    tiles = {"vae_tiling": {}, "offload": {"mode": "model"}}
    assert buys(tiles, {"offload": {"mode": "none"}}) == "no offload · without VAE tiles"
    assert buys(tiles, tiles) == "the same settings with less pressure on the allocator"
