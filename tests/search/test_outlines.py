"""Outlines say what full prices say, to the last bit, and take far less."""

from __future__ import annotations

import contextlib
import statistics

import pytest

from workbench._errors import SettingsError
from workbench._estimate import Predictor
from workbench.devices import resolve
from workbench.models import Workload
from workbench.search._outlines import Outlines
from workbench.search.space import Space

SMALL = {
    "tiny": {},
    "ltx-video": {"frames": 9, "height": 64, "width": 64, "steps": 4},
}
"""Models and workloads that are traced in seconds; tests/cost/test_outline.py has two denoisers, and every kind of placement."""


def settings_of(predictor, device):
    """With every way of offloading, each choice of every other dimension; of large models without what takes long to trace."""
    space = Space.of(predictor.spec, predictor.workload, device, blocks=predictor.num_blocks())
    placing = ("offload", "unit", "stream", "resident", "disk")
    plain = {name: choices[:1] for name, choices in space.dimensions.items() if name not in placing}
    for placed in space.points(plain):
        for name in plain if predictor.spec.name == "tiny" else ("tiles", "vae_dtype", "steps"):
            for choice in space.dimensions[name]:
                with contextlib.suppress(SettingsError):  # techniques that conflict
                    yield space.settings_of(space.at(name, choice, placed))


def outlined(outlines, settings):
    """The outline, or the sentence that refuses the settings."""
    try:
        return outlines.of(settings)
    except SettingsError as error:
        return str(error)


@pytest.mark.parametrize("model", SMALL)
def test_seconds_host_ram_and_what_is_missing_are_those_of_the_full_price(model):
    predictor = Predictor(Workload.for_model(model, **SMALL[model]))
    card = resolve("h200", ram_gb=128)
    every = list(dict.fromkeys(settings_of(predictor, card)))
    small = card
    for _ in range(3):  # a cap takes first of what nobody could use
        outlines = Outlines(predictor, small)
        found = [outlined(outlines, settings) for settings in every]
        needed = [max(outline.least_vram_bytes.values()) for outline in found if not isinstance(outline, str)]
        small = small.capped(memory_bytes=round(statistics.median(needed)) - 1)
    for device in (card, small):
        outlines, seen = Outlines(predictor, device), {"fits": 0, "misses": 0}
        for settings in every:
            outline = outlined(outlines, settings)
            try:
                cost = predictor.cost(settings, device)
            except SettingsError as error:
                assert outline == str(error)
                continue
            assert outline.total_s == cost.total_s, settings
            assert outline.stage_s == {stage.name: stage.seconds for stage in cost.price.stages}
            assert outline.host_ram_bytes == cost.host_ram_bytes, settings
            assert outline.missing_bytes(device) == cost.missing_bytes, settings
            if cost.required_vram_bytes > device.memory_bytes:
                assert max(outline.least_vram_bytes.values()) == cost.required_vram_bytes
            seen["fits" if cost.fits else "misses"] += 1
    assert min(seen.values()) > len(every) / 10, seen


def test_stages_are_worked_out_once_for_all_settings_that_do_not_touch_them():
    predictor = Predictor(Workload.for_model("tiny"))
    device = resolve(None, vram_gb=12)
    outlines = Outlines(predictor, device)
    space = Space.of(predictor.spec, predictor.workload, device, blocks=predictor.num_blocks())
    points = list(space.points({"steps": space.dimensions["steps"][:1]}))
    for point in points:
        try:
            outlines.of(space.settings_of(point))
        except SettingsError:
            continue
    stages = 3 * outlines.count
    assert outlines.count > 1000
    assert outlines._composer.num_stage_times < stages / 4, (outlines._composer.num_stage_times, stages)
