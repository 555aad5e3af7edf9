"""The miniature's training: killed and resumed it ends as if nothing had happened, and every part runs at toy size."""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[2] / "studies" / "miniature"
MODULES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture(scope="module")
def study() -> Iterator[Any]:
    """The study's modules, which import each other by their plain names as a script's do; forgotten afterwards."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)


TOY = """
import sys, time
from pathlib import Path
import torch
from torch import nn
sys.path.insert(0, {folder!r})
from loop import Part, train
torch.manual_seed(0)
model = nn.Linear(8, 8)
def losses(step, progress):
    time.sleep({sleep})
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
    return {{"loss": (model(x) - x.flip(1)).square().mean(), "progress": progress}}
part = Part(name="toy", modules=nn.ModuleDict({{"toy": model}}), losses=losses, minutes=1, most_steps=99, learning_rate=0.1)
train(part, Path({out!r}), steps=60, checkpoint_s=0, say=lambda line: None)
"""


def toy(out: Path, sleep: float = 0.0) -> subprocess.Popen[bytes]:
    code = TOY.format(folder=str(FOLDER), out=str(out), sleep=sleep)
    return subprocess.Popen([sys.executable, "-c", code])


def held(out: Path) -> Any:
    return torch.load(out / "toy.pt", weights_only=True)


def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert toy(whole).wait(120) == 0
    process = toy(broken, sleep=0.05)
    deadline = time.monotonic() + 120
    while not ((broken / "toy.pt").exists() and held(broken)["state"]["step"] >= 5):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    stopped = held(broken)["state"]["step"]
    assert 5 <= stopped < 60
    assert toy(broken).wait(120) == 0
    one, other = held(whole), held(broken)
    assert one["state"]["step"] == other["state"]["step"] == 60
    for kind in ("modules", "averaged"):
        assert all(torch.equal(tensor, other[kind][name]) for name, tensor in one[kind].items())
    assert (whole / "toy.csv").read_text() == (broken / "toy.csv").read_text()
    assert one["state"]["curve"][-1]["loss"] < 0.1 * one["state"]["curve"][0]["loss"]


def part_of(study: Any, **more: Any) -> Any:
    model = nn.Linear(2, 1)
    fields = {"minutes": 1.0, "most_steps": 7, "learning_rate": 0.1, **more}
    return study.loop.Part(
        name="toy",
        modules=nn.ModuleDict({"toy": model}),
        losses=lambda *_: {"loss": model(torch.ones(1, 2)).sum()},
        **fields,
    )


def test_the_steps_follow_from_the_minutes_and_are_capped(study, tmp_path, monkeypatch):
    monkeypatch.setattr(study.loop, "_step_seconds", lambda part: [15.0])
    said: list[str] = []
    study.loop.train(part_of(study), tmp_path / "few", say=said.append)
    assert said[0] == "toy: 15.000 s a step, 4 steps, 1.0 of 1 min"
    study.loop.train(part_of(study, minutes=60.0), tmp_path / "capped", say=said.append)
    assert torch.load(tmp_path / "capped" / "toy.pt", weights_only=True)["state"]["steps"] == 7


def test_what_is_left_is_told_from_the_pace_of_each_phase(study):
    part = part_of(study, phases=(0.75, 0.25))
    state = study.loop.State(step=75, steps=100, pace=[1.0, 9.0])
    assert state.done(part) == pytest.approx(0.25)
    state.step = 100
    assert state.done(part) == pytest.approx(1)


def test_a_finished_part_is_not_trained_again(study, tmp_path):
    first = study.loop.train(part_of(study), tmp_path, steps=3, say=lambda line: None)
    said: list[str] = []
    again = study.loop.train(part_of(study), tmp_path, steps=9, say=said.append)
    assert said[0].startswith("toy: done, 3 steps")
    assert torch.equal(first["toy"].weight, again["toy"].weight)


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_is_saved(study, tmp_path):
    part = part_of(study)
    part.losses = lambda *_: {"loss": part.modules["toy"](torch.full((1, 2), math.inf)).sum()}
    with pytest.raises(
        RuntimeError, match=r"^toy: the gradient is not finite at step 0; the last checkpoint is sound$"
    ):
        study.loop.train(part, tmp_path, steps=3, say=lambda line: None)
    assert not (tmp_path / "toy.pt").exists()


def test_the_learning_rate_rises_and_falls(study):
    rates = [study.loop.rate(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 30) and max(rates) == rates[29] == pytest.approx(1, abs=1e-3)
    assert rates[29:] == sorted(rates[29:], reverse=True) and rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_a_tenth_of_the_captions_says_nothing_of_the_world(study):
    import numpy as np

    words = study.parts.Words(40, "train")
    ids, mask = words.chosen(np.tile(np.arange(40), 50), np.random.default_rng(0))
    kept = (ids == words.ids.repeat(50, 1)).all(1)
    assert 0.87 < kept.float().mean() < 0.93
    known = {int(token) for token in words.ids.unique()} - {0, 1}
    for row in torch.nonzero(~kept).flatten().tolist():
        assert not {int(token) for token in ids[row]} & known - {
            int(token) for token in words.nothing[1][0].unique()
        }
        assert int(ids[row][mask[row] == 1][-1]) == 1  # every prompt ends with </s>


@pytest.fixture(scope="module")
def finished(study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every part for two steps."""
    folder = tmp_path_factory.mktemp("run")
    sizes = replace(study.parts.QUICK, clips=8, batch={"classifier": 2, "vae": 1, "denoiser": 2})
    study.train.run(sizes, folder, steps=[2])
    return folder


