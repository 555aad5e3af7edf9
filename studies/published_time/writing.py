"""`published_time.md`: the scores, every scored row, and the reason of every row that is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from scoring import FITTED, ratios, summary

from workbench._files import replacing
from workbench._store import versions

Line = Mapping[str, Any]


def write_report(lines: Sequence[Line], not_copied: Sequence[Mapping[str, str]], path: Path) -> str:
    """Writes the report and returns its summary."""
    rated = [line for line in lines if "error" in line]
    head = [*_scores(rated), *_ratio_scores(rated)]
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    text = [
        "# Published time, predicted",
        "",
        f"Made by `python studies/published_time/run.py` on {date.today().isoformat()} with {used}. How rows are read and what the misses",
        "are: [README](README.md). The data: `predicted.csv`.",
        "",
        f"The split is fixed: rows of {FITTED[0]} with {FITTED[2]} on an {FITTED[1]} may be fitted, all others are held out, but "
        "not blind: see the README.",
        "",
        "![error of every scored row](published_time.svg)",
        "",
        *head,
        *_rows(rated),
        *_left_out(lines, not_copied),
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(text) + "\n", encoding="utf-8")
    return "\n".join(head)


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _scores(rated: Sequence[Line]) -> list[str]:
    by: list[tuple[str, Callable[[Line], str]]] = [
        ("rows", lambda line: f"{line['split']}, {_kind(line)}"),
        ("card", lambda line: str(line["card"])),
        ("family", lambda line: str(line["family"])),
        ("technique", _technique),
        ("code", lambda line: str(line["code_base"])),
    ]
    out: list[str] = []
    for title, key in by:
        groups: dict[str, list[Line]] = defaultdict(list)
        for line in rated:
            groups[key(line)].append(line)
        out += [f"| {title} | rows | median error | within 20 % | worst |", "|---|--:|--:|--:|--:|"]
        for name, members in sorted(groups.items()):
            found = summary(line["error"] for line in members)
            cells = (found["rows"], *(_percent(found[part]) for part in ("median", "within", "worst")))
            out.append(f"| {name} | {' | '.join(map(str, cells))} |")
        out.append("")
    covered = [line["low_s"] <= line["published_s"] <= line["high_s"] for line in rated]
    out += [
        f"{sum(covered)} of {len(covered)} published times lie between the low and the high that a plan gives.",
        "",
    ]
    return out


def _kind(line: Line) -> str:
    return "compiled" if line["compiled"] else "eager"


def _technique(line: Line) -> str:
    words = [name for name in ("quantization", "cache", "offload") if f'"{name}"' in line["settings"]]
    return " + ".join([*words, *(["compiled"] if line["compiled"] else [])]) or "none"


def _ratio_scores(rated: Sequence[Line]) -> list[str]:
    groups: dict[str, list[float]] = defaultdict(list)
    for pair in ratios(rated):
        groups[pair["about"]].append(pair["error"])
    out = [
        "Ratios of two rows of one source on one card that differ in one thing:",
        "",
        "| what differs | pairs | median error | within 20 % | worst |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, errors in sorted(groups.items()):
        found = summary(errors)
        cells = (found["rows"], *(_percent(found[part]) for part in ("median", "within", "worst")))
        out.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return [*out, ""]


def _rows(rated: Sequence[Line]) -> list[str]:
    out = [
        "## Every scored row",
        "",
        "| id | model | card | settings | published s | predicted s | error | what is known to differ |",
        "|---|---|---|---|--:|--:|--:|---|",
    ]
    for line in sorted(rated, key=lambda line: -abs(line["error"])):
        settings = line["settings"].replace('"', "") if line["settings"] != "{}" else ""
        words = [
            *([f"code of {line['code_base']}"] if line["code_base"] != "diffusers" else []),
            *(["compiled"] if line["compiled"] else []),
            *([line["differs"]] if line["differs"] else []),
        ]
        out.append(
            f"| {line['id']} | {line['model']} | {line['card']} | {f'`{settings}`' if settings else ''} | {line['published_s']:.1f} "
            f"| {line['predicted_s']:.1f} | {line['error']:+.1%} | {'; '.join(words)} |"
        )
    return [*out, ""]


def _left_out(lines: Sequence[Line], not_copied: Sequence[Mapping[str, str]]) -> list[str]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for line in (*lines, *not_copied):
        if line.get("reason"):
            reasons[str(line["reason"])].append(str(line["id"]))
    out = ["## Left out", "", "| reason | rows | ids |", "|---|--:|---|"]
    for reason, ids in sorted(reasons.items(), key=lambda item: -len(item[1])):
        out.append(f"| {reason} | {len(ids)} | {' '.join(ids)} |")
    return out
