"""`workbench cache`: what it shows is what is there, and clearing makes the next plan trace again."""

from __future__ import annotations

import json

import pytest

ESTIMATE = ("estimate", "--model", "tiny", "--device", "rtx-4090", "--steps", "2", "--json")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_CACHE_DIR", str(tmp_path))
    return tmp_path / "traces"


def test_show_counts_what_an_estimate_has_kept(run, folder):
    assert "nothing is kept yet" in run("cache").out
    assert run(*ESTIMATE).code == 0
    shown = json.loads(run("cache", "show", "--json").out)
    files = list(folder.glob("*.json"))
    assert shown["folder"] == str(folder)
    assert shown["entries"] == len(files) > 0
    assert shown["bytes"] == sum(path.stat().st_size for path in files)
    assert shown["stale"] == {"entries": 0, "bytes": 0}
    assert sum(kind["entries"] for kind in shown["kinds"].values()) == len(files)
    assert all(shown["kinds"][kind]["entries"] for kind in ("log", "call", "weights"))
    text = run("cache", "show").out
    assert f"{len(files)} entries" in text and "none is stale" in text


def test_clear_deletes_and_the_next_estimate_is_the_same(run, folder):
    before = json.loads(run(*ESTIMATE).out)
    number = len(list(folder.glob("*.json")))
    kept = json.loads(run("cache", "clear", "--stale", "--json").out)
    assert kept["deleted"] == 0 and len(list(folder.glob("*.json"))) == number
    assert f"deleted {number} entries" in run("cache", "clear").out
    assert not list(folder.glob("*.json"))
    assert json.loads(run(*ESTIMATE).out) == before
