"""How long planning takes: cold, warm, and for twice the frames, each in a fresh process.

    python studies/planning_speed/run.py
    python studies/planning_speed/run.py --models wan2.1-t2v-14b

Goals: a cold plan (empty cache, imports included) under 10 s, a warm one under 1.5 s without importing torch or diffusers, an estimate of
twice the frames under 1.3 times the planning time. Rows are written as they are found.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from workbench import models
from workbench._files import replacing
from workbench.models import ModelSpec

HERE = Path(__file__).parent
COLD_S, WARM_S, TWICE = 10.0, 1.5, 1.3
LIMIT_S = 120

_RUN = "import sys, json\nfrom workbench._cli import main\ncode = main(json.loads(sys.argv[1]))\n"
_SEEN = (
    "print(json.dumps([name for name in ('torch', 'diffusers') if name in sys.modules]), file=sys.stderr)\n"
)


def timed(arguments: list[str], cache: Path) -> tuple[float, list[str]]:
    """Seconds of one command in a fresh process, and which heavy libraries it has imported."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _RUN + _SEEN, json.dumps(arguments)],
        env={**os.environ, "WORKBENCH_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    return time.perf_counter() - started, json.loads(done.stderr.splitlines()[-1])


def twice_the_frames(spec: ModelSpec) -> int:
    """Twice the native frames, in the form that the model makes, or the most it makes."""
    whole = 2 * (spec.defaults.frames - spec.frame_remainder) + spec.frame_remainder
    if spec.max_frames is None:
        return whole
    most = (spec.max_frames - spec.frame_remainder) // spec.temporal_factor * spec.temporal_factor
    return min(whole, most + spec.frame_remainder)


def row(name: str, *, with_frames: bool) -> dict[str, Any]:
    """One model; `with_frames` also estimates its native clip and one of twice the frames."""
    spec = models.get(name)
    plan = ["plan", "--model", name, "--vram-gb", "16", "--json"]
    estimate = ["estimate", "--model", name, "--device", "h100-80gb", "--json"]
    frames = twice_the_frames(spec)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        cold, _ = timed(plan, cache / "plan")
        warm, imported = timed(plan, cache / "plan")
        once = timed(estimate, cache / "once")[0] if with_frames else None
        twice = timed([*estimate, "--frames", str(frames)], cache / "twice")[0] if with_frames else None
    found: dict[str, Any] = {
        "model": name,
        "cold_plan_s": round(cold, 2),
        "warm_plan_s": round(warm, 2),
        "warm_imports": " ".join(imported),
    }
    good = cold < COLD_S and warm < WARM_S and not imported
    if once is None or twice is None:
        return {**found, "holds": good}
    return {
        **found,
        "estimate_s": round(once, 2),
        "twice_frames": frames,
        "estimate_twice_s": round(twice, 2),
        "ratio": round(twice / once, 3),
        "holds": good and twice < TWICE * once,
    }


def first_of_families() -> set[str]:
    """A model of each family: what takes time with more frames is the family's code."""
    seen: dict[str, str] = {}
    for name in models.names():
        seen.setdefault(models.get(name).family, name)
    return set(seen.values())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=[name for name in models.names() if name != "tiny"])
    parser.add_argument(
        "--frames",
        nargs="*",
        default=first_of_families(),
        help="models that are also estimated at twice the frames",
    )
    parser.add_argument("--out", type=Path, default=HERE / "planning_speed.csv")
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    for name in given.models:
        try:
            found.append(row(name, with_frames=name in given.frames))
        except subprocess.CalledProcessError as error:
            found.append({"model": name, "holds": False, "error": error.stderr.strip().splitlines()[-1]})
        except subprocess.TimeoutExpired:
            found.append({"model": name, "holds": False, "error": f"took longer than {LIMIT_S} s"})
        print(found[-1], flush=True)
        columns = list(dict.fromkeys(key for entry in found for key in entry))
        with replacing(given.out) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(found)
    failed = [entry["model"] for entry in found if not entry["holds"]]
    print(f"{len(found)} models; the goals do not hold for: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
