"""`published_memory.md`: the scores, every scored row, and the reason of every row that is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from published import Published
from score import Predicted, fit_statements, summary

from workbench._files import replacing
from workbench._store import versions
from workbench.cost.margin import known

Line = Mapping[str, Any]


def write_report(lines: Sequence[Line], not_copied: Sequence[Mapping[str, str]], path: Path) -> str:
    """Writes the report and returns its summary."""
    scored = [line for line in lines if line.get("error") is not None]
    head = [*_scores(scored), *_statements(lines)]
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    text = [
        "# Published memory, predicted",
        "",
        f"Made by `python studies/published_memory/run.py` on {date.today().isoformat()} with {used}. How rows are read, what is compared",
        "with what, and what the misses are: [README](README.md). The data: `predicted.csv`.",
        "",
        "![error of every scored row](published_memory.svg)",
        "",
        *head,
        *_misses(scored),
        *_rows(scored),
        *_left_out(lines, not_copied),
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(text) + "\n", encoding="utf-8")
    return "\n".join(head)


def _percent(value: float | None, signed: bool = False) -> str:
    return "" if value is None else f"{value:+.1%}" if signed else f"{value:.1%}"


def _scores(scored: Sequence[Line]) -> list[str]:
    """The tables of errors, by what was measured and by family."""
    by: list[tuple[str, Callable[[Line], str]]] = [
        ("what was measured", lambda line: f"{line['metric']}, {_match(line)}"),
        ("family", lambda line: f"{line['family']}, {_match(line)}"),
    ]
    out: list[str] = []
    for title, key in by:
        groups: dict[str, list[Line]] = defaultdict(list)
        for line in scored:
            groups[key(line)].append(line)
        out += [f"| {title} | rows | median error | within 4 % | worst |", "|---|--:|--:|--:|--:|"]
        for name, members in sorted(groups.items()):
            found = summary(float(line["error"]) for line in members)
            cells = (found["rows"], *(_percent(found[part]) for part in ("median", "within", "worst")))
            out.append(f"| {name} | {' | '.join(map(str, cells))} |")
        out.append("")
    weights = [line for line in scored if line["published_weights"]]
    if weights:
        off = summary(
            (line["weights"] - line["published_weights"]) / line["published_weights"] for line in weights
        )
        out += [
            f"Weights on the card before the run, {off['rows']} rows: median error {_percent(off['median'])}, "
            f"worst {_percent(off['worst'])}.",
            "",
        ]
    old = [line for line in scored if line["commit"]]
    if old:
        off = summary(float(line["error_installed"]) for line in old)
        out += [
            f"{len(old)} rows were measured with a diffusers whose CogVideoX VAE needs less memory, and are scored with that VAE; with the",
            f"installed one, which is what a plan is for, the median error would be {_percent(off['median'])}.",
            "",
        ]
    return out


def _match(line: Line) -> str:
    """Whether the row was made by the code and the configuration that is priced."""
    if line["code_base"] != "diffusers":
        return "other code base"
    return "matched" if line["matched"] else "known to differ"


def _statements(lines: Sequence[Line]) -> list[str]:
    """Cards that the figures fit, and whether what a plan asks for is ever less than what was needed."""
    scored = [line for line in lines if line.get("error") is not None]
    out = ["| what | matched | known to differ | other code base |", "|---|--:|--:|--:|"]
    groups = [[line for line in scored if _match(line) == name] for name in _MATCHES]
    for name, metrics in (
        ("allocated or reserved", ("allocated", "reserved")),
        ("unstated, taken as device-level", ("unstated", "device")),
    ):
        agreed = [
            [said for line in group if line["metric"] in metrics for said in _agreed(line)]
            for group in groups
        ]
        cells = [_share(sum(said), len(said)) for said in agreed]
        out.append(
            f"| agree whether it fits, for every size of card from half to twice the figure, {name} | {' | '.join(cells)} |"
        )
    for metric in ("allocated", "reserved"):
        cells = []
        for group in groups:
            rated = [line for line in group if line["metric"] == metric and line["low"] is not None]
            held = sum(line[metric] * (1 + line["margin"]) >= line["low"] for line in rated)
            cells.append(_share(held, len(rated)))
        out.append(
            f"| {metric} as predicted, with the margin alone, at least the published figure | {' | '.join(cells)} |"
        )
    for name, metrics in (
        ("allocated", ("allocated",)),
        ("reserved", ("reserved",)),
        ("unstated", ("unstated", "device")),
    ):
        cells = []
        for group in groups:
            rated = [line for line in group if line["metric"] in metrics and line["low"] is not None]
            cells.append(_share(sum(line["required"] >= line["low"] for line in rated), len(rated)))
        out.append(f"| required VRAM at least the published figure, {name} | {' | '.join(cells)} |")
    out += [
        "",
        "Required VRAM is what is reserved, the context, what the desktop holds, and the margin; for each row the margin that the others",
        f"give. All of them: {known().margin('denoiser').basis}.",
        "",
    ]
    for line in lines:
        if line.get("metric") == "ran out of memory":
            verdict = "rightly" if line["required"] > line["card_gb"] else "wrongly"
            out += [
                f"{line['id']} ran out of memory on a {line['card']}; a plan asks for {line['required']} GiB, {verdict}.",
                "",
            ]
    return out


_MATCHES = ("matched", "known to differ", "other code base")


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else ""


def _agreed(line: Line) -> list[bool]:
    figure = Published(metric=line["metric"], low=line["low"], high=line["high"])
    return [theirs == ours for _, theirs, ours in fit_statements(figure, _predicted(line))]


def _predicted(line: Line) -> Predicted:
    return Predicted(**{name: line[name] for name in Predicted.__dataclass_fields__})


_HEAD = "| id | model | settings | metric | published | allocated | reserved | error | {} |"


def _row(line: Line, last: str) -> str:
    settings = line["settings"].replace('"', "").replace("{}", "defaults")
    cells = (
        line["id"],
        line["model"],
        f"`{settings}`",
        line["metric"],
        line["published"],
        line["allocated"],
        line["reserved"],
    )
    return f"| {' | '.join(map(str, cells))} | {_percent(line['error'], signed=True)} | {last} |"


def _misses(scored: Sequence[Line]) -> list[str]:
    """The rows beyond 4 %, worst first."""
    wrong = sorted(
        (line for line in scored if abs(line["error"]) > 0.04), key=lambda line: -abs(line["error"])
    )
    head = [
        "## Beyond 4 %",
        "",
        _HEAD.format("what is known to differ; where the peak is"),
        "|---|---|---|---|--:|--:|--:|--:|---|",
    ]
    return [
        *head,
        *(
            _row(line, "; ".join(filter(None, (line["differs"], line["remarks"], line["binds"]))))
            for line in wrong
        ),
        "",
    ]


def _rows(scored: Sequence[Line]) -> list[str]:
    head = ["## Every scored row", "", _HEAD.format("source"), "|---|---|---|---|--:|--:|--:|--:|---|"]
    return [*head, *(_row(line, line["src"].removeprefix("https://")) for line in scored), ""]


def _left_out(lines: Sequence[Line], not_copied: Sequence[Mapping[str, str]]) -> list[str]:
    """Every other row of the collection, by reason."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for line in (*lines, *not_copied):
        if line.get("reason"):
            reasons[str(line["reason"])].append(str(line["id"]))
    out = ["## Left out", "", "| reason | rows | ids |", "|---|--:|---|"]
    for reason, ids in sorted(reasons.items(), key=lambda item: -len(item[1])):
        out.append(f"| {reason} | {len(ids)} | {' '.join(ids)} |")
    return out
