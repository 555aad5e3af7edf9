"""Runs cases and keeps what came out: a JSON file per case, written when it is done. A kill loses the case at hand."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cases import ROW, Case, Scene, Sizes, scenes
from stand_in import rounded, split

from workbench._errors import InputError
from workbench._files import replacing
from workbench._store import versions
from workbench.measurement import sensitivity
from workbench.measurement._provenance import commit
from workbench.measurement._video import to_uint8
from workbench.measurement.quality import compare
from workbench.miniature import load_classifier, load_miniature
from workbench.miniature._classifier import LABELS, as_input
from workbench.quality import Sensitivity
from workbench.techniques import Settings, apply_all

Clips = npt.NDArray[np.uint8]


class Bench:
    """The miniature, its classifier, the scenes, and the folder where results are kept."""

    def __init__(self, weights: Path, folder: Path, sizes: Sizes, *, with_vmaf: bool = False) -> None:
        self.folder, self.sizes, self.with_vmaf = folder, sizes, with_vmaf
        self.scenes = scenes(sizes)
        self.weights = weights
        folder.mkdir(parents=True, exist_ok=True)
        _same(folder / "suite.json", {"weights": _digest(weights), **asdict(sizes)})
        self.pipe: Any = load_miniature(weights)
        self.pipe.set_progress_bar_config(disable=True)
        self.classifier = load_classifier(weights)

    def row(self, case: Case) -> dict[str, Any]:
        """What a case gave: read from the disk, or run now. One that fails has the status `failed` and its error."""
        path = self.folder / f"{case.id}.json"
        if path.is_file():
            known: dict[str, Any] = json.loads(path.read_text())
            return known | {"use": case.use, "line": case.line}
        row = {
            "id": case.id,
            "use": case.use,
            "settings": Settings.parse(dict(case.settings)).to_json(),
            "steps": case.steps,
            "frames": case.frames,
            "offset": case.offset,
            "line": case.line,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "versions": versions(),
            "threads": torch.get_num_threads(),
        }
        started = time.perf_counter()
        try:
            clips, report = self.clips(case)
            row |= {"status": "ok", "error": "", "report": report, "seconds": time.perf_counter() - started}
            row["scenes"] = self._measured(clips, self.reference(case))
        except (RuntimeError, ValueError, TypeError) as error:
            row |= {"status": "failed", "error": f"{type(error).__name__}: {error}", "scenes": []}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(row, indent=1) + "\n")
        return row

    def scan(self, say: Callable[[str], None]) -> Sensitivity:
        """Which blocks mind nf4, by the prediction on inputs of another prompt than the scenes'; kept in the folder."""
        return sensitivity(
            self.pipe,
            kinds=("int8wo", "nf4"),
            clips=0,
            steps=self.sizes.steps,
            path=self.folder / "sensitivity.nc",
            say=say,
        )

    def reference(self, case: Case) -> Clips:
        """Clips of the un-optimised run of a case's workload, kept on the disk."""
        plain = case.reference
        path = self.folder / f"reference-{plain.id}.npy"
        if not path.is_file():
            clips, _ = self.clips(plain)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, clips)
        loaded: Clips = np.load(path)
        return loaded

    def clips(self, case: Case) -> tuple[Clips, list[str]]:
        """[scenes, frames, height, width, 3] of bytes, and what applying the settings reported."""
        runnable, by_hand = split(case.settings)
        settings = Settings.parse(runnable)
        settings.check(ROW)
        with ExitStack() as stack:
            counts = [stack.enter_context(rounded(getattr(self.pipe, name))) for name in by_hand]
            said = [
                f"{name}: {count} layers rounded as int4wo does"
                for name, count in zip(by_hand, counts, strict=True)
            ]
            clips, report = self._made(case, settings)
        return clips, said + report

    def _made(self, case: Case, settings: Settings) -> tuple[Clips, list[str]]:
        batches: Sequence[Sequence[Scene]] = (
            [self.scenes] if case.together else [[one] for one in self.scenes]
        )
        made, report = [], []
        for batch in batches:
            handle = apply_all(self.pipe, settings)
            try:
                video = self.pipe(
                    [scene.prompt for scene in batch],
                    generator=[torch.Generator().manual_seed(scene.seed + case.offset) for scene in batch],
                    num_frames=case.frames,
                    height=ROW.defaults.height,
                    width=ROW.defaults.width,
                    guidance_scale=ROW.defaults.guidance,
                    output_type="pt",
                    **ROW.call,
                    **settings.call_kwargs({"num_inference_steps": case.steps}),
                ).frames
                report = handle.report
            finally:
                handle.remove()
            made += [to_uint8(clip) for clip in video]
        return np.stack(made), report

    def _measured(self, clips: Clips, reference: Clips) -> list[dict[str, Any]]:
        """A line per scene: distances from the reference, and what the classifier reads."""
        read, before = self.classifier.read(clips), self.classifier.read(reference)
        far = self._feature_distance(clips, reference)
        rows = []
        for number, scene in enumerate(self.scenes):
            quality = compare(
                clips[number], reference[number], fps=ROW.defaults.fps, with_vmaf=self.with_vmaf
            )
            rows.append(
                {
                    "scene": scene.name,
                    "kind": scene.kind,
                    "prompt": scene.prompt,
                    "seed": scene.seed,
                    **quality.to_json(),
                    "feature_distance": far[number],
                    **{f"right_{name}": read[number][name] == scene.labels[name] for name in LABELS},
                    **{f"same_{name}": read[number][name] == before[number][name] for name in LABELS},
                }
            )
        return rows

    @torch.no_grad()
    def _feature_distance(self, clips: Clips, reference: Clips) -> list[float]:
        """How far apart the classifier sees two clips, as a share of the length of the reference's features."""
        one, other = (self.classifier.features(as_input(each)) for each in (clips, reference))
        return ((one - other).norm(dim=1) / other.norm(dim=1)).tolist()


def run_all(bench: Bench, cases: Sequence[Case], say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Rows of all cases in order; says how far it is."""
    rows = []
    for number, case in enumerate(cases, 1):
        row = bench.row(case)
        rows.append(row)
        took = f"{row['seconds']:.1f} s" if row["status"] == "ok" else row["error"]
        say(f"{number}/{len(cases)} {case.use}: {json.dumps(row['settings'])} {took}")
    return rows


def _digest(weights: Path) -> str:
    """Twelve hex digits over the weights."""
    found = hashlib.sha256()
    for path in sorted(weights.rglob("*.safetensors")):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def _same(path: Path, suite: Mapping[str, Any]) -> None:
    """Makes sure that a folder's rows are of one suite.

    Raises:
        InputError: the folder has rows of other weights or sizes.
    """
    wanted = json.loads(json.dumps(suite))
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1) + "\n")
        return
    found = json.loads(path.read_text())
    for name, value in wanted.items():
        if found.get(name) != value:
            raise InputError(
                f"{str(path.parent)!r} has rows of another suite: its {name} is {found.get(name)!r}, not {value!r}; give another --out"
            )
