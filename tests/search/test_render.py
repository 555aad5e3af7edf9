"""A cost and a plan as text and as HTML: the same content, readable in both."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

from workbench.devices import get
from workbench.search import _render_html as html
from workbench.search import _render_text as text
from workbench.search._parts import peak_parts, stage_parts
from workbench.search._report import MAX_FRONT_ROWS, cost_report, plan_report, verdict
from workbench.testing.fakes import exact, fake_candidate, fake_cost, fake_plan, published, unknown

pytestmark = pytest.mark.usefixtures("fixed_residuals")

GIB = 2**30
SMALL = {"text_encode": (5.3, 0.1, 0.2), "denoise": (2.7, 1.5, 0.25), "decode": (0.5, 4.4, 0.6)}
MODEL_OFFLOAD = {"offload": {"mode": "model"}}
INT8 = {**MODEL_OFFLOAD, "quantization": {"transformer": "int8wo"}}
FEWER_STEPS = {**INT8, "steps": {"count": 30}}


@pytest.fixture
def plan():
    """Three configurations that fit, the middle one the best, and one that does not."""
    known = [exact("offload"), published("quantization", 0.8)]
    costs = [
        fake_cost(FEWER_STEPS, seconds=220, effects=[*known, unknown("steps")], stages_gib=SMALL),
        fake_cost(INT8, seconds=365, effects=known, stages_gib=SMALL, notes=["int8 needs torchao"]),
        fake_cost(MODEL_OFFLOAD, seconds=480, effects=[exact("offload")], stages_gib=SMALL),
    ]
    front = [fake_candidate(cost, caution) for cost, caution in zip(costs, (8, 1, 0), strict=True)]
    return fake_plan(front, best=1, misses=[fake_candidate(fake_cost(), 0)])


@pytest.fixture
def nothing_fits():
    card = get("rtx-3060-12gb").capped(memory_bytes=2 * GIB)
    miss = fake_cost({"offload": {"mode": "sequential"}}, device=card, stages_gib={"decode": (0.5, 1.4, 0.6)})
    return fake_plan([], misses=[fake_candidate(miss)])


def numbers(content: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)?", content))


def visible(page: str) -> str:
    """What a reader of the HTML sees."""
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)))


class Tags(HTMLParser):
    """Checks that every tag that is opened is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# --- both say the same ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plan", "nothing_fits"])
def test_a_plans_text_and_html_agree(name, request):
    plan = request.getfixturevalue(name)
    as_text, as_html = (
        text.render_plan(plan, "a typical 12 GB card"),
        html.render_plan(plan, "a typical 12 GB card"),
    )
    titles = [section.title for section in plan_report(plan).sections]
    assert [line for line in as_text.splitlines() if line in titles] == titles
    assert re.findall(r'"wb-name">([^<]+)<', as_html) == titles
    assert numbers(as_text) == numbers(visible(as_html))


def test_a_costs_text_and_html_agree():
    cost = fake_cost(INT8, effects=[exact("offload"), published("quantization", 0.8)], notes=["a note"])
    as_text, as_html = text.render_cost(cost), html.render_cost(cost)
    titles = ["Settings", "Stages", "Memory", "Time", "Quality", "Notes", "Versions"]
    assert [line for line in as_text.splitlines() if line in titles] == titles
    assert re.findall(r'"wb-name">([^<]+)<', as_html) == titles
    assert numbers(as_text) == numbers(visible(as_html))


def test_a_plan_shows_itself(plan):
    assert str(plan) == text.render_plan(plan)
    assert plan._repr_html_() == html.render_plan(plan)


# --- text -----------------------------------------------------------------------------------------------------------------


def test_a_cost_as_text():
    cost = fake_cost(INT8, effects=[exact("offload"), published("quantization", 0.8)], stages_gib=SMALL)
    assert text.render_cost(cost, "a typical 12 GB card") == COST_AS_TEXT.strip("\n")


