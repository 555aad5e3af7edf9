"""How a plan ranks losses that nobody has measured.

An unknown loss is said to be unknown; but a search must still prefer a rounding to 8 bits over a different attention pattern. `caution`
orders settings by what kind of change they make. It is an ordering rule of this package, not an estimate of quality, and is replaced by
measurements where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TOLERATED: Final = 3
"""Plans up to this caution compete on time alone; beyond it only if nothing else fits."""

_BY_TECHNIQUE: Final[Mapping[str, int]] = {
    "vae_tiling": 1,  # every pixel still comes from the same network; seams are blended
    "decode_chunks": 1,  # every frame still comes from the same network
    "cache": 4,
    "temporal_chunks": 8,  # frames that attended to each other no longer do
}
_BY_QUANTIZATION: Final[Mapping[str, int]] = {
    "int8wo": 1,
    "fp8_storage": 1,
    "fp8wo": 1,
    "bnb8": 1,
    "int8dq": 2,
    "fp8dq": 2,
    "gguf_q8_0": 1,
    "nf4": 3,
    "int4wo": 3,
}

_QUANTISED_ATTENTION: Final = 2  # queries and keys in 8 bits


def caution(settings: Mapping[str, Any], steps: int) -> int:
    """How far settings stray from the un-optimised run; 0 means the same output, to rounding.

    Args:
        settings: settings JSON.
        steps: the workload's denoising steps.
    """
    total = sum(_BY_TECHNIQUE.get(name, 0) for name in settings)
    # a component counts once: two experts under one scheme are one decision
    kinds = {(_role(name), *_kind(value)) for name, value in settings.get("quantization", {}).items()}
    # the layers that are otherwise left alone are the sensitive ones, and so are those that are spared
    total += sum(
        max(1, _BY_QUANTIZATION.get(kind, 3) - spares) + takes_more for _, kind, takes_more, spares in kinds
    )
    total += _QUANTISED_ATTENTION if settings.get("attention", {}).get("backend") == "sage" else 0
    total += sum(1 for _ in settings.get("dtype", {}))
    count = settings.get("steps", {}).get("count", steps)
    if count < steps:
        # beyond what is tolerated, and one more for each tenth of the steps that is left out
        total += TOLERATED + -(-(steps - count) * 10 // steps)
    return total


def _kind(value: object) -> tuple[str, bool, bool]:
    """Of a component's quantisation, which is said alone or with the layers it is for: its kind, whether it takes more layers than by
    default, and whether it spares some."""
    if isinstance(value, Mapping):
        return str(value["kind"]), "layers" in value, bool(value.get("skip"))
    return str(value), False, False


def _role(component: str) -> str:
    return component.rpartition("_")[0] if component.rpartition("_")[2].isdigit() else component
