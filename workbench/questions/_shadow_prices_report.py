"""What memory buys, in the sections of a report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench._units import format_gib, format_seconds, gib
from workbench.questions._cards_report import limit_lines
from workbench.search._report import Column, Report, Section, Table
from workbench.search._words import (
    describe_binds,
    describe_device,
    describe_settings,
    describe_stage,
    describe_technique,
    describe_workload,
)
from workbench.search.pareto import EQUALLY_FAST

if TYPE_CHECKING:
    from workbench.questions._shadow_prices import ShadowPrices


def shadow_prices_report(prices: ShadowPrices) -> Report:
    """The curve as a table: from which cap on which time, and what the memory up to the next step buys."""
    return Report(
        title="What memory buys",
        lines=(
            describe_workload(prices.asked.workload),
            f"on {describe_device(prices.device, prices.choice)}",
            *limit_lines(prices.asked),
        ),
        verdict=_verdict(prices),
        is_good=bool(prices.steps),
        sections=(_table(prices), _binding(prices)) if prices.steps else (),
    )


def buys(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What differs of two settings, in words: what a step's memory is for."""
    gained = [describe_technique(name, value) for name, value in after.items() if before.get(name) != value]
    dropped = [
        f"without {describe_technique(name, value)}" for name, value in before.items() if name not in after
    ]
    return " · ".join((*gained, *dropped)) or "the same settings with less pressure on the allocator"


def _verdict(prices: ShadowPrices) -> str:
    cap = format_gib(prices.device.memory_bytes)
    if not prices.steps:
        return f"nothing fits {cap}"
    first, last = prices.steps[0], prices.steps[-1]
    if len(prices.steps) == 1:
        return f"from {format_gib(first.cap_bytes)} on {format_seconds(first.seconds)}: more memory up to {cap} buys nothing"
    return (
        f"from {format_gib(first.cap_bytes)} on it fits, in {format_seconds(first.seconds)}; "
        f"{format_seconds(last.seconds)} from {format_gib(last.cap_bytes)} on, and up to {cap} more buys nothing"
    )


def _table(prices: ShadowPrices) -> Section:
    columns = (
        Column(title="from\nGiB", is_number=True),
        Column(title="time", is_number=True),
        Column(title="to next\nGiB", is_number=True),
        Column(title="which\nsaves", is_number=True),
        Column(title="saves\nper GiB", is_number=True),
        Column(title="caution", is_number=True),
        Column(title="what the step buys"),
    )
    rows = []
    for number, step in enumerate(prices.steps):
        saved = prices.seconds_per_gib(number)
        settings = step.candidate.cost.settings
        words = describe_settings(settings)
        if number:
            words = buys(prices.steps[number - 1].candidate.cost.settings, settings)
        rows.append(
            (
                f"{gib(step.cap_bytes):.2f}",
                format_seconds(step.seconds),
                *_to_the_next(prices, number),
                "" if saved is None else format_seconds(saved),
                str(step.candidate.caution),
                words,
            )
        )
    here = prices.at(prices.device.memory_bytes)
    return Section(
        title="The fastest plan under each cap",
        lines=(f"steps whose times differ by less than {100 * EQUALLY_FAST:g} % are one",),
        table=Table(
            columns=columns, rows=tuple(rows), marked=None if here is None else prices.steps.index(here)
        ),
    )


def _to_the_next(prices: ShadowPrices, number: int) -> tuple[str, str]:
    """GiB and seconds from a step to the next."""
    if number + 1 == len(prices.steps):
        return ("", "")
    step, faster = prices.steps[number], prices.steps[number + 1]
    more = gib(faster.cap_bytes - step.cap_bytes)
    return (f"{more:.2f}", format_seconds(step.seconds - faster.seconds))


def _binding(prices: ShadowPrices) -> Section:
    """What a faster plan fails by, step by step: the peak of the next one, which does not fit yet."""
    columns = (
        Column(title="below\nGiB", is_number=True),
        Column(title="peak in", is_short=True),
        Column(title="what binds there"),
    )
    rows = tuple(
        (
            f"{gib(step.cap_bytes):.2f}",
            describe_stage(step.candidate.cost.binds.name),
            describe_binds(step.candidate.cost.binds.binds, width=60),
        )
        for step in prices.steps
    )
    return Section(
        title="What binds below each cap: the peak of the plan that does not fit there any more",
        table=Table(columns=columns, rows=rows),
    )
