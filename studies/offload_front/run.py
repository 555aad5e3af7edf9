"""Published times of offloading beside what `cost/transfers.py` makes of them: what moving weights adds to a measured time without it.

    python studies/offload_front/run.py

The compute is the published time without offloading, the weights are those of the real module (weightless), the share of attention is
counted, and the link is the catalogue's for that card, uncalibrated. So only the transfers are predicted; nothing is fitted. Writes
offload_front.md beside this file.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel, LTXVideoTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from workbench._files import replacing
from workbench.cost import Placement, Weights
from workbench.cost.roofline import KINDS, Seconds
from workbench.cost.transfers import pass_seconds, stalls
from workbench.cost.weigh import weigh
from workbench.devices import get
from workbench.models import get as get_model

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from in_order import slots  # noqa: E402 - beside this file

GIB = 2**30

CACHE_DIT = "cache-dit docs/user_guide/OFFLOAD.md, NVIDIA L20 (PCIe 4.0 x16), FLUX.1-dev, 28 steps, 1024²"
BENCHMARKS = "diffusers/benchmarks collated_results.csv at dc778b0, one forward, AWS g6e (L40S), leaf_level, use_stream"
TEXT_BYTES = 9.79e9
"""FLUX's T5 encoder (4.76e9 parameters), CLIP and autoencoder in bf16: what model and sequential offload move besides, once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One published time."""

    source: str
    what: str
    published_s: float
    predicted_s: float
    low_s: float
    nearest: str = "the same"
    """Which of diffusers' ways of offloading is priced, where the published one is another."""


def flux() -> torch.nn.Module:
    """FLUX.1-dev's denoiser without weights."""
    with torch.device("meta"):
        return FluxTransformer2DModel(guidance_embeds=True).to(torch.bfloat16).eval()


def ltx() -> torch.nn.Module:
    """LTX-Video 0.9.7's denoiser without weights."""
    config = get_model("ltx-video-0.9.7-distilled").component("transformer").config
    with torch.device("meta"):
        return LTXVideoTransformer3DModel.from_config(dict(config)).to(torch.bfloat16).eval()


def flux_inputs() -> dict[str, torch.Tensor]:
    """1024 x 1024 and 512 text tokens."""
    shapes = {
        "hidden_states": (1, 4096, 64),
        "encoder_hidden_states": (1, 512, 4096),
        "img_ids": (4096, 3),
        "txt_ids": (512, 3),
        "pooled_projections": (1, 768),
        "timestep": (1,),
        "guidance": (1,),
    }
    return {name: torch.empty(shape, device="meta", dtype=torch.bfloat16) for name, shape in shapes.items()}


def ltx_inputs() -> dict[str, torch.Tensor]:
    """161 frames of 512 x 704 and 256 text tokens."""
    shapes = {
        "hidden_states": (1, 7392, 128),
        "encoder_hidden_states": (1, 256, 4096),
        "encoder_attention_mask": (1, 256),
        "timestep": (1,),
        "video_coords": (1, 3, 7392),
    }
    return {name: torch.empty(shape, device="meta", dtype=torch.bfloat16) for name, shape in shapes.items()}


