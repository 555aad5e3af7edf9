from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from workbench._store import Store, default_folder, versions


def test_entries_come_back_in_another_store(tmp_path: Path) -> None:
    Store(tmp_path).put("log", {"a": 1}, {"value": [1, 2]})
    assert Store(tmp_path).get("log", {"a": 1}) == {"value": [1, 2]}
    assert Store(tmp_path).get("log", {"a": 2}) is None
    assert Store(tmp_path).get("call", {"a": 1}) is None


def test_damaged_entry_counts_as_absent(tmp_path: Path) -> None:
    Store(tmp_path).put("log", {"a": 1}, {"value": 1})
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:-3])
    assert Store(tmp_path).get("log", {"a": 1}) is None


def test_other_versions_are_other_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).put("log", {"a": 1}, {"value": 1})
    monkeypatch.setattr("workbench._store.versions", lambda: {**versions(), "diffusers": "0.0"})
    assert Store(tmp_path).get("log", {"a": 1}) is None


def test_contents_tell_what_is_stale_and_clear_deletes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("workbench._store.versions", lambda: {**versions(), "diffusers": "0.0"})
        Store(tmp_path).put("log", {"a": 1}, {"value": 1})
    store = Store(tmp_path)
    store.put("call", {"a": 1}, {"value": 2})
    (tmp_path / "weights-0.json").write_text("{")
    (tmp_path / ".call-1.part.json").write_text("{")  # what a killed writer leaves
    assert [(entry.kind, entry.is_stale) for entry in store.contents()] == [
        ("call", False),
        ("log", True),
        ("weights", True),
    ]
    number, num_bytes = store.clear(only_stale=True)
    assert number == 2 and num_bytes > 0
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["call"]
    assert store.get("call", {"a": 1}) == {"value": 2}
    assert store.clear()[0] == 1 and store.contents() == []
    assert store.get("call", {"a": 1}) is None


def test_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    store = Store(blocked / "folder")
    store.put("log", {"a": 1}, {"value": 1})
    assert store.get("log", {"a": 1}) == {"value": 1}  # in memory all the same
    assert Store(blocked / "folder").get("log", {"a": 1}) is None


def test_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WORKBENCH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "diffusion-workbench" / "traces"
    monkeypatch.setenv("WORKBENCH_CACHE_DIR", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine" / "traces"


def _write_many(folder: str) -> None:
    store = Store(Path(folder))
    for k in range(50):
        store.put("call", {"k": k}, {"value": k, "filler": "x" * 10_000})


def test_processes_may_write_the_same_entries_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(tmp_path),)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == os.EX_OK
    store = Store(tmp_path)
    assert [(store.get("call", {"k": k}) or {}).get("value") for k in range(50)] == list(range(50))
    assert not list(tmp_path.glob(".*"))
