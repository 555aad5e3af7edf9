"""The monitor keeps the highest of every number by stage."""

from __future__ import annotations

import mmap
import time

from workbench.measurement._monitor import CpuProbe, Monitor


def test_peaks_belong_to_the_stage_in_which_they_were(probe):
    monitor = Monitor(probe, interval_s=60)
    with monitor.watching():
        probe.allocated = 5  # before the first stage: counts to it
        monitor.enter("text_encode")
        probe.rss, probe.allocated = 7, 3
        monitor.enter("denoise")
        probe.rss, probe.allocated = 2, 9
        monitor.enter("text_encode")
        probe.rss, probe.allocated = 3, 8
    assert monitor.peaks == {
        "text_encode": {"rss_peak_bytes": 7, "allocated_peak_bytes": 8},
        "denoise": {"rss_peak_bytes": 7, "allocated_peak_bytes": 9},
    }
    assert monitor.overall == {"rss_peak_bytes": 7, "allocated_peak_bytes": 9}
    assert probe.resets == 4


def test_a_run_without_stages_has_peaks_too(probe):
    monitor = Monitor(probe, interval_s=60)
    with monitor.watching():
        probe.rss = 4
    assert (monitor.peaks, monitor.overall) == ({}, {"rss_peak_bytes": 4, "allocated_peak_bytes": 0})


def test_what_comes_and_goes_within_a_stage_is_sampled(probe):
    monitor = Monitor(probe, interval_s=0.001)
    with monitor.watching():
        monitor.enter("decode")
        probe.rss = 100
        deadline = time.monotonic() + 10
        while monitor.overall["rss_peak_bytes"] < 100 and time.monotonic() < deadline:
            time.sleep(0.001)
        probe.rss = 1
    assert monitor.peaks["decode"]["rss_peak_bytes"] == 100


def test_the_process_is_read():
    probe = CpuProbe()
    before = probe.sample()["rss_peak_bytes"]
    with mmap.mmap(
        -1, 50_000_000
    ) as held:  # pages of its own: the heap may have room left from an earlier test
        held.write(b"x" * len(held))
        assert probe.sample()["rss_peak_bytes"] - before > 40_000_000
    assert probe.counted() == {}
