"""Calls of a denoiser split and joined: what belongs to the batch, what is recognised, and when guessing ends."""

from __future__ import annotations

import inspect

import pytest
import torch

from workbench.runtime import JoinedGuidance, SplitGuidance


class Denoiser:
    """Adds a prompt's first number to its latents; remembers what it was called with."""

    def __init__(self):
        self.seen = []

    def forward(
        self, hidden_states, timestep=None, encoder_hidden_states=None, rotary=None, more=None, scale=1.0
    ):
        self.seen.append((hidden_states.shape[0], rotary, more))
        prompts = encoder_hidden_states.reshape(hidden_states.shape[0], -1)[:, :1]
        return (hidden_states * scale + prompts + timestep[:, None],)

    @property
    def signature(self):
        return inspect.signature(self.forward)


def prompts(*values, rows=1):
    return torch.tensor(values).repeat_interleave(rows)[:, None].expand(-1, 3)


@pytest.mark.parametrize("rows", [1, 4])
def test_a_call_in_halves_gives_what_the_call_gives(rows):
    denoiser = Denoiser()
    split = SplitGuidance(denoiser.signature)
    latents, timestep = torch.randn(2, 5), torch.tensor([3.0, 4.0])
    tables = (torch.randn(2, 7), torch.randn(2, 7))  # two positions
    more = {"image": torch.randn(2, 1), "size": 3, "images": [torch.randn(2, 1)]}
    args = (latents, timestep, prompts(0.5, 0.25, rows=rows))
    expected = denoiser.forward(*args, rotary=tables, more=more)
    got = split.call(denoiser.forward, args, {"rotary": tables, "more": more})
    torch.testing.assert_close(got, expected)
    for batch, rotary, given in denoiser.seen[1:]:
        assert batch == 1 and rotary is tables
        assert given["image"].shape == given["images"][0].shape == (1, 1) and given["size"] == 3


def test_an_odd_batch_is_not_split():
    denoiser = Denoiser()
    split = SplitGuidance(denoiser.signature)
    split.call(denoiser.forward, (torch.randn(3, 5), torch.ones(3), prompts(1.0, 2.0, 3.0)), {})
    assert [batch for batch, *_ in denoiser.seen] == [3]
    assert "changed nothing" in (split.said("it") or "")


def guided(around, denoiser, prompt, negative, steps, *, second=None):
    """What a pipeline does that makes two calls per step."""
    latents = torch.arange(5.0)[None]
    for step in range(steps):
        timestep = torch.tensor([float(step)])
        conditional = around.call(
            denoiser.forward,
            (),
            {"hidden_states": latents, "timestep": timestep, "encoder_hidden_states": prompt},
        )[0]
        if second is not None:
            second(step, latents)
        unconditional = around.call(
            denoiser.forward,
            (),
            {"hidden_states": latents, "timestep": timestep, "encoder_hidden_states": negative},
        )[0]
        latents = latents + unconditional + 2 * (conditional - unconditional)
    return latents


class Plain:
    """No change."""

    def call(self, run, args, kwargs):
        return run(*args, **kwargs)


def test_branches_are_joined_once_both_are_known():
    denoiser = Denoiser()
    joined = JoinedGuidance(denoiser.signature)
    given = prompts(0.5), prompts(0.25)
    expected = guided(Plain(), Denoiser(), *given, steps=4)
    torch.testing.assert_close(guided(joined, denoiser, *given, steps=4), expected)
    assert [batch for batch, *_ in denoiser.seen] == [1, 1, 2, 2, 2]
    other = prompts(1.5), prompts(1.25)  # another video: its prompts have to be seen first
    torch.testing.assert_close(
        guided(joined, denoiser, *other, steps=2), guided(Plain(), Denoiser(), *other, steps=2)
    )
    assert [batch for batch, *_ in denoiser.seen[5:]] == [1, 1, 2]


def test_latents_that_are_written_to_between_the_calls_are_computed_with_anew():
    denoiser = Denoiser()
    joined = JoinedGuidance(denoiser.signature)
    given = prompts(0.5), prompts(0.25)

    def change(step, latents):
        if step == 2:
            latents.add_(1.0)

    expected = guided(Plain(), Denoiser(), *given, steps=4, second=change)
    torch.testing.assert_close(guided(joined, denoiser, *given, steps=4, second=change), expected)
    assert [batch for batch, *_ in denoiser.seen] == [1, 1, 2, 2, 1, 1, 1]
    assert (joined.said("it") or "").endswith(
        "then stopped: the pipeline did not ask for the second branch as it had at first"
    )


def test_branches_of_different_lengths_stay_apart():
    denoiser = Denoiser()
    joined = JoinedGuidance(denoiser.signature)
    guided(joined, denoiser, prompts(0.5), prompts(0.25)[:, :2], steps=3)
    assert [batch for batch, *_ in denoiser.seen] == [1] * 6
    assert joined.said("it") == (
        "cfg batched changed nothing for it: the two branches differ in encoder_hidden_states, which cannot be stacked"
    )


def test_nothing_is_kept_alive_that_the_pipeline_lets_go():
    import weakref

    denoiser = Denoiser()
    joined = JoinedGuidance(denoiser.signature)
    given = [prompts(0.5).clone(), prompts(0.25).clone()]
    alive = [weakref.ref(tensor) for tensor in given]
    guided(joined, denoiser, *given, steps=3)
    denoiser.seen.clear()
    given.clear()
    assert [ref() for ref in alive] == [None, None]
