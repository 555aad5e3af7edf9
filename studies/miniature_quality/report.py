"""The tables as Markdown and the figures, from rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from analysis import ORDER, HeldOut, Rows, chosen, middle, share
from cases import CURVE, FIT, HELD_OUT, LEAST, LONG, MOST
from plotly.subplots import make_subplots

from workbench.search._words import describe_settings
from workbench.views._style import BLUE, FAINT, GREEN, SKY, styled

MIXED = "nf4, blocks left as they are"
GOAL = 0.85
"""Of both rank correlations, by issue 6."""
_COLUMNS = (
    *("settings", "frames", "steps", "PSNR dB", "SSIM", "MS-SSIM", "temporal error", "variation", "features"),
    *("read as asked", "read as before"),
)
_TITLES = {
    "reference": "Un-optimised runs, each against that of its workload: itself, and another seed's",
    "exact": "Techniques that claim the same output, to rounding",
    "fit": "Single techniques: what the model of quality is made from",
    "curve": f"Longer clips of {LONG} frames in windows, and nf4 with blocks left as they are",
    "held out": "Combinations, which no fit sees",
}


def described(row: Mapping[str, Any]) -> str:
    """A row's settings in words, with what is not as in the others."""
    words = describe_settings(row["settings"])
    if row["line"] is not None:
        return f"{words} ({row['line'][1]}, {row['line'][0]})"
    return f"{words} (another seed)" if row["offset"] else words


def tables(rows: Rows) -> str:
    """A table for each use, then what failed."""
    parts = []
    for use in ORDER:
        found = chosen(rows, use)
        if not found:
            continue
        parts += [
            f"## {_TITLES[use]}\n",
            f"| {' | '.join(_COLUMNS)} |",
            "|---" * len(_COLUMNS) + "|",
            *(_line(row) for row in found),
            "",
        ]
    failed = [row for row in rows if row["status"] != "ok"]
    if failed:
        parts += ["## Failed\n", *(f"- {json.dumps(row['settings'])}: {row['error']}" for row in failed), ""]
    return "\n".join(parts)


def _line(row: Mapping[str, Any]) -> str:
    figures = [
        f"{middle(row, 'psnr_db'):.1f}",
        f"{middle(row, 'ssim'):.4f}",
        f"{middle(row, 'ms_ssim'):.4f}",
        f"{middle(row, 'temporal_error'):.4f}",
        f"{middle(row, 'variation_difference'):+.4f}",
        f"{middle(row, 'feature_distance'):.3f}",
        f"{share(row, 'right'):.0%}",
        f"{share(row, 'same'):.0%}",
    ]
    return f"| {described(row)} | {row['frames']} | {row['steps']} | {' | '.join(figures)} |"


def said(figures: Mapping[str, float], title: str) -> str:
    """A score as text, each correlation beside its goal."""
    lines = [f"{title}: {figures['combinations']} combinations"]
    for name in ("psnr", "ssim"):
        value = figures[f"{name}_rank_correlation"]
        verdict = "reached" if value >= GOAL else "MISSED"
        lines.append(f"  rank correlation of {name.upper():5} {value:.3f}   {verdict}: at least {GOAL:g}")
    off, either_way = figures["psnr_median_error_db"], figures["psnr_median_abs_error_db"]
    lines.append(
        f"  PSNR is foretold {off:+.1f} dB off in the middle, {either_way:.1f} dB either way; "
        f"SSIM {figures['ssim_median_abs_error']:.3f}"
    )
    return "\n".join(lines)


def held_out_figure(found: Sequence[HeldOut], figures: Mapping[str, float]) -> go.Figure:
    """Foretold beside measured, PSNR on the left, SSIM on the right."""
    figure = make_subplots(cols=2, subplot_titles=("PSNR to the un-optimised run, dB", "SSIM"))
    for column, (name, colour) in enumerate((("psnr_db", BLUE), ("ssim", GREEN)), 1):
        told = [getattr(one, f"predicted_{name}") for one in found]
        measured = [getattr(one, name) for one in found]
        ends = [min([*told, *measured]), max([*told, *measured])]
        figure.add_scatter(
            x=ends, y=ends, mode="lines", line={"color": FAINT}, hoverinfo="skip", row=1, col=column
        )
        figure.add_scatter(
            x=told,
            y=measured,
            mode="markers",
            marker={"color": colour, "size": 9},
            text=[describe_settings(one.settings) for one in found],
            hovertemplate="%{text}<br>foretold %{x:.3g}, measured %{y:.3g}<extra></extra>",
            row=1,
            col=column,
        )
        figure.update_xaxes(title_text="foretold from single techniques", row=1, col=column)
        figure.update_yaxes(title_text="measured", row=1, col=column)
    figure.update_layout(showlegend=False)
    subtitle = (
        f"{figures['combinations']} combinations that no fit saw; rank correlation {figures['psnr_rank_correlation']:.2f} and "
        f"{figures['ssim_rank_correlation']:.2f}"
    )
    return styled(figure, title="Combinations, foretold and measured", subtitle=subtitle, height=460)  # fmt: skip


