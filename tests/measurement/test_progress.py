"""Progress: the default shows nothing, the bar shows stage, steps and clock."""

from __future__ import annotations

import io

from rich.console import Console

from workbench.measurement import NoProgress, RichProgress


def shown(well, capsys=None):
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    progress = RichProgress(console)
    progress.start("tiny clip.mp4", 8, 75.0)
    progress.stage("denoise")
    progress.step(3)
    progress.close(well=well)
    return console.file.getvalue()


def test_the_bar_shows_what_is_done_and_how_it_ended():
    text = shown(well=False)
    assert "tiny clip.mp4" in text and "3/8 steps, failed" in text and "of about 75 s" in text
    assert "3/8 steps, done" in shown(well=True)


def test_the_default_shows_nothing(capsys):
    progress = NoProgress()
    progress.start("tiny", 8, None)
    progress.stage("denoise")
    progress.step(1)
    progress.close(well=True)
    assert capsys.readouterr() == ("", "")


def test_the_bar_is_on_stderr(capsys):
    progress = RichProgress()
    progress.start("tiny", 1, None)
    progress.close(well=True)
    out, err = capsys.readouterr()
    assert out == "" and "tiny" in err