def test_every_part_runs_and_the_pipeline_loads_and_is_small_enough(study, finished):
    facts = json.loads((finished / "pipeline" / "training.json").read_text())
    assert {name: part["steps"] for name, part in facts["parts"].items()} == dict.fromkeys(
        ("classifier", "vae", "denoiser"), 2
    )
    found = study.evaluate.evaluate(finished / "pipeline", clips=2, steps=2)
    assert study.evaluate.reached("weights_mb", found["weights_mb"])
    text = study.evaluate.table(found)
    assert "MISSED : at least 0.85" in text and "reconstruction_psnr_db" in text


def test_parts_are_kept_and_the_denoiser_goes_on_from_a_finished_pipeline(study, finished, tmp_path):
    from workbench.miniature import load_miniature

    sizes = replace(study.parts.QUICK, clips=8, batch={"classifier": 2, "vae": 1, "denoiser": 2})
    before = finished / "pipeline"
    after = study.train.run(
        sizes, tmp_path, steps=[1], keep=("classifier", "vae"), package=before, begin_with=before
    )
    facts = json.loads((after / "training.json").read_text())
    assert facts["parts"]["vae"] == {**facts["parts"]["vae"], "steps": 2, "kept": True}
    assert facts["parts"]["denoiser"]["steps"] == 1
    assert facts["denoiser_began_with"]["parts"]["denoiser"]["steps"] == 2
    old, new = load_miniature(before), load_miniature(after)
    for name, tensor in old.vae.state_dict().items():
        assert torch.equal(tensor, new.vae.state_dict()[name])
    moved = [
        (tensor - old.transformer.state_dict()[name]).abs().max()
        for name, tensor in new.transformer.state_dict().items()
    ]
    assert 0 < max(moved) < 0.01  # a step of the optimiser away, not at other random numbers


def test_a_part_that_has_begun_takes_another_number_of_steps_and_says_so(study, tmp_path, monkeypatch):
    monkeypatch.setattr(study.loop, "_step_seconds", lambda part: [0.001])

    class Killed(Exception):
        pass

    part = part_of(study)
    losses = part.losses

    def until_the_third(step: int, progress: float) -> Any:
        if step == 2:
            raise Killed
        return losses(step, progress)

    part.losses = until_the_third
    with pytest.raises(Killed):
        study.loop.train(part, tmp_path, steps=5, checkpoint_s=0.0, say=lambda line: None)
    said: list[str] = []
    study.loop.train(part_of(study), tmp_path, steps=9, say=said.append)
    assert said[0] == "toy: goes on at step 2, with 9 steps instead of 5"
    state = torch.load(tmp_path / "toy.pt", weights_only=True)["state"]
    assert (state["step"], state["steps"], state["changes"]) == (9, 9, [(2, 5)])