def curves_figure(rows: Rows) -> go.Figure:
    """PSNR and SSIM along steps, cache intervals, thresholds and overlaps."""
    lines = [line for line in _curves(rows) if len(line[2]) > 1]
    panels = list(dict.fromkeys(line[0] for line in lines))
    figure = make_subplots(rows=1, cols=max(len(panels), 1), subplot_titles=panels or None)
    colours = (BLUE, GREEN, SKY, "#E69F00", "#CC79A7")
    for number, (panel, name, points) in enumerate(lines):
        ordered = sorted(points)
        figure.add_scatter(
            x=[x for x, _ in ordered],
            y=[y for _, y in ordered],
            name=f"{panel}: {name}",
            mode="lines+markers",
            line={"color": colours[number % len(colours)]},
            row=1,
            col=panels.index(panel) + 1,
        )
    figure.update_yaxes(title_text="PSNR, dB", row=1, col=1)
    subtitle = "middle of the scenes, against the un-optimised run of the same seed"
    return styled(figure, title="How much a technique's parameter costs", subtitle=subtitle, height=460)


def _curves(rows: Rows) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """(panel, line, points) of every technique with a parameter to go along."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in chosen(rows, (FIT, CURVE)):
        place = _place(row)
        psnr = middle(row, "psnr_db")
        if place is not None and psnr != float("inf"):
            found.setdefault(place[:2], []).append((place[2], psnr))
        if row["settings"] == {"quantization": {"transformer": "nf4"}}:
            for line in (MOST, LEAST):  # where both begin: no block is left as it is
                found.setdefault((MIXED, line), []).append((0, psnr))
    return [(panel, name, points) for (panel, name), points in found.items()]


def _place(row: Mapping[str, Any]) -> tuple[str, str, float] | None:
    """(panel, line, place) of a row; None for one without a parameter to go along."""
    if row["line"] is not None:
        return MIXED, *row["line"]
    (name, parameters), *_ = row["settings"].items()
    if name == "steps":
        return "steps", f"of {row['steps']}", parameters["count"]
    if name == "cache" and "interval" in parameters:
        kind = parameters["kind"] + ("" if parameters.get("lite", True) else " in full")
        return "cache interval", kind, parameters["interval"]
    if name == "cache":
        return "cache threshold", parameters["kind"], parameters["threshold"]
    if name == "temporal_chunks":
        return (
            "chunk overlap",
            f"{parameters['frames']} of {row['frames']} frames",
            parameters.get("overlap", 0),
        )
    return None


def said_of_curves(rows: Rows) -> str:
    """PSNR along every parameter that has several places, and by kind of quantisation of the denoiser."""
    lines = ["PSNR in dB along a parameter, middle of the scenes:"]
    for panel, name, points in _curves(rows):
        if panel != MIXED and len(points) > 1:
            along = ", ".join(f"{place:g}: {psnr:.1f}" for place, psnr in sorted(points))
            lines.append(f"  {panel}, {name}: {along}")
    kinds = {}
    for row in chosen(rows, FIT):
        kind = row["settings"].get("quantization", {}).get("transformer")
        if isinstance(kind, str):
            kinds[kind] = middle(row, "psnr_db")
    by_kind = sorted(kinds.items(), key=lambda item: -item[1])
    lines.append(f"  denoiser in {', '.join(f'{kind}: {psnr:.1f}' for kind, psnr in by_kind)}")
    return "\n".join(lines)


def said_of_mixed(rows: Rows) -> str:
    """What leaving blocks out of nf4 gives, by the scan's order and against it."""
    by_line = {name: dict(points) for panel, name, points in _curves(rows) if panel == MIXED}
    most, least = by_line.get(MOST, {}), by_line.get(LEAST, {})
    lines = [
        "nf4 with blocks left as they are, PSNR in dB: the most sensitive ones / the least sensitive ones"
    ]
    lines += [
        f"  {count}: {most[count]:.1f} / {least[count]:.1f}" for count in sorted(most.keys() & least.keys())
    ]
    return "\n".join(lines)


def held_out_table(found: Sequence[HeldOut]) -> str:
    """Each combination, the mildest first."""
    lines = [
        f"## {_TITLES[HELD_OUT]}: foretold and measured\n",
        "| settings | PSNR dB foretold | measured | SSIM foretold | measured |",
        "|---|---|---|---|---|",
    ]
    for one in sorted(found, key=lambda one: -one.psnr_db):
        psnr = f"{one.predicted_psnr_db:.1f} | {one.psnr_db:.1f}"
        ssim = f"{one.predicted_ssim:.4f} | {one.ssim:.4f}"
        lines.append(f"| {describe_settings(one.settings)} | {psnr} | {ssim} |")
    return "\n".join(lines) + "\n"