@torch.no_grad()
def attention_share(module: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> float:
    """The part of a forward's floating-point operations that is attention."""
    with FlopCounterMode(display=False) as counter:
        module(**inputs)
    by_op = counter.get_flop_counts()["Global"]
    return sum(n for op, n in by_op.items() if "attention" in str(op)) / sum(by_op.values())


def seconds_of(compute_s: float, attention: float) -> Seconds:
    """One forward's compute."""
    by_kind = [0.0] * len(KINDS)
    by_kind[KINDS.index("matmul")] = compute_s * (1 - attention)
    by_kind[KINDS.index("attention")] = compute_s * attention
    return Seconds(by_kind=tuple(by_kind), low=compute_s)


def waiting(
    held: Weights, once: Seconds, link: float = 1.0
) -> Callable[[Placement, int], tuple[float, float]]:
    """(expected, low) seconds of waiting in so many calls.

    Args:
        link: part of the catalogue's link that the machine has.
    """
    card = get("l40s")
    card = dataclasses.replace(card, link_bytes_per_s=link * card.link_bytes_per_s)

    def wait(placement: Placement, count: int) -> tuple[float, float]:
        return stalls(held, placement, once, 1, count, count > 1, card)

    return wait


def _in_order(name: str) -> float:
    """Seconds of the benchmark's row with each layer where it runs and computing what it computes."""
    module, inputs, plain_s = (
        (flux(), flux_inputs(), 0.535) if name.startswith("FLUX") else (ltx(), ltx_inputs(), 1.607)
    )
    met = slots(module, inputs, plain_s)
    pinned = get("l40s").link_bytes_per_s * get("l40s").efficiencies["link_pinned"]
    return pass_seconds([size / pinned for size, _ in met], [seconds for _, seconds in met], [0.0] * len(met))


def leaf_rows(link: float = 1.0) -> Iterator[Row]:
    """diffusers' own benchmark of its own group offloading."""
    for name, module, inputs, plain_s, published_s in (
        ("FLUX.1-dev", flux(), flux_inputs(), 0.535, 1.901),
        ("LTX-Video 0.9.7", ltx(), ltx_inputs(), 1.607, 2.759),
    ):
        wait = waiting(weigh(module), seconds_of(plain_s, attention_share(module, inputs)), link)
        more, least = wait(Placement(mode="layers", stream=True), 1)
        yield Row(
            source=BENCHMARKS, what=f"{name}, layers with a stream (without offloading {plain_s} s)", published_s=published_s,
            predicted_s=plain_s + more, low_s=plain_s + least,
        )  # fmt: skip


def front_rows() -> Iterator[Row]:
    """cache-dit's front; what it does itself is priced as the way of diffusers that is nearest."""
    module, plain_s, steps = flux(), 23.4, 28
    held = weigh(module)
    wait = waiting(held, seconds_of(plain_s / steps, attention_share(module, flux_inputs())))
    card = get("l40s")
    pageable = card.link_bytes_per_s * card.efficiencies["link_pageable"]
    pinned = card.link_bytes_per_s * card.efficiencies["link_pinned"]

    def row(what: str, published_s: float, more: tuple[float, float], nearest: str = "the same") -> Row:
        return Row(
            source=CACHE_DIT, what=what, published_s=published_s, predicted_s=plain_s + more[0], low_s=plain_s + more[1],
            nearest=nearest,
        )  # fmt: skip

    leaves = wait(Placement(mode="leaves"), steps)
    text = TEXT_BYTES / pageable, TEXT_BYTES / card.link_bytes_per_s
    yield row("sequential offload of diffusers", 335, (leaves[0] + text[0], leaves[1] + text[1]))
    both = 2 * (held.total_bytes + TEXT_BYTES)
    yield row("model offload of diffusers", 56, (both / pageable, both / card.link_bytes_per_s))
    one_way = steps * held.total_bytes
    yield row(
        "layer by layer, ~1 GiB", 49, (one_way / pinned, one_way / card.link_bytes_per_s),
        "pinned, one way, nothing beside it",
    )  # fmt: skip
    yield row(
        "+ async, ~4 GiB", 41, wait(Placement(mode="layers", stream=True), steps), "layers with a stream"
    )
    for gib, published_s in ((8, 33), (14, 26), (16, 24.6)):
        staying = round((gib - 4) * GIB / held.total_bytes * len(held.blocks))
        yield row(
            f"+ persistent, ~{gib} GiB", published_s,
            wait(Placement(mode="blocks", stream=True, resident_blocks=staying), steps),
            f"{staying} of {len(held.blocks)} blocks resident, with a stream",
        )  # fmt: skip


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | priced as | published s | predicted s | low s | error |", "|---|---|---|---|---|---|"]
    for row in rows:
        error = row.predicted_s / row.published_s - 1
        lines.append(
            f"| {row.what} | {row.nearest} | {row.published_s:g} | {row.predicted_s:.2f} | {row.low_s:.2f} | {error:+.0%} |"
        )
    return "\n".join(lines)


def needs(by_source: dict[str, list[Row]]) -> str:
    """What would have to be otherwise for the worst rows, worked out from each of them alone."""
    held = {"FLUX.1-dev": weigh(flux()), "LTX-Video 0.9.7": weigh(ltx())}
    lines = []
    for row, slow in zip(by_source[BENCHMARKS], leaf_rows(link=0.5), strict=True):
        name = row.what.partition(",")[0]
        layers = held[name].num_layers
        exact = _in_order(name)
        lines.append(
            f"- {name}: {1e3 * (row.published_s - row.predicted_s) / layers:.1f} ms more for each of {layers} layers, where the hooks "
            f"and two synchronisations per layer cost the CPU what is not priced; or a link of half the rate, with which "
            f"{slow.predicted_s:.2f} s are predicted and {row.published_s:.2f} s published. Layers are priced as they are registered; in "
            f"the order in which they run, with their own operations, it would be {exact:.2f} s."
        )
    sequential, model = by_source[CACHE_DIT][:2]
    moved = (
        28 * held["FLUX.1-dev"].total_bytes + TEXT_BYTES,
        2 * (held["FLUX.1-dev"].total_bytes + TEXT_BYTES),
    )
    rates = [
        num / (row.published_s - 23.4) / 1e9 for num, row in zip(moved, (sequential, model), strict=True)
    ]
    lines.append(
        f"- FLUX.1-dev on the L20: {rates[0]:.1f} GB/s of pageable memory by the row of sequential offload, {rates[1]:.1f} GB/s by the row "
        f"of model offload, where {1e-9 * get('l40s').link_bytes_per_s * get('l40s').efficiencies['link_pageable']:.1f} GB/s is assumed."
    )
    return "\n".join(lines)


def main() -> None:
    """Writes the tables."""
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    by_source: dict[str, list[Row]] = {}
    for row in (*leaf_rows(), *front_rows()):
        by_source.setdefault(row.source, []).append(row)
    held = weigh(flux())
    text = "# Published offloading beside the prediction\n\n"
    text += "Made by `run.py`, which says how. Rates are the catalogue's, uncalibrated; nothing is fitted to these rows.\n"
    for source, rows in by_source.items():
        text += f"\n## {source}\n\n{table(rows)}\n"
    text += (
        "\n## Host RAM of streamed layers\n\nFLUX.1-dev's denoiser holds "
        f"{held.total_bytes / 1e9:.1f} GB of weights; pinned, rounded up as PyTorch does, predicted {held.pinned_bytes / 1e9:.1f} GB, "
        "published 35.1 GB of process memory (diffusers pull request 11106).\n"
    )
    text += f"\n## What the errors would need\n\n{needs(by_source)}\n"
    with replacing(HERE / "offload_front.md") as path:
        path.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
