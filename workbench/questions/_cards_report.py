"""What a comparison of cards has to say, in the sections of a report. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench._units import format_seconds, gib
from workbench.search._report import Column, Report, Section, Table, pins_lines
from workbench.search._words import describe_settings, describe_workload

if TYPE_CHECKING:
    from workbench.questions._asked import Asked
    from workbench.questions._cards import CardRow, Cards


def cards_report(cards: Cards) -> Report:
    """The smallest, the fastest and the cheapest card, and the table of all."""
    smallest = cards.smallest
    return Report(
        title="Cards",
        lines=(describe_workload(cards.asked.workload), *limit_lines(cards.asked)),
        verdict=_verdict(cards),
        is_good=smallest is not None,
        sections=(
            Section(title="Answers", lines=answers(cards)),
            _table(cards),
            Section(
                title="Notes",
                lines=(
                    "times are of the call itself, without loading; rent is paid for that time only",
                    *_rents(cards),
                ),
            ),
        ),
    )


def limit_lines(asked: Asked) -> tuple[str, ...]:
    """The limits that were asked for, in one line."""
    words = list(pins_lines(asked.pins))
    if asked.limits.max_seconds is not None:
        words.append(f"at most {format_seconds(asked.limits.max_seconds)}")
    if asked.limits.min_quality is not None:
        words.append(f"known losses at most {100 - asked.limits.min_quality:g} %")
    return (" · ".join(words),) if words else ()


def format_usd(usd: float) -> str:
    """Dollars with as many decimals as say something: `"$1.20"`, `"$0.034"`."""
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.2g}"


def answers(cards: Cards) -> tuple[str, ...]:
    """The smallest, the fastest and the cheapest, a sentence each."""
    smallest, fastest, cheapest = cards.smallest, cards.fastest, cards.cheapest
    if smallest is None or fastest is None:
        return ("no card does it",)
    lines = [f"smallest that is enough: {_words(smallest)}", f"fastest: {_words(fastest)}"]
    if cheapest is None:
        lines.append("cheapest to rent: unknown, no rent is known of any of them")
    else:
        lines.append(
            f"cheapest to rent: {_words(cheapest)}, {format_usd(cheapest.usd_per_clip or 0)} per clip"
        )
    return tuple(lines)


def _words(row: CardRow) -> str:
    return f"{row.device.title} ({row.device.name}, {gib(row.device.memory_bytes):g} GiB), {format_seconds(row.seconds or 0)}"


def _verdict(cards: Cards) -> str:
    smallest = cards.smallest
    if smallest is None:
        return "none of these cards does it"
    return f"{smallest.device.title} is enough: {format_seconds(smallest.seconds or 0)} per clip"


def _table(cards: Cards) -> Section:
    columns = (
        Column(title="card", is_short=True),
        Column(title="memory\nGiB", is_number=True),
        Column(title="needs\nGiB", is_number=True),
        Column(title="time", is_number=True),
        Column(title="per clip", is_number=True),
        Column(title="caution", is_number=True),
        Column(title="settings"),
    )
    smallest = cards.smallest
    return Section(
        title="Every card with its best plan, smallest first",
        table=Table(
            columns=columns,
            rows=tuple(_row(row) for row in cards.rows),
            marked=None if smallest is None else cards.rows.index(smallest),
        ),
    )


def _row(row: CardRow) -> tuple[str, ...]:
    memory = f"{gib(row.device.memory_bytes):g}"
    best, miss = row.found.best, row.found.miss
    if best is None:
        is_memory = miss is not None and row.found.binds == "memory"
        needs = f"{gib(miss.cost.required_vram_bytes):.2f}" if miss is not None and is_memory else ""
        return (row.device.name, memory, needs, "-", "-", "", f"no: {row.found.binds} binds")
    usd = row.usd_per_clip
    return (
        row.device.name,
        memory,
        f"{gib(best.cost.required_vram_bytes):.2f}",
        format_seconds(best.cost.total_s),
        "?" if usd is None else format_usd(usd),
        str(best.caution),
        describe_settings(best.cost.settings),
    )


def _rents(cards: Cards) -> tuple[str, ...]:
    unknown = sum(1 for row in cards.rows if row.rent_usd_per_hour is None)
    cheapest = cards.cheapest
    if cheapest is not None:
        source = cheapest.device.sources.get("rent_usd_per_hour", "no source is known")
        rent = f"rent of {cheapest.device.name}: ${cheapest.rent_usd_per_hour:g} an hour ({source})"
    else:
        rent = ""
    if not unknown:
        return (rent,) if rent else ()
    some = "every card" if unknown == len(cards.rows) else f"{unknown} of the {len(cards.rows)} cards"
    return (*((rent,) if rent else ()), f"?: the rent of {some} is unknown")
