"""A profile of the tiny model, priced without being rehearsed: what it says of the cost is made up."""

from __future__ import annotations

import pytest

from workbench.cost import Cost, Price, Quality, StageCost, versions
from workbench.devices import get
from workbench.models import Workload
from workbench.profiles import Profile
from workbench.techniques import Settings

SETTINGS = {"vae_tiling": {}, "dtype": {"vae": "bf16"}, "offload": {"mode": "model"}}


@pytest.fixture
def cost():
    numbers = dict.fromkeys(
        ("weights_bytes", "activations_bytes", "peak_allocated_bytes", "peak_reserved_bytes"), 2**30
    )
    times = {"seconds": 4.0, "low_s": 2.0, "high_s": 8.0, "by_kind_s": {"matmul": 4.0}}
    stage = StageCost(name="denoise", binds="transformer: mm", **numbers, **times)
    price = Price(
        stages=(stage,),
        peak_allocated_bytes=2**30,
        peak_reserved_bytes=2**30,
        required_vram_bytes=2 * 2**30,
        host_ram_bytes=2**30,
    )
    return Cost(
        workload=Workload.for_model("tiny"),
        device=get("rtx-3060-12gb").capped(memory_bytes=8 * 2**30),
        settings=Settings.parse(SETTINGS).to_json(),
        dtypes={"vae": "bf16"},
        price=price,
        quality=Quality(),
        versions=versions(),
    )


@pytest.fixture
def profile(cost):
    return Profile.of(cost)
