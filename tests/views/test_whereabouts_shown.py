"""The figure and the table of where weights are."""

from __future__ import annotations

import dataclasses

import pytest

from workbench import views
from workbench._errors import InputError
from workbench.cost import CallLog, CallSummary, Placement, Residency, Weights
from workbench.cost.calllog import Stage, StageCall
from workbench.cost.whereabouts import Timeline
from workbench.search._weights import weights_sections
from workbench.testing.fakes import fake_cost
from workbench.views import _whereabouts

GIB = 2**30


def weights_of(size, blocks=0):
    return Weights(
        total_bytes=size * GIB, reserved_bytes=size * GIB, pinned_bytes=size * GIB, largest_leaf_bytes=GIB // 2,
        blocks=(GIB,) * blocks, blocks_pinned=(GIB,) * blocks, num_tensors=4,
    )  # fmt: skip


def cost_of(**placements):
    """A run of a text encoder of 4 GiB and a denoiser of 6 blocks of 1 GiB and 1 GiB more."""
    call = {
        name: StageCall(component=name, key=name, count=count, live_bytes=0)
        for name, count in (("text_encoder", 2), ("transformer", 50))
    }
    log = CallLog(
        stages=(
            Stage(name="text_encode", calls=(call["text_encoder"],), live_bytes=0, ops=()),
            Stage(name="denoise", calls=(call["transformer"],), live_bytes=0, ops=()),
        ),
        visits=("text_encoder", "transformer"),
        visit_stages=("text_encode", "denoise"),
        offload_order=("text_encoder", "transformer"),
    )
    summary = CallSummary(
        name="x", peak_bytes=0, reserved_bytes=0, needed_bytes=0, given_bytes=0, small_bytes=0, requests=(), passes=1,
        binds=("", ""), ops=(),
    )  # fmt: skip
    timeline = Timeline(
        log=log,
        calls=dict.fromkeys(call, summary),
        weights={"text_encoder": weights_of(4), "transformer": weights_of(7, blocks=6)},
        residency=Residency(placements=placements),
    )
    cost = fake_cost()
    return dataclasses.replace(cost, price=dataclasses.replace(cost.price, timeline=timeline))


WHOLE = Placement(mode="whole")


def test_the_figure_stacks_each_place():
    info = _whereabouts._info(cost_of(text_encoder=WHOLE, transformer=Placement(mode="blocks", stream=True)))
    assert info.stretches == ("before the call", "text encode", "denoise", "after the call")
    assert info.places() == ("on the GPU", "in host RAM")
    # only a component that is placed whole too would send the text encoder back
    assert info.totals("on the GPU") == (0, 4, 4 + 3, 0)
    assert info.totals("in host RAM") == (4 + 7, 7, 6, 4 + 7)
    passing = [layer for layer in info.layers if layer.passing]
    assert [(layer.place, layer.component, layer.sizes_gib) for layer in passing] == [
        ("on the GPU", "transformer", (0, 0, 3, 0)),
        ("in host RAM", "transformer", (6, 6, 6, 6)),
    ]
    assert passing[0].said[2].endswith("<br>350.00 GiB come to the GPU in 50 calls")


def test_what_stays_is_on_the_gpu_all_the_time():
    info = _whereabouts._info(cost_of(transformer=Placement(mode="blocks", on_disk=True, resident_blocks=2)))
    assert info.places() == ("on the GPU", "in files")
    assert info.totals("on the GPU") == (7, 7, 8, 7)
    assert info.totals("in files") == (4, 4, 4, 4)


def test_the_figure_is_drawn():
    figure = views.plot_whereabouts(cost_of(text_encoder=WHOLE, transformer=WHOLE))
    assert figure.layout.title.text.startswith("<b>Where the weights are · Wan2.1-T2V-1.3B")
    assert {figure.layout[axis].title.text for axis in ("yaxis", "yaxis2")} == {"GiB"}
    assert [note.text for note in figure.layout.annotations] == ["on the GPU", "in host RAM"]


def test_a_cost_without_weights_is_refused():
    with pytest.raises(InputError, match=r"^plot_whereabouts needs a cost that was predicted; "):
        views.plot_whereabouts(fake_cost())


def test_the_table_says_it_in_words():
    [section] = weights_sections(
        cost_of(text_encoder=Placement(mode="blocks"), transformer=Placement(mode="blocks"))
    )
    titles = [column.title.replace("\n", " ") for column in section.table.columns]
    assert titles == [
        "stretch",
        "weights of",
        "GPU GiB",
        "between calls",
        "pageable",
        "fetched in all",
        "calls",
    ]
    assert section.table.rows[4:6] == (
        ("denoise", "text encoder", "–", "–", "4.00", "–", ""),
        ("", "transformer", "2.00", "–", "5.00", "350.00", "50"),
    )
    assert weights_sections(cost_of()) == ()
