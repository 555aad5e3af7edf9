"""Small models of the real classes: what the host spends between ops shows on the smallest, and the larger ones check the prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from workbench.cost._recorder import Recorder
from workbench.cost.calllog import OpCounts

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Block:
    """One call of a model."""

    name: str
    work: Work
    ops: OpCounts
    """What it runs, as the tracer sees it."""


def small_blocks(device: str, dtype: torch.dtype) -> Iterator[Block]:
    """Each kind of model at a size at which its ops have next to nothing to do."""
    yield from _blocks(device, dtype, (1,))


def check_blocks(device: str, dtype: torch.dtype) -> Iterator[Block]:
    """Each kind of model at sizes at which its ops have something to do."""
    yield from _blocks(device, dtype, (4, 8) if device == "cpu" else (16, 32))


def _blocks(device: str, dtype: torch.dtype, sizes: tuple[int, ...]) -> Iterator[Block]:
    for make in (_cogvideox, _ltx, _text_encoder, _picture_decoder, _video_decoder):
        module, call = make()
        for (
            parameter
        ) in module.parameters():  # all of it: diffusers' own `to` warns of parts that are better in fp32
            parameter.data = parameter.data.to(device=device, dtype=dtype)
        module = module.to(device=device).eval()
        for size in sizes:
            work = call(module, device, dtype, size)
            yield Block(f"{type(module).__name__} {size}", work, recorded_ops(work))


def recorded_ops(work: Work) -> OpCounts:
    """What a piece of work runs, as the tracer sees it."""
    recorder = Recorder(hollow=False)
    with recorder:
        work()
    return tuple(recorder.trace("").op_counts().items())


Made = tuple[nn.Module, Callable[[Any, str, torch.dtype, int], Work]]


def _ltx() -> Made:
    from diffusers import LTXVideoTransformer3DModel

    module = LTXVideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=4, attention_head_dim=32, cross_attention_dim=128, num_layers=2,
        caption_channels=64,
    )  # fmt: skip

    def call(module: Any, device: str, dtype: torch.dtype, size: int) -> Work:
        frames, side = 2, 4 * size
        latents = torch.randn(1, frames * side * side, 16, device=device, dtype=dtype)
        text = torch.randn(1, 16, 64, device=device, dtype=dtype)
        mask = torch.ones(1, 16, device=device, dtype=torch.int64)
        time = torch.tensor([500], device=device)
        return lambda: module(latents, text, time, mask, frames, side, side, return_dict=False)

    return module, call


def _cogvideox() -> Made:
    from diffusers import CogVideoXTransformer3DModel

    module = CogVideoXTransformer3DModel(
        num_attention_heads=4, attention_head_dim=64, in_channels=8, out_channels=8, time_embed_dim=32, text_embed_dim=64,
        num_layers=2, sample_width=32, sample_height=32, sample_frames=5, max_text_seq_length=16,
    )  # fmt: skip

    def call(module: Any, device: str, dtype: torch.dtype, size: int) -> Work:
        latents = torch.randn(1, 2, 8, 4 * size, 4 * size, device=device, dtype=dtype)
        text = torch.randn(1, 16, 64, device=device, dtype=dtype)
        time = torch.tensor([500], device=device)
        return lambda: module(latents, text, time, return_dict=False)

    return module, call


def _text_encoder() -> Made:
    from transformers import T5Config, T5EncoderModel

    module = T5EncoderModel(
        T5Config(vocab_size=128, d_model=256, d_kv=64, d_ff=512, num_layers=2, num_heads=4)
    )

    def call(module: Any, device: str, dtype: torch.dtype, size: int) -> Work:
        tokens = torch.randint(0, 128, (1, 16 * size), device=device)
        return lambda: module(tokens)

    return module, call


def _picture_decoder() -> Made:
    from diffusers import AutoencoderKL

    module = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(32, 64),
        latent_channels=4, norm_num_groups=8,
    )  # fmt: skip

    def call(module: Any, device: str, dtype: torch.dtype, size: int) -> Work:
        latents = torch.randn(1, 4, 4 * size, 4 * size, device=device, dtype=dtype)
        return lambda: module.decode(latents, return_dict=False)

    return module, call


def _video_decoder() -> Made:
    from diffusers import AutoencoderKLWan

    module = AutoencoderKLWan(base_dim=16, num_res_blocks=1)

    def call(module: Any, device: str, dtype: torch.dtype, size: int) -> Work:
        latents = torch.randn(1, 16, 2, size, size, device=device, dtype=dtype)
        return lambda: module.decode(latents, return_dict=False)

    return module, call
