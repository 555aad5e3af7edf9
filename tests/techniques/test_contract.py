"""Every technique keeps the contract: undone without a trace, predicted op for op, as exact as it says."""

from __future__ import annotations

import pytest

from workbench.techniques import (
    ALL,
    AbstractTechnique,
    Allocator,
    Attention,
    Cache,
    Cfg,
    Compile,
    DecodeChunks,
    Dtype,
    FusedQkv,
    Lora,
    Offload,
    Quantization,
    Settings,
    Steps,
    TemporalChunks,
    VaeAttentionSlicing,
    VaeSlicing,
    VaeTiling,
)
from workbench.techniques._kinds import is_installed
from workbench.testing import contract
from workbench.testing.toys import Toy


def both(kind: str) -> Quantization:
    return Quantization(components={"transformer": kind, "text_encoder": kind})


INSTANCES: tuple[AbstractTechnique, ...] = (
    Allocator(),
    Allocator(expandable_segments=True),
    Allocator(max_split_size_mb=128, garbage_collection_threshold=0.8),
    Dtype(components={"transformer": "bf16"}),
    Dtype(components={"vae": "bf16", "text_encoder": "fp16"}),
    FusedQkv(),
    both("int8wo"),
    both("int8dq"),
    both("fp8wo"),
    both("nf4"),
    both("nf4_double"),
    both("gguf_q8_0"),
    both("fp8_storage"),
    Quantization(components={"transformer": {"kind": "int8wo", "layers": "all", "skip": ["attn2"]}}),
    Quantization(components={"vae": "fp8_storage"}),
    Attention(),
    Attention(backend="flash"),
    Attention(backend="math"),
    VaeTiling(tile_height=32, tile_width=32, stride_height=24, stride_width=16),
    VaeSlicing(),
    Steps(count=3),
    # in two steps: the second is skipped
    Cache(kind="first_block", threshold=1e9, hit_rate=1.0),
    Cache(kind="taylorseer", warmup_steps=1),
    Cache(kind="taylorseer", warmup_steps=1, lite=False, order=2),
    Cache(kind="magcache", mag_ratios=(1.0, 0.99), retention=0.0),
    Cache(kind="pab", timesteps=(0, 1001), cross_interval=3),
    Cache(kind="fastercache", timesteps=(0, 1001)),
    Cfg(mode="batched"),
    TemporalChunks(frames=5, overlap=4),
    TemporalChunks(frames=5),
    Offload(mode="none"),
    Offload(mode="model"),
    Offload(mode="sequential"),
    Offload(mode="group", blocks_per_group=2),
    Offload(mode="group", resident_blocks=1),
    Offload(mode="group", offload_type="leaf_level"),
)
"""One row per way in which a technique works differently; a new technique adds its own."""
IDLE: tuple[AbstractTechnique, ...] = (
    VaeTiling(),
    TemporalChunks(frames=9, overlap=4),
    Dtype(components={"vae": "fp32"}),
    Cache(kind="first_block", threshold=0.0, hit_rate=0.0),
    Cfg(mode="sequential"),
)
"""Instances that have nothing to do at this size."""

if is_installed("bitsandbytes"):
    INSTANCES += (both("bnb8"),)


def name(technique: AbstractTechnique) -> str:
    return Settings.of([technique]).canonical()


FEWER_AT_A_TIME = DecodeChunks(frames=2)
"""Not for the miniature: its autoencoder takes a clip as a whole. Latte's takes frames."""


WITHIN_A_FRAME = VaeAttentionSlicing(frames=1)
"""For Cosmos's autoencoder alone: test_vae_attention_slicing.py."""


ADAPTED = Lora(rank=4)
"""A real pipeline's adapters are its user's: test_lora.py."""


COMPILED = Compile()
"""Kernels that a compiler makes are no ops that a recorder sees: test_compile.py."""


class Decoded(Toy):
    """A toy whose frames are decoded."""

    def call_kwargs(self, settings, **more):
        return {**super().call_kwargs(settings, **more), "output_type": "pt"}


@pytest.fixture(scope="module")
def latte():
    return Decoded("latte")


def test_decoding_fewer_frames_at_a_time_keeps_the_contract(latte):
    contract.assert_restores(latte, FEWER_AT_A_TIME)
    contract.assert_predicts(latte, FEWER_AT_A_TIME)


def test_every_technique_has_a_row():
    assert {
        type(technique) for technique in (*INSTANCES, FEWER_AT_A_TIME, WITHIN_A_FRAME, ADAPTED, COMPILED)
    } == set(ALL)


@pytest.mark.parametrize("technique", (*INSTANCES, *IDLE), ids=name)
def test_removal_leaves_no_trace(miniature, technique):
    contract.assert_restores(miniature, technique)


@pytest.mark.parametrize("technique", (*INSTANCES, *IDLE), ids=name)
def test_the_prediction_is_the_run_op_for_op(miniature, technique):
    contract.assert_predicts(miniature, technique)


@pytest.mark.parametrize("technique", INSTANCES, ids=name)
def test_output_is_as_exact_as_declared(miniature, technique):
    contract.assert_output(miniature, technique)


@pytest.mark.parametrize("technique", IDLE, ids=name)
def test_an_idle_technique_changes_nothing(miniature, technique):
    contract.assert_output(miniature, technique, changes=False, tolerance=0)


@pytest.mark.parametrize("technique", (*INSTANCES, *IDLE), ids=name)
def test_json_is_canonical(technique):
    data = technique.to_json()
    assert type(technique).parse(data) == technique
    assert type(technique).parse(data).to_json() == data
    assert hash(type(technique).parse(data)) == hash(technique)


ALL_TOGETHER = (
    Dtype(components={"transformer": "bf16"}),
    FusedQkv(),
    Quantization(components={"transformer": "int8wo", "text_encoder": "nf4"}),
    Attention(backend="flash"),
    VaeTiling(tile_height=32, tile_width=32, stride_height=24, stride_width=24),
    VaeSlicing(),
    Steps(count=3),
    TemporalChunks(frames=5, overlap=4),
    Offload(mode="group", stream=True),
)


CACHED_TOGETHER = tuple(technique for technique in ALL_TOGETHER if technique.id != "temporal_chunks")


@pytest.mark.parametrize(
    "techniques",
    [
        (*ALL_TOGETHER, Cfg(mode="batched")),
        (*CACHED_TOGETHER, Cache(kind="first_block", threshold=1e9, hit_rate=1.0), Cfg(mode="sequential")),
        (*CACHED_TOGETHER, Cache(kind="pab", timesteps=(0, 1001))),
    ],
    ids=("windows", "first block", "attention"),
)
def test_all_at_once_keep_the_contract_too(miniature, techniques):
    contract.assert_restores(miniature, *techniques)
    contract.assert_predicts(miniature, *techniques)
    contract.assert_output(miniature, *techniques)


@pytest.mark.parametrize(
    "workload", [{"num_frames": 17, "height": 96}, {"guidance_scale": 1.0, "num_videos_per_prompt": 2}]
)
def test_other_workloads_are_predicted_too(workload):
    miniature = contract.Miniature(**workload)
    contract.assert_predicts(miniature)
    contract.assert_predicts(miniature, VaeSlicing(), TemporalChunks(frames=5))
