"""Random weights with which a twin computes something: small, seeded, and none of them zero where a zero would hide a change."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

_SMALL = 0.02


def fill(module: nn.Module, name: str, seed: int) -> None:
    """Draws every weight anew, in place; the same name, seed and shapes give the same weights, in whatever order they are made.

    Matrices and kernels keep the variance of what goes through them (1 / fan-in). A vector that is constructed as ones (the gain of a
    norm) stays as it is, any other is small: gates and biases that start at zero would switch off the layers behind them.
    """
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            generator = torch.Generator().manual_seed(_seed(f"{seed}:{name}.{key}"))
            if parameter.ndim > 1:
                _draw(parameter, generator, parameter[0].numel() ** -0.5)
            elif not bool((parameter == 1).all()):
                _draw(parameter, generator, _SMALL)


def _draw(parameter: Tensor, generator: torch.Generator, deviation: float) -> None:
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")
