"""Snapshots as studies/gpu_validation writes them are read and replayed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench._errors import InputError
from workbench.cost.allocator import AllocatorOptions
from workbench.cost.allocator.snapshots import Record, compare

MIB = 2**20
BASE = 0x7F00_0000_0000
SETTINGS = {"max_split_size": -1, "garbage_collection_threshold": 0.0, "expandable_segments": True}


@pytest.fixture
def watch(root: Path, monkeypatch):
    """The study's module that writes snapshots."""
    monkeypatch.syspath_prepend(str(root / "studies" / "gpu_validation"))
    import watch

    yield watch
    del sys.modules["watch"]  # other studies may have a module of the name


@pytest.fixture
def written(watch, tmp_path) -> Path:
    """A weight of 15 MiB in a page of 20, then 30 MiB more, in expandable segments."""
    before = [
        {
            "address": BASE,
            "total_size": 20 * MIB,
            "stream": 0,
            "segment_type": "large",
            "blocks": [
                {"size": 15 * MIB, "state": "active_allocated"},
                {"size": 5 * MIB, "state": "inactive"},
            ],
        }
    ]
    address = BASE + 15 * MIB
    events = [
        {"action": "segment_map", "addr": BASE + 20 * MIB, "size": 40 * MIB, "stream": 0},
        {"action": "alloc", "addr": address, "size": 30 * MIB, "stream": 0},
        {"action": "free_requested", "addr": address, "size": 30 * MIB, "stream": 0},
        {"action": "free_completed", "addr": address, "size": 30 * MIB, "stream": 0},
        {"action": "segment_unmap", "addr": BASE + 20 * MIB, "size": 40 * MIB, "stream": 0},
        {"action": "free_requested", "addr": BASE, "size": 15 * MIB, "stream": 0},
        {"action": "free_completed", "addr": BASE, "size": 15 * MIB, "stream": 0},
    ]
    path = tmp_path / "case.snapshot.json.gz"
    watch.write_snapshot(path, watch.compact(before, [events]), SETTINGS)
    return path


def test_written_snapshot_is_replayed(written) -> None:
    record = Record.load(written)
    assert record.options == AllocatorOptions(expandable_segments=True)
    found = compare(record)
    assert [num_bytes / MIB for num_bytes in found.recorded] == [60, 60, 20]
    assert found.predicted == found.recorded


def test_command_prints_a_row_for_each_snapshot(root, written) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "studies" / "gpu_validation" / "replay.py"), str(written.parent)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.splitlines()[-1]
        == "| case | expandable_segments:True | 3 | 0.059 | +0.00 % | 100.0 % | none |"
    )


def test_recording_that_lost_its_beginning_is_refused(watch, tmp_path) -> None:
    path = tmp_path / "long.snapshot.json.gz"
    watch.write_snapshot(path, {**watch.compact([], [[]]), "cut": True}, SETTINGS)
    with pytest.raises(InputError, match="is not whole"):
        Record.load(path)
