"""What is trained: a classifier on real clips, the VAE, then text encoder and denoiser together on the VAE's latents.

Legend of shapes: B clips, C channels, F frames, H rows, W columns, T tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from clips import Clips
from loop import Losses, Part
from torch import nn
from torch.nn import functional

from workbench.miniature import world
from workbench.miniature._classifier import LABELS, ClipClassifier, answers, as_input
from workbench.miniature._tokenizer import tiny_tokenizer
from workbench.models import get
from workbench.models._build import construct
from workbench.models._call import NEGATIVE_PROMPT
from workbench.models.miniature import PROMPT_TOKENS

ROW = get("miniature")
_CODES = {"classifier": 1, "vae": 2, "denoiser": 3}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How long and how large; `FULL` is for two CPU cores and two and a half hours, `QUICK` for tests."""

    clips: int = 16_000
    """Of the training split; the validation split has a twentieth."""
    minutes: Mapping[str, float]
    most_steps: Mapping[str, int]
    batch: Mapping[str, int]
    seed: int = 0


FULL = Sizes(
    minutes={"classifier": 11, "vae": 46, "denoiser": 78},
    most_steps={"classifier": 4000, "vae": 20_000, "denoiser": 40_000},
    batch={"classifier": 24, "vae": 4, "denoiser": 16},
)
QUICK = Sizes(
    clips=80,
    minutes={"classifier": 0.25, "vae": 0.25, "denoiser": 0.25},
    most_steps={"classifier": 6, "vae": 6, "denoiser": 6},
    batch={"classifier": 4, "vae": 2, "denoiser": 4},
)