COST_AS_TEXT = """
Estimate: Wan2.1-T2V-1.3B: 81 frames of 480 × 832, 50 steps, guidance 5
on a typical 12 GB card: NVIDIA GeForce RTX 3060 12 GB (rtx-3060-12gb), 12.00 GiB, PCIe 4.0 x16,
host RAM not limited
loaded as text encoder bf16 · transformer bf16 · VAE fp32

✔ peak 5.60 GiB, fits 12.00 GiB with probability at least 0.98, about 6 min 05 s

Settings
 technique     setting           effect on the output
────────────────────────────────────────────────────────────
 offload       model offload     none, exact
 quantization  int8 transformer  loss 0.8 % PSNR, published

Stages
                 weights  activations  peak  reserved
    stage            GiB          GiB   GiB       GiB        time  what binds
────────────────────────────────────────────────────────────────────────────────────────────────
 ▸  text encode     5.30         0.10  5.40      5.60      0.73 s  text_encoder: embedding
    denoise         2.70         1.50  4.20      4.45  5 min 57 s  transformer…0.ffn: gelu
    decode          0.50         4.40  4.90      5.50       7.3 s  vae…up_blocks.2: convolution

Memory
  · required 6.93 of 12.00 GiB: reserved 5.60 + context 0.87 + desktop 0.39 + margin 0.07
  · probability and margin from 60 measured peaks of 1 model, none of them of text encoders; worst
    under-prediction 1.2 %
  · the peak is in text encode, at text_encoder: embedding
  · host RAM 11.30 GiB, no limit given
  ▕██████████████████████████▓▒░░░░▚▚╱·························▏ 12.00 GiB
  █ weights 5.30 GiB  ▓ activations 0.10 GiB  ▒ unallocated 0.20 GiB
  ░ context 0.87 GiB  ▚ desktop 0.39 GiB  ╱ margin 0.07 GiB

Time
  · 6 min 05 s (from 3 min 48 s to 9 min 44 s): catalogue rates, not calibrated on this card
  · bound by matrix products 50 %, attention 30 %, memory traffic 15 %, waiting for weights 4 %,
    kernel launches 1 %

Quality
  · known loss 0.8 %
  · quantization: loss 0.8 % PSNR, published (a paper, table 2)

Versions
  · workbench 0.1.0 · torch 2.13.0 · diffusers 0.42.1
"""


@pytest.mark.parametrize("name", ["plan", "nothing_fits"])
def test_lines_are_plain_and_not_too_wide(name, request):
    lines = str(request.getfixturevalue(name)).splitlines()
    assert max(map(len, lines)) <= text.WIDTH
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in "".join(lines)


def test_on_a_narrow_terminal_words_stand_below_their_table():
    from io import StringIO

    from rich.console import Console

    file = StringIO()
    Console(file=file, width=80).print(text.report_renderable(cost_report(fake_cost(stages_gib=SMALL))))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    assert not any("what binds" in line for line in lines)
    assert "  · decode: vae…up_blocks.2: convolution" in lines


def test_nothing_fits_says_by_how_much(nothing_fits):
    lines = str(nothing_fits).splitlines()
    assert "✘ nothing fits: the nearest miss needs 1.03 GiB too much VRAM (3.03 of 2.00 GiB)" in lines
    assert "Nearest miss" in lines
    assert "Front" not in lines


def test_a_limit_that_rules_out_what_fits_is_told_from_memory():
    slow = fake_candidate(fake_cost(stages_gib=SMALL, seconds=7200))
    assert "✘ nothing meets the limits: the nearest that fits the memory takes 2 h 00 min" in str(
        fake_plan([], misses=[slow])
    )


def test_the_bar_shows_what_is_beyond_the_cap(nothing_fits):
    bar = next(line for line in str(nothing_fits).splitlines() if "▕" in line).strip()
    inside, outside = bar.removeprefix("▕").removesuffix(" 2.00 GiB").split("▏")
    assert len(inside) + len(outside) == text.BAR_WIDTH
    # 2.00 of 3.03 GiB
    assert len(inside) == round(2.00 / 3.03 * text.BAR_WIDTH)
    assert outside.endswith("╱") and "·" not in bar


