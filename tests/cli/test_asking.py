"""The questions on the command line: what they pass on, print and return."""

from __future__ import annotations

import json

TINY = ("--model", "tiny", "--device", "rtx-3060-12gb")


def test_fit(run, tmp_path) -> None:
    profile, figure = tmp_path / "p.json", tmp_path / "f.html"
    ran = run(
        "fit",
        *TINY,
        "--maximize",
        "resolution",
        "--max-seconds",
        "0.1",
        "--trials",
        "0",
        "--json",
        "--out",
        str(profile),
        "--figure",
        str(figure),
    )
    assert ran.code == 0
    data = json.loads(ran.out)
    assert data["binds"] == "time" and data["plan"]["best"]["time"]["total_s"] <= 0.1
    assert json.loads(profile.read_text()) and "plotly" in figure.read_text()
    assert run("fit", *TINY, "--vram-gb", "0.2").code == 3
    assert run("fit", *TINY, "--maximize", "length").code == 2


def test_cards(run) -> None:
    ran = run("cards", *TINY, "--device", "rtx-4090", "--json")
    assert ran.code == 0
    assert [card["device"] for card in json.loads(ran.out)["cards"]] == ["rtx-3060-12gb", "rtx-4090"]
    text = run("cards", *TINY)
    assert "smallest that is enough: NVIDIA GeForce RTX 3060" in " ".join(text.out.split())
    assert run("cards", *TINY, "--max-seconds", "0.0001").code == 3


def test_shadow_prices(run, tmp_path) -> None:
    figure = tmp_path / "f.html"
    ran = run("shadow-prices", *TINY, "--figure", str(figure))
    assert ran.code == 0 and "The fastest plan under each cap" in ran.out and figure.exists()
    assert run("shadow-prices", *TINY, "--vram-gb", "0.2").code == 3
    assert run("shadow-prices", *TINY, "--figure", str(tmp_path / "none" / "f.html")).code == 2


def test_compare(run) -> None:
    ran = run("compare", *TINY, "--settings", "best", "--settings", '{"offload": {"mode": "model"}}')
    assert ran.code == 0 and "Side by side" in ran.out and "model offload" in ran.out
    alone = run("compare", *TINY)
    assert alone.code == 2 and "compare needs 2 to 8 combinations" in alone.err
