"""What is shown while processes are measured."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from workbench.measurement import LineWatch, LiveWatch, NoWatch
from workbench.measurement._watch import Seen

SEEN = Seen(
    title="tiled",
    phase="run 1 of 3",
    stage="denoise",
    step=3,
    num_steps=8,
    elapsed_s=12.0,
    left_s=30.0,
    rss_bytes=2**30,
    gpu_bytes=3 * 2**30,
)


def console(is_terminal=False):
    return Console(file=io.StringIO(), width=140, force_terminal=is_terminal, soft_wrap=True)


def test_one_line_says_stage_step_clock_and_memory():
    assert SEEN.words == "run 1 of 3, denoise 3/8, 12 s, about 30 s left, GPU 3.00 GiB, RAM 1.00 GiB"
    bare = dataclasses.replace(SEEN, phase="loading", stage="", left_s=None, rss_bytes=None, gpu_bytes=None)
    assert bare.words == "loading, 12 s"


def test_lines_are_printed_when_something_changes_and_every_half_minute():
    watch = LineWatch(console())
    for elapsed_s in (12.0, 13.0, 41.0, 42.5, 60.0):
        watch.saw(dataclasses.replace(SEEN, elapsed_s=elapsed_s))
    watch.saw(dataclasses.replace(SEEN, stage="decode", elapsed_s=61.0))
    watch.said("tiled: run 1 took 61 s")
    watch.close()
    lines = watch._console.file.getvalue().splitlines()
    assert [line.split(", about")[0] for line in lines] == [
        "tiled: run 1 of 3, denoise 3/8, 12 s",
        "tiled: run 1 of 3, denoise 3/8, 42 s",
        "tiled: run 1 of 3, decode, 61 s",
        "tiled: run 1 took 61 s",
    ]


def test_a_terminal_shows_one_line_and_keeps_what_is_said():
    watch = LiveWatch(console(is_terminal=True))
    watch.saw(SEEN)
    watch.said("[odd] names are no markup")
    watch.close()
    text = watch._bar.console.file.getvalue()
    assert "[odd] names are no markup" in text and "tiled" in text and "denoise 3/8" in text


def test_the_default_shows_nothing(capsys):
    watch = NoWatch()
    watch.saw(SEEN)
    watch.said("something")
    watch.close()
    assert capsys.readouterr() == ("", "")