def test_a_model_of_megabytes_is_shown_in_megabytes():
    tiny = {"denoise": (0.01, 0.02, 0.0)}
    lines = text.render_cost(fake_cost(stages_gib=tiny)).splitlines()
    assert any(
        line.split() == ["stage", "MiB", "MiB", "MiB", "MiB", "time", "what", "binds"] for line in lines
    )


def test_a_cap_on_host_ram_is_shown():
    cost = fake_cost(device=get("rtx-3060-12gb").with_ram(32 * GIB))
    assert "  · host RAM 11.30 of 32.00 GiB" in text.render_cost(cost).splitlines()


# --- the front ------------------------------------------------------------------------------------------------------------


def front_of(plan):
    return next(section for section in plan_report(plan).sections if section.title == "Front")


def test_what_all_of_a_front_share_is_said_once(plan):
    front = front_of(plan)
    assert front.lines[-1] == "all of them: model offload"
    assert [row[-1] for row in front.table.rows] == [
        "int8 transformer · 30 steps",
        "int8 transformer",
        "nothing more",
    ]
    assert [row[3:6] for row in front.table.rows] == [
        ("8", "0.8 %\n1 unknown", "text encode"),
        ("1", "0.8 %", "text encode"),
        ("0", "exact", "text encode"),
    ]
    assert front.table.marked == 1


def test_a_front_of_one_says_so():
    front = front_of(fake_plan([fake_candidate(fake_cost(MODEL_OFFLOAD, stages_gib=SMALL))]))
    assert front.lines[0].startswith("one configuration that nothing beats")
    assert front.table.rows[0][-1] == "model offload"


def test_a_long_front_keeps_its_ends_and_the_best():
    many = [
        fake_candidate(fake_cost({"steps": {"count": 10 + k}}, seconds=100 + k, stages_gib=SMALL))
        for k in range(40)
    ]
    front = front_of(fake_plan(many, best=1))
    words = [row[-1] for row in front.table.rows]
    assert len(words) <= MAX_FRONT_ROWS
    assert (words[0], words[1], words[-1]) == ("10 steps", "11 steps", "49 steps")
    assert front.table.marked == 1
    assert front.lines[0].endswith(f"fastest first; {len(words)} of them shown")


# --- the parts ------------------------------------------------------------------------------------------------------------


def test_the_parts_add_up_to_what_is_required():
    cost = fake_cost()
    assert peak_parts(cost).required_bytes == cost.required_vram_bytes
    assert (
        max(stage_parts(cost, stage).required_bytes for stage in cost.price.stages)
        == cost.required_vram_bytes
    )


def test_what_is_shown_of_the_memory_adds_up():
    line = next(s for s in cost_report(fake_cost()).sections if s.title == "Memory").lines[0]
    required, _, *parts = map(float, re.findall(r"\d+\.\d+", line))
    assert len(parts) == 4 and round(sum(parts), 2) == required


def test_a_near_miss_says_how_likely_it_runs_all_the_same():
    cost = fake_cost(stages_gib={"denoise": (8.0, 2.6, 0.03)})
    assert verdict(cost) == (
        "does not fit: 18 MiB too much VRAM (12.02 of 12.00 GiB); "
        "without the margin it fits 12.00 GiB with probability at least 0.83"
    )
    assert "without" not in verdict(fake_cost(stages_gib={"denoise": (8.0, 3.6, 0.1)}))


def test_without_a_desktop_nothing_is_said_of_one():
    as_text = text.render_cost(fake_cost(device="a100-40gb", stages_gib=SMALL))
    assert "desktop" not in as_text and "margin" in as_text
    assert "desktop" not in visible(html.render_cost(fake_cost(device="a100-40gb", stages_gib=SMALL)))


# --- html -----------------------------------------------------------------------------------------------------------------


def test_html_is_escaped():
    cost = replace(fake_cost(), notes=("<script>alert(1)</script> & more",))
    page = html.render_cost(cost)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page


def test_html_fetches_nothing_and_is_well_formed(plan):
    page = html.render_plan(plan)
    assert not re.search(r"https?:|url\(|@import|src=|<link|<script", page)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
