"""The margin: what the measurements support and never more, in step with the chance of fitting, whatever the residuals are."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench._errors import InputError
from workbench.cost.margin import (
    COLUMNS,
    KINDS,
    MIN_OWN,
    RESERVE_FRACTION,
    WANTED,
    Residual,
    Residuals,
    kind_of,
    known,
    margin_bytes,
    read,
)

GIB = 2**30


def row(fraction: float, kind: str = "denoiser", case: str = "", **changes: str) -> Residual:
    values = {
        "study": "traced",
        "id": case or f"{kind}{fraction}",
        "source": "a table",
        "versions": "torch 2.13.0",
        "model": "a network",
        "kind": kind,
        "metric": "allocated",
        "unit": "GiB",
        "case": case or f"{kind} {fraction}",
        "not_counted": "",
    }
    return Residual(**{**values, **changes}, measured=10 * (1 + fraction), predicted=10.0)


def drawn(seed: int, *counts: int) -> Residuals:
    """Residuals of both signs, so many of each kind."""
    random_ = random.Random(seed)
    return Residuals(
        row(random_.gauss(-0.01, 0.02), kind, case=f"{kind} {k}")
        for kind, count in zip(KINDS, counts, strict=False)
        for k in range(count)
    )


def test_few_measurements_support_no_more_than_n_of_n_plus_one() -> None:
    few = Residuals([row(0.01), row(-0.02), row(0.03)])
    margin = few.margin("denoiser")
    assert margin.probability == 3 / 4
    assert margin.fraction == pytest.approx(0.03 + RESERVE_FRACTION)
    assert margin.basis == (
        "3 measured peaks of 1 model, 3 of them of denoisers; worst under-prediction 3.0 %; "
        "2 % in reserve, since 0.98 takes 49 of them"
    )
    assert few.fit_probability("denoiser", 100 * GIB, GIB) == 3 / 4


def test_with_enough_measurements_the_margin_is_their_quantile() -> None:
    many = Residuals(row(k / 1000, case=str(k)) for k in range(1, 100))
    margin = many.margin("denoiser", 0.9)
    assert (margin.probability, margin.fraction) == (0.9, pytest.approx(0.090))  # ceil(100 x 0.9) of 99
    assert many.margin("denoiser").fraction == pytest.approx(0.098)
    assert many.margin("denoiser").probability == WANTED
    assert "reserve" not in many.margin("denoiser").basis


def test_without_measurements_there_is_a_reserve_and_no_claim() -> None:
    nothing = Residuals([])
    assert nothing.margin("denoiser").fraction == RESERVE_FRACTION
    assert nothing.margin("denoiser").probability == 0.0
    assert nothing.margin("denoiser").basis.startswith("no measurement")
    assert nothing.fit_probability("denoiser", GIB, GIB) == 0.0


def test_predictions_that_were_all_too_high_make_no_negative_margin() -> None:
    high = Residuals(row(-k / 100, case=str(k)) for k in range(1, 100))
    assert high.margin("denoiser", 0.5).fraction == 0.0
    assert "none above its prediction" in high.margin("denoiser", 0.5).basis


def test_each_case_counts_once_with_its_worst_and_what_is_not_counted_never() -> None:
    found = Residuals(
        [row(0.01, case="a"), row(0.02, case="a"), row(0.5, case="b", not_counted="another configuration")]
    )
    assert [one.fraction for one in found.counted] == [pytest.approx(0.02)]
    assert len(found.rows) == 3


def test_a_row_is_judged_without_its_own_case() -> None:
    found = Residuals([row(0.5, case="a"), row(0.4, case="a", id="again"), row(0.1, case="b")])
    assert [one.case for one in found.without("again").rows] == ["b"]
    assert found.without("none of them").rows == found.rows
    assert margin_bytes("denoise", 1000, found.without("a")) == pytest.approx(120, abs=1)
    assert margin_bytes("denoise", 1000, found) == pytest.approx(520, abs=1)


def test_a_kind_of_its_own_cases_is_judged_by_them_where_they_are_enough() -> None:
    quiet = [row(0.001, "autoencoder", case=f"a{k}") for k in range(MIN_OWN)]
    loud = [row(0.1, "denoiser", case=f"d{k}") for k in range(MIN_OWN - 1)]
    found = Residuals([*quiet, *loud])
    assert found.of_kind("autoencoder") == tuple(quiet)
    assert found.of_kind("denoiser") == (*quiet, *loud)
    assert found.margin("autoencoder", 0.9).fraction == pytest.approx(0.001)
    # beyond what nine support all kinds are taken together
    assert found.margin("autoencoder", 0.94).fraction == pytest.approx(0.1)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("counts", [(1,), (3, 20, 0, 2), (60, 12, 1), (0, 0, 5)])
def test_margin_and_probability_are_inverse_and_never_fall(seed: int, counts: tuple[int, ...]) -> None:
    found = drawn(seed, *counts)
    random_ = random.Random(seed)
    for kind in KINDS:
        levels = [k / 100 for k in range(1, 100)]
        margins = [found.margin(kind, level) for level in levels]
        assert all(a.fraction <= b.fraction for a, b in itertools.pairwise(margins))
        most = len(found.counted) / (len(found.counted) + 1)
        own = len(found.of_kind(kind))
        assert all(margin.probability <= max(most, own / (own + 1)) for margin in margins)
        for margin in margins:
            predicted = random_.randrange(1, 80 * GIB)
            slack = -(-margin.fraction * predicted // 1)
            assert found.fit_probability(kind, int(slack), predicted) >= margin.probability
        chances = [
            found.fit_probability(kind, slack, 10 * GIB) for slack in range(-2 * GIB, 2 * GIB, GIB // 64)
        ]
        assert chances == sorted(chances)


@pytest.mark.parametrize("shape", [lambda r: r.gauss(0, 0.02), lambda r: r.paretovariate(1.1) / 100 - 0.02])
def test_new_runs_stay_below_the_margin_as_often_as_it_says(shape: Callable[[random.Random], float]) -> None:
    """Simulated: residuals and a new run from one distribution, a mild one and one with a tail without variance."""
    random_, tried = random.Random(0), 3000
    for count, level in ((49, 0.98), (19, 0.9), (9, 0.5)):
        held = 0
        for _ in range(tried):
            fractions = [shape(random_) for _ in range(count + 1)]
            found = Residuals(row(f, case=str(k)) for k, f in enumerate(fractions[1:]))
            held += fractions[0] <= found.margin("denoiser", level).fraction
        spread = 3 * (level * (1 - level) / tried) ** 0.5
        assert held / tried >= level - spread


def test_the_chance_of_fitting_is_held_in_simulation_too() -> None:
    """Among runs said to fit with at least a probability, at most the rest runs out."""
    random_, said, held = random.Random(1), 0.0, 0
    tried = 4000
    for _ in range(tried):
        found = Residuals(row(random_.gauss(0, 0.02), case=str(k)) for k in range(30))
        slack = random_.uniform(-0.05, 0.05)
        said += found.fit_probability("denoiser", round(slack * GIB), GIB)
        held += random_.gauss(0, 0.02) <= slack
    assert held / tried >= said / tried - 3 * (0.25 / tried) ** 0.5


def test_what_ships_has_its_source_and_an_unknown_kind_is_refused() -> None:
    shipped = known()
    assert len(shipped.counted) >= 20
    assert all(one.source and one.versions and one.case for one in shipped.rows)
    assert {one.metric for one in shipped.rows} == {"allocated", "reserved"}
    assert {one.kind for one in shipped.rows} <= set(KINDS)
    # a figure that a rule was chosen with cannot say how far the rule is off
    assert all(one.not_counted for one in shipped.rows if one.id in ("IN01", "IN04"))
    with pytest.raises(InputError, match=r"a kind of peak must be one of denoiser, .* got 'vae'"):
        shipped.margin("vae")
    with pytest.raises(InputError, match=r"probability must be above 0 and below 1, got 1\.0"):
        shipped.margin("denoiser", 1.0)


def test_every_stage_has_a_kind_and_the_bytes_are_rounded_up() -> None:
    assert {kind_of(stage) for stage in ("text_encode", "image_encode", "denoise", "denoise_2", "decode")} == {
        "text_encoder", "autoencoder", "denoiser",
    }  # fmt: skip
    assert kind_of("upsample") == "denoiser"
    assert margin_bytes("decode", 1) == 1
    assert margin_bytes("decode", 0) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("traced,a,s,v,m,vae,allocated,GiB,c,,1,1", "row 1 of the residuals must have a kind of denoiser"),
        (
            "traced,a,s,v,m,denoiser,device,GiB,c,,1,1",
            "a metric of allocated, reserved, got 'denoiser' and 'device'",
        ),
        ("traced,a,s,v,m,denoiser,allocated,GiB,c,,1,0", "row 1 of the residuals must have positive numbers"),
    ],
)
def test_a_bad_row_is_refused_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "residuals.csv"
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read(path)