def test_trained_weights_are_half_precision_on_the_disk_and_full_when_loaded(finished):
    from safetensors.torch import load_file

    from workbench.miniature import is_trained, load_classifier, load_miniature

    folder = finished / "pipeline"
    assert is_trained(folder)
    files = list(folder.rglob("*.safetensors"))
    assert len(files) == 4
    assert {tensor.dtype for file in files for tensor in load_file(file).values()} == {torch.float16}
    pipe = load_miniature(folder)
    for name in ("text_encoder", "transformer", "vae"):
        assert getattr(pipe, name).dtype == torch.float32
    assert not load_classifier(folder).training


def test_latents_have_the_statistics_that_the_pipeline_undoes(finished):
    import numpy as np

    from workbench.miniature import load_miniature

    latents = np.load(finished / "latents-8.npy").astype(np.float32)
    assert latents.shape == (8, 16, 5, 8, 8)
    assert latents.mean((0, 2, 3, 4)) == pytest.approx(np.zeros(16), abs=0.01)
    assert latents.std((0, 2, 3, 4)) == pytest.approx(np.ones(16), abs=0.01)
    known = json.loads((finished / "latents-8.json").read_text())
    config = load_miniature(finished / "pipeline").vae.config
    assert list(config.latents_mean) == known["mean"] and list(config.latents_std) == known["std"]


def test_a_folder_of_another_run_is_refused(study, finished):
    with pytest.raises(SystemExit, match=r"holds a run of other sizes"):
        study.train.same_sizes(study.parts.FULL, finished)


def test_installing_replaces_what_was_there(study, finished, tmp_path):
    target = tmp_path / "weights"
    target.mkdir()
    (target / "old").write_text("old")
    study.train.install(finished / "pipeline", target)
    assert (target / "model_index.json").is_file() and not (target / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


class Oracle(nn.Module):
    """The transformer's call; knows the one clip that there is, and so the velocity that points from it to the noise."""

    def __init__(self, clip: torch.Tensor) -> None:
        super().__init__()
        self.clip = clip

    def forward(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, return_dict: bool
    ) -> Any:
        return ((noisy - self.clip) / (timestep / 1000).view(-1, 1, 1, 1, 1),)


def test_the_velocity_that_is_learned_is_the_one_that_the_scheduler_follows(study):
    from workbench.models import get
    from workbench.models._build import construct, made

    row = get("miniature")
    clip = torch.randn(1, 16, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    oracle = Oracle(clip)
    modules = nn.ModuleDict({"text_encoder": construct(row.component("text_encoder")), "transformer": oracle})
    words = study.parts.Words(4, "train")
    noise = torch.Generator().manual_seed(1)
    loss = study.parts.flow_loss(modules, clip.expand(4, -1, -1, -1, -1), words.ids, words.mask, noise)
    assert float(loss) < 1e-6

    import diffusers

    scheduler = made(getattr(diffusers, row.scheduler.class_name), row.scheduler.config)
    scheduler.set_timesteps(25)
    latents = torch.randn(clip.shape, generator=noise)
    for timestep in scheduler.timesteps:
        velocity = oracle(latents, timestep.float().view(1), None, return_dict=False)[0]
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
    assert float((latents - clip).abs().max()) < 0.05


def test_the_text_encoder_is_trained_as_the_pipeline_calls_it(study, finished):
    from workbench.miniature import load_miniature, world

    pipe = load_miniature(finished / "pipeline")
    words = study.parts.Words(3, "train")
    captions = [world.caption(world.scene("train", number)) for number in range(3)]
    expected, _ = pipe.encode_prompt(captions, do_classifier_free_guidance=False, max_sequence_length=32)
    with torch.no_grad():
        ours = pipe.text_encoder(words.ids, words.mask).last_hidden_state * words.mask.unsqueeze(-1)
    torch.testing.assert_close(ours, expected)
