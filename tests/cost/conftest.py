from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench.cost._trace import Op
from workbench.cost.calllog import CallLog, CallSummary, Stage, StageCall
from workbench.cost.residency import Weights
from workbench.devices import Device, get

MIB = 2**20
GIB = 2**30


@pytest.fixture
def device() -> Device:
    return get("rtx-3090")


@pytest.fixture
def weights() -> Callable[..., Weights]:
    def make(total: int, blocks: tuple[int, ...] = (), leaf: int = 0) -> Weights:
        return Weights(
            total_bytes=total,
            pinned_bytes=2 * total,
            reserved_bytes=total,
            largest_leaf_bytes=leaf or total,
            blocks=blocks,
            blocks_pinned=tuple(2 * size for size in blocks),
            largest_layer_bytes=leaf or total,
            leaf_window_bytes=2 * leaf or total,
            num_tensors=10,
        )

    return make


@pytest.fixture
def matmul() -> Op:
    """One square bf16 product that is bound by arithmetic on any card: 8192^3."""
    n = 8192
    return Op("aten.mm.default", "matmul", "bf16", 2 * n**3, 4 * n * n, 2 * n * n, (1, n, n, n))


@pytest.fixture
def log() -> CallLog:
    """Two text encodings, ten denoiser calls, one decode."""

    def stage(name: str, component: str, count: int, live: int) -> Stage:
        call = StageCall(component=component, key=component, count=count, live_bytes=live)
        return Stage(name=name, calls=(call,), live_bytes=live, ops=())

    return CallLog(
        stages=(
            stage("text_encode", "text_encoder", 2, 0),
            stage("denoise", "transformer", 10, 100 * MIB),
            stage("decode", "vae", 1, 100 * MIB),
        ),
        visits=("text_encoder", "transformer", "vae"),
        visit_stages=("text_encode", "denoise", "decode"),
        offload_order=("text_encoder", "transformer", "vae"),
    )


@pytest.fixture
def calls(matmul: Op) -> dict[str, CallSummary]:
    def summary(name: str, peak: int, reserved: int, needed: int) -> CallSummary:
        return CallSummary(
            name=name,
            peak_bytes=peak,
            reserved_bytes=reserved,
            needed_bytes=needed,
            given_bytes=0,
            small_bytes=0,
            requests=(reserved, -1),
            passes=1,
            binds=("blocks.0", "aten.mm.default"),
            ops=((matmul, 3),),
        )

    return {
        "text_encoder": summary("Encoder", 1 * GIB, 1 * GIB, 1 * GIB),
        "transformer": summary("Denoiser", 3 * GIB, 4 * GIB, 3 * GIB + 512 * MIB),
        "vae": summary("Decoder.decode", 8 * GIB, 10 * GIB, 9 * GIB),
    }
