"""Live tensors, counted by stage."""

from __future__ import annotations

from workbench.cost._trace import ALLOC, FREE
from workbench.measurement._tensors import count, peaks


def test_peaks_by_stage_with_what_comes_before_in_the_first():
    events = [
        (ALLOC, 0, 1000),
        (ALLOC, 1, 1),
        (FREE, 1),
        (ALLOC, 2, 512),
        (FREE, 0),
        (ALLOC, 3, 100),
        (FREE, 2),
    ]
    borders = [(2, "text_encode"), (2, "text_encode"), (5, "denoise")]
    # rounded up to 512 each: 1024, +512, -512, +512, -1024, +512, -512
    assert peaks(events, borders) == {"text_encode": 1536, "denoise": 1024}
    assert peaks(events, []) == {}


def test_what_cannot_be_counted_is_said(pipe, kwargs):
    def decode(*_, **__):
        raise NotImplementedError("no such op here")

    pipe.vae.decode = decode
    try:
        assert count(pipe, kwargs, 2) == (
            {},
            ("live tensors were not counted: NotImplementedError: no such op here",),
        )
    finally:
        del pipe.vae.decode


def test_few_steps_are_enough(pipe, kwargs):
    four, _ = count(pipe, kwargs, 4)
    eight, _ = count(pipe, kwargs, 8)
    assert four == eight and list(four) == ["text_encode", "denoise", "decode"]