def random(sizes: Sizes, part: str, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Random numbers of one step of one part, NumPy's and PyTorch's: nothing of a run's past is in them."""
    seed = (sizes.seed, _CODES[part], step)
    numbers = np.random.default_rng(seed)
    return numbers, torch.Generator().manual_seed(int(numbers.integers(2**62)))


def seeded(sizes: Sizes, part: str) -> None:
    """First weights that do not depend on what ran before."""
    torch.manual_seed(1000 * sizes.seed + _CODES[part])


def classifier_part(sizes: Sizes, clips: Clips, held_out: Clips) -> Part:
    """Cross-entropy of the three labels, on clips with noise: what it reads later comes out of a VAE."""
    seeded(sizes, "classifier")
    model = ClipClassifier()
    modules = nn.ModuleDict({"classifier": model})
    truth = answers([world.scene("train", number).labels for number in range(len(clips))])
    held_out_truth = [world.scene("validation", number).labels for number in range(len(held_out))]

    def losses(step: int, _: float) -> Losses:
        numbers, noise = random(sizes, "classifier", step)
        chosen = np.sort(numbers.choice(len(clips), sizes.batch["classifier"], replace=False))
        video = as_input(clips[chosen])
        strength = torch.rand(len(video), 1, 1, 1, 1, generator=noise) * 0.15
        scores = model(video + strength * torch.randn(video.shape, generator=noise))
        each = {name: functional.cross_entropy(scores[name], truth[name][chosen]) for name in LABELS}
        return {
            "loss": torch.stack(list(each.values())).sum(),
            **{name: loss.detach() for name, loss in each.items()},
        }

    def validate(averaged: nn.ModuleDict) -> Mapping[str, float]:
        read = averaged["classifier"].read(held_out[:400])
        return {
            f"{name}_right": float(
                np.mean([one[name] == true[name] for one, true in zip(read, held_out_truth, strict=False)])
            )
            for name in LABELS
        }

    return Part(
        name="classifier",
        modules=modules,
        losses=losses,
        minutes=sizes.minutes["classifier"],
        most_steps=sizes.most_steps["classifier"],
        learning_rate=3e-3,
        validate=validate,
        average=0.995,
    )


def vae_part(sizes: Sizes, clips: Clips, held_out: Clips) -> Part:
    """Absolute and squared error, and very little of the divergence to a normal distribution.

    The VAE is causal and sees a clip chunk by chunk, so what is learned on few frames holds on many: training begins with single frames,
    which are cheap, and ends with whole clips.
    """
    seeded(sizes, "vae")
    vae = construct(ROW.component("vae"))
    with torch.no_grad():
        # latents begin with little noise: with as much noise as signal the decoder first learns to ignore them
        vae.quant_conv.weight[vae.config.z_dim :] *= 0.1
        vae.quant_conv.bias[vae.config.z_dim :] = -6.0
        # and as a network of single frames: what earlier frames add is learned from nothing when there are any
        for module in vae.modules():
            if isinstance(module, nn.Conv3d) and module.kernel_size == (3, 3, 3):
                module.weight[:, :, :2] = 0
    # frames of a clip -> share of the steps; about the same time goes to each, and single frames come twice as many at once
    stages = {1: 0.45, 5: 0.3, 9: 0.17, 17: 0.08}
    ends = dict(zip(itertools.accumulate(stages.values()), stages, strict=True))

    def losses(step: int, progress: float) -> Losses:
        numbers, noise = random(sizes, "vae", step)
        frames = next((frames for end, frames in ends.items() if progress < end), world.FRAMES)
        count = sizes.batch["vae"] * (2 if frames == 1 else 1)
        chosen = np.sort(numbers.choice(len(clips), count, replace=False))
        first = int(numbers.integers(world.FRAMES - frames + 1))
        video = as_input(clips[chosen][:, first : first + frames])
        latents = vae.encode(video).latent_dist
        error = vae.decode(latents.sample(noise)).sample - video
        squared = error.square().mean()
        divergence = 0.5 * (latents.mean.square() + latents.var - 1 - latents.logvar).mean()
        loss = error.abs().mean() + 2 * squared + 1e-4 * divergence
        return {
            "loss": loss,
            "psnr": -10 * torch.log10(squared.detach() / 4),
            "spread": latents.mean.detach().std(),
        }

    def validate(averaged: nn.ModuleDict) -> Mapping[str, float]:
        return {"psnr_held_out": float(reconstruction_psnr(averaged["vae"], held_out[:24]).mean())}

    return Part(
        name="vae",
        modules=nn.ModuleDict({"vae": vae}),
        losses=losses,
        minutes=sizes.minutes["vae"],
        most_steps=sizes.most_steps["vae"],
        learning_rate=2e-3,
        phases=tuple(stages.values()),
        validate=validate,
        weight_decay=0.0,
    )


@torch.no_grad()
def reconstruction_psnr(vae: nn.Module, clips: Clips, batch: int = 8) -> torch.Tensor:
    """PSNR in dB of each clip after the VAE's encoder and decoder, over all its pixels and frames as bytes, [N]."""
    found = []
    for start in range(0, len(clips), batch):
        real = clips[start : start + batch]
        back = vae.decode(vae.encode(as_input(real)).latent_dist.mode()).sample
        off = back.clamp(-1, 1).add(1).mul(127.5).round() - as_input(real).add(1).mul(127.5).round()
        found.append(-10 * torch.log10((off / 255).square().mean((1, 2, 3, 4))))
    return torch.cat(found)


def denoiser_part(sizes: Sizes, latents: torch.Tensor, held_out: torch.Tensor) -> Part:
    """Flow matching: the velocity from latents to noise, told time and caption; one caption in ten says nothing of the world."""
    seeded(sizes, "denoiser")
    modules = nn.ModuleDict(
        {name: construct(ROW.component(name)) for name in ("text_encoder", "transformer")}
    )
    words = Words(len(latents), "train")
    held_out_words = Words(len(held_out), "validation")

    def losses(step: int, _: float) -> Losses:
        numbers, noise = random(sizes, "denoiser", step)
        chosen = numbers.choice(len(latents), sizes.batch["denoiser"], replace=False)
        ids, mask = words.chosen(chosen, numbers)
        return {"loss": flow_loss(modules, latents[chosen].float(), ids, mask, noise)}

    def validate(averaged: nn.ModuleDict) -> Mapping[str, float]:
        count = min(len(held_out), 256)
        noise = torch.Generator().manual_seed(1)
        with torch.no_grad():
            found = [
                flow_loss(
                    averaged,
                    held_out[at : at + 32].float(),
                    held_out_words.ids[at : at + 32],
                    held_out_words.mask[at : at + 32],
                    noise,
                )
                for at in range(0, count, 32)
            ]
        return {"loss_held_out": float(torch.stack(found).mean())}

    return Part(
        name="denoiser",
        modules=modules,
        losses=losses,
        minutes=sizes.minutes["denoiser"],
        most_steps=sizes.most_steps["denoiser"],
        learning_rate=1e-3,
        validate=validate,
    )


def flow_loss(
    modules: nn.ModuleDict,
    latents: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    noise: torch.Generator,
) -> torch.Tensor:
    """Mean squared error of the velocity at times drawn logit-normally, a third of them evenly, so that both ends are learned."""
    count = len(latents)
    even = torch.rand(count, generator=noise)
    normal = torch.sigmoid(0.4 + 1.1 * torch.randn(count, generator=noise))
    time = torch.where(torch.rand(count, generator=noise) < 1 / 3, even, normal)
    pure = torch.randn(latents.shape, generator=noise)
    share = time.view(-1, 1, 1, 1, 1)
    # as WanPipeline does it: the encoder sees the mask, and what is padding is zero afterwards
    text = modules["text_encoder"](ids, mask).last_hidden_state * mask.unsqueeze(-1)
    velocity = modules["transformer"](
        (1 - share) * latents + share * pure, time * 1000, text, return_dict=False
    )[0]
    return functional.mse_loss(velocity, pure - latents)


class Words:
    """Captions of the first clips of a split as tokens, [N, T], and what stands for no caption."""

    def __init__(self, count: int, split: str) -> None:
        tokenizer = tiny_tokenizer(PROMPT_TOKENS)
        vocabulary = tokenizer.get_vocab()

        def tokens(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
            found = tokenizer(
                texts, padding="max_length", max_length=PROMPT_TOKENS, truncation=True, return_tensors="pt"
            )
            return found.input_ids, found.attention_mask

        self.ids, self.mask = tokens([world.caption(world.scene(split, number)) for number in range(count)])
        self.nothing = [tokens([text]) for text in ("", NEGATIVE_PROMPT)]
        self.end = tokenizer.eos_token_id
        known = {vocabulary[word] for word in world.words()}
        self.strange = np.array(
            [number for number in vocabulary.values() if number > 2 and number not in known]
        )

    def chosen(self, rows: np.ndarray, numbers: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and mask of these clips; each tenth is replaced by the empty prompt or by words that this world does not have.

        So what a prompt says of foxes means as little as an empty one, instead of something at random.
        """
        ids, mask = self.ids[rows].clone(), self.mask[rows].clone()
        for row in np.flatnonzero(numbers.random(len(rows)) < 0.1):
            kind = numbers.random()
            if kind < 0.7:
                ids[row], mask[row] = (tensor[0] for tensor in self.nothing[0 if kind < 0.55 else 1])
                continue
            length = int(numbers.integers(1, PROMPT_TOKENS - 1))
            ids[row], mask[row] = 0, 0
            ids[row, :length] = torch.from_numpy(numbers.choice(self.strange, length))
            ids[row, length], mask[row, : length + 1] = self.end, 1
        return ids, mask
