"""What group and sequential offloading hold at once: diffusers' and accelerate's own hooks on small real models, weighed as they run."""

from __future__ import annotations

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import AlignDevicesHook
from diffusers import AutoencoderKLWan, HunyuanVideoTransformer3DModel, WanTransformer3DModel
from diffusers.hooks import apply_group_offloading
from diffusers.hooks.group_offloading import ModuleGroup

from workbench.cost import Placement
from workbench.cost._trace import round_up
from workbench.cost.residency import spread
from workbench.cost.weigh import grouped_blocks, weigh
from workbench.techniques._swapping import Swap, swap

CPU = torch.device("cpu")


@pytest.fixture
def wan():
    torch.manual_seed(0)
    return WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, text_dim=32, freq_dim=32, ffn_dim=48, num_layers=5,
        rope_max_seq_len=32, in_channels=4, out_channels=4,
    ).eval()  # fmt: skip


@torch.no_grad()
def run(wan):
    torch.manual_seed(1)
    return wan(torch.randn(1, 4, 1, 4, 4), torch.tensor([3]), torch.randn(1, 8, 32), return_dict=False)[0]


class Scale:
    """Weighs the groups that are on the GPU, from when diffusers fetches one to when it drops it."""

    def __init__(self, monkeypatch):
        self.held: dict[ModuleGroup, int] = {}
        self.most = self.fetched = 0
        onload, offload = ModuleGroup.onload_, ModuleGroup.offload_

        def on(group):
            # on a machine without a GPU a group that was fetched ahead cannot be told from one that was not, and is fetched again
            self.fetched += 0 if group in self.held else bytes_of(group)
            self.held[group] = bytes_of(group)
            self.most = max(self.most, sum(self.held.values()))
            onload(group)

        def off(group):
            self.held.pop(group, None)
            offload(group)

        monkeypatch.setattr(ModuleGroup, "onload_", on)
        monkeypatch.setattr(ModuleGroup, "offload_", off)


def bytes_of(group):
    tensors = [t for m in group.modules for t in (*m.parameters(), *m.buffers())]
    tensors += [*group.parameters, *group.buffers]
    # diffusers names what is in no block twice: in the modules and in the parameters
    return sum(round_up(tensor.untyped_storage().nbytes()) for tensor in dict.fromkeys(tensors))


@pytest.mark.parametrize("per_group", [1, 2, 5])
def test_blocks(wan, monkeypatch, per_group):
    weights, placement = weigh(wan), Placement(mode="blocks", blocks_per_group=per_group)
    expected = run(wan)
    scale = Scale(monkeypatch)
    apply_group_offloading(wan, CPU, offload_type="block_level", num_blocks_per_group=per_group)
    assert torch.equal(run(wan), expected)
    assert scale.most == weights.resident_bytes(placement)
    assert scale.fetched == weights.total_bytes
    assert not scale.held and weights.idle_bytes(placement) == 0


def test_layers(wan, monkeypatch):
    weights = weigh(wan)
    scale = Scale(monkeypatch)
    apply_group_offloading(wan, CPU, offload_type="leaf_level")
    run(wan)
    assert scale.most == weights.resident_bytes(Placement(mode="layers"))
    assert scale.fetched == weights.total_bytes
    groups = {
        id(p._diffusers_hook.get_hook("group_offloading").group)
        for p in wan.modules()
        if hasattr(p, "_diffusers_hook")
    }
    assert len(groups) == weights.num_layers


@pytest.mark.parametrize(
    ("staying", "ahead"), [(1, True), (2, True), (2, False), (4, True), (5, True), (9, True)]
)
def test_blocks_that_stay(wan, monkeypatch, staying, ahead):
    weights = weigh(wan)
    placement = Placement(mode="blocks", stream=ahead, resident_blocks=staying)
    expected = run(wan)
    scale = Scale(monkeypatch)
    how = Swap(device=CPU, stream=None, fetches_ahead=ahead, low_cpu_mem_usage=False, disk=None)
    assert swap(wan, staying, how) == len(weights.groups(placement)) == max(0, 5 - staying)
    assert torch.equal(run(wan), expected)  # the first forward finds out the order
    scale.most = scale.fetched = 0
    assert torch.equal(run(wan), expected)
    assert scale.most == weights.resident_bytes(placement) - weights.idle_bytes(placement)
    assert scale.fetched == sum(weights.groups(placement))
    assert not scale.held


def test_streamed_blocks_come_one_ahead(wan, monkeypatch):
    # without a GPU there is no stream, but the order of fetches is that of the hooks, which the swap puts on all blocks here
    weights = weigh(wan)
    swap(wan, 0, Swap(device=CPU, stream=None, fetches_ahead=True, low_cpu_mem_usage=False, disk=None))
    run(wan)
    scale = Scale(monkeypatch)
    run(wan)
    assert scale.most == 2 * weights.blocks[0]
    streamed = Placement(mode="blocks", stream=True)
    assert weights.resident_bytes(streamed) == 2 * weights.blocks[0] + weights.other_bytes


def test_sequential(wan, monkeypatch):
    weights, most = weigh(wan), 0
    enter = AlignDevicesHook.pre_forward

    def entered(hook, module, *args, **kwargs):
        nonlocal most
        result = enter(hook, module, *args, **kwargs)
        there = (t for t in (*wan.parameters(), *wan.buffers()) if not t.is_meta)
        most = max(most, sum(round_up(t.untyped_storage().nbytes()) for t in there))
        return result

    monkeypatch.setattr(AlignDevicesHook, "pre_forward", entered)
    # as `enable_sequential_cpu_offload` calls it
    cpu_offload(wan, CPU, offload_buffers=len(wan._parameters) > 0)
    left = sum(
        round_up(t.untyped_storage().nbytes()) for t in (*wan.parameters(), *wan.buffers()) if not t.is_meta
    )
    run(wan)
    placement = Placement(mode="leaves")
    assert left == weights.idle_bytes(placement) > 0  # rope tables, which are not in the state dict
    assert most == weights.resident_bytes(placement)


def test_sequences_and_the_parts_that_a_class_names_are_blocks_too():
    with torch.device("meta"):
        vae = AutoencoderKLWan(
            base_dim=4, num_res_blocks=1, z_dim=4, dim_mult=[1, 1], temperal_downsample=[False]
        )
        hunyuan = HunyuanVideoTransformer3DModel(
            num_attention_heads=2, attention_head_dim=8, num_layers=2, num_single_layers=3, num_refiner_layers=1,
            text_embed_dim=16, pooled_projection_dim=8, rope_axes_dim=(2, 2, 4),
        )  # fmt: skip
    owner, blocks = grouped_blocks(vae)
    inside = [*vae.encoder.down_blocks, *vae.decoder.up_blocks]
    assert owner is vae and [block for block in blocks if block in inside] == inside
    assert grouped_blocks(hunyuan)[1] == [*hunyuan.transformer_blocks, *hunyuan.single_transformer_blocks]


@pytest.mark.parametrize(("number", "staying"), [(5, 0), (5, 2), (30, 7), (4, 4), (3, 9), (0, 2)])
def test_blocks_that_stay_are_spread(number, staying):
    stays = spread(number, staying)
    assert len(stays) == number and sum(stays) == min(number, staying)
    if 0 < sum(stays) < number:
        assert not stays[0]
        runs = "".join("x" if stay else "." for stay in stays).split("x")
        assert max(map(len, runs)) - min(map(len, runs[:-1])) <= 1
