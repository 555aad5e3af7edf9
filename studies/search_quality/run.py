"""The study's front after 400 trials beside the exact one, random search, and what people do today.

    python studies/search_quality/run.py                                  # eight models, five caps, three seeds; what is not there yet
    python studies/search_quality/run.py --models wan2.1-t2v-1.3b --caps 12 --again

The exact front is composed from outlines of every point of the discretised space (`search/_outlines.py`), tiles and steps multiplied out:
the search's own shortcuts (`search/_composing.py`) have no part in it. All use the same prices, so this says how well the space is
searched, not how well it is predicted. Rows are kept in `rows/`, one file for a model and a cap, moved into place, so that a run that was
stopped goes on; `search_quality.csv`, `.md` and `.svg` are made of all rows that are there.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from drawing import write_figure
from recipes import recipes
from scoring import Front, fastest, ratio, worst_gap
from writing import write_csv, write_table

from workbench._errors import SettingsError
from workbench._estimate import Predictor
from workbench._files import replacing
from workbench._plan import pricing
from workbench._store import versions
from workbench.devices import Device, resolve
from workbench.models import Workload
from workbench.search._composing import Composition
from workbench.search._outlines import Outlines
from workbench.search._rescue import composed_for
from workbench.search._study import Evaluated, run, seeds
from workbench.search.caution import caution
from workbench.search.pins import Pins
from workbench.search.space import Space
from workbench.techniques import Settings

HERE = Path(__file__).parent
ROWS = HERE / "rows"
MODELS = (
    "wan2.1-t2v-1.3b",
    "wan2.1-t2v-14b",
    "cogvideox-5b",
    "hunyuanvideo",
    "ltx-video",
    "mochi-1-preview",
    "wan2.2-ti2v-5b",
    "stable-video-diffusion-img2vid-xt",
)
CAPS_GIB = (8, 12, 16, 24, 48)
SEEDS = (0, 1, 2)
TRIALS = 400


def oracle(space: Space, outlines: Outlines) -> tuple[Front, int]:
    """The exact front of a space, and how many of its points there are: every point, none left out as needless."""
    best: dict[int, float] = {}
    number = 0
    everything = {name: choices for name, choices in space.lean.items()}
    for point in space.points(everything):
        number += 1
        try:
            settings = space.settings_of(point)
            outline = outlines.of(settings)
        except SettingsError:
            continue
        if outline.missing_bytes(outlines.device):
            continue
        careful = _caution(settings, space)
        if outline.total_s < best.get(careful, float("inf")):
            best[careful] = outline.total_s
    return [(best[c], c) for c in sorted(best) if best[c] <= min(best[k] for k in best if k <= c)], number


_CAUTIONS: dict[Any, int] = {}


def _caution(settings: Settings, space: Space) -> int:
    found = 0
    for technique in settings.techniques:
        key = (id(technique), space.workload.steps)
        if key not in _CAUTIONS:
            _KEPT.append(technique)
            _CAUTIONS[key] = caution({technique.id: technique.to_json()}, space.workload.steps)
        found += _CAUTIONS[key]
    return found


_KEPT: list[Any] = []


def searched(
    composition: Composition, predictor: Predictor, device: Device, seed: int, *, seeded: bool
) -> Front:
    """The front after so many trials; without seeds the sampler starts blind."""
    evaluated = Evaluated(composition, pricing(predictor, device, Pins.NONE))
    first = seeds(composition) if seeded else []
    run(evaluated, device, trials=TRIALS - len(first), seed=seed, storage=None, first=first)
    return [(c.cost.total_s, c.caution) for c in evaluated.all if c.cost.fits]


def at_random(composition: Composition, seed: int) -> Front:
    """What fits of so many points, each drawn dimension by dimension."""
    generator, space = random.Random(seed), composition.space
    found = []
    for _ in range(TRIALS):
        drawn = {name: generator.choice(choices) for name, choices in space.dimensions.items()}
        composed = composition.at(space.completed(drawn))
        if composed is not None and composed.fits:
            found.append((composed.outline.total_s, composed.caution))
    return found


def row(model: str, cap: float) -> dict[str, Any]:
    """Everything about one model on the typical card of one size."""
    predictor = Predictor(Workload.for_model(model))
    device = resolve(None, vram_gb=cap)
    outlines = Outlines(predictor, device)
    composition = composed_for(predictor, device, Pins.NONE)
    space = Space.of(predictor.spec, predictor.workload, device, blocks=predictor.num_blocks())
    exact, number = oracle(space, outlines)
    today = []
    for recipe in recipes(predictor.spec):
        said = {"group": recipe.group, "name": recipe.name}
        try:
            cost = predictor.cost(Settings.parse(recipe.settings), device)
        except SettingsError as error:
            today.append({**said, "refused": str(error)})
            continue
        careful = caution(cost.settings, predictor.workload.steps)
        today.append(
            {**said, "seconds": cost.total_s, "fits": cost.fits, "caution": careful, "plan_s": None}
            | ({"plan_s": fastest(exact, careful)} if cost.fits else {})
        )
    scored = []
    for seed in SEEDS:
        fronts = {
            "study": searched(composition, predictor, device, seed, seeded=True),
            "blind": searched(
                Composition(space, Outlines(predictor, device)), predictor, device, seed, seeded=False
            ),
            "random": at_random(Composition(space, Outlines(predictor, device)), seed),
        }
        scored.append(
            {"seed": seed}
            | {f"{name}_hypervolume": ratio(front, exact) for name, front in fronts.items()}
            | {f"{name}_gap": worst_gap(front, exact) for name, front in fronts.items()}
        )
    return {
        "model": model,
        "cap_gib": cap,
        "device": device.name,
        "points": number,
        "trials": TRIALS,
        "oracle": exact,
        "seeds": scored,
        "recipes": today,
        "versions": versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--caps", nargs="+", type=float, default=CAPS_GIB)
    parser.add_argument("--again", action="store_true", help="also what is there already")
    asked = parser.parse_args()
    ROWS.mkdir(exist_ok=True)
    for model in asked.models:
        for cap in asked.caps:
            path = ROWS / f"{model}-{cap:g}.json"
            if path.exists() and not asked.again:
                continue
            print(f"{model}, {cap:g} GiB", flush=True)
            found = row(model, cap)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_all()


def write_all() -> None:
    """Tables and figure of all rows that are there."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(ROWS.glob("*.json"))]
    found.sort(key=lambda item: (item["model"], item["cap_gib"]))
    write_csv(found, HERE / "search_quality.csv")
    write_table(found, HERE / "search_quality.md")
    write_figure(found, HERE / "search_quality.svg")


if __name__ == "__main__":
    main()
