"""`measure`: a baseline and candidates, each in a fresh process, with what was predicted beside what was measured.

Starts processes; touches the disk, the clock and, for a pipeline in memory, the GPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError
from workbench._units import format_seconds
from workbench.cost import versions
from workbench.measurement._choices import BASELINE, Choice, Choices, Given
from workbench.measurement._clips import read
from workbench.measurement._foresee import Foreseen, foresee
from workbench.measurement._measurements import Measurements
from workbench.measurement._session import Session, digest_of, number, text
from workbench.measurement._sources import AbstractSource, source_of
from workbench.measurement._video import write_mp4
from workbench.measurement._watch import AbstractWatch, NoWatch
from workbench.measurement.fresh import FreshJob, FreshResult
from workbench.models import Workload
from workbench.records import with_quality

if TYPE_CHECKING:
    import xarray
    from diffusers import DiffusionPipeline

AGAIN: Final = ("nothing", "failed", "all")


def measure(
    model: str | Path | DiffusionPipeline | None = None,
    candidates: Given | Sequence[Given] | Mapping[str, Any] = None,
    *,
    baseline: Given = None,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    seed: int = 0,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    repeats: int = 3,
    warmup: int = 1,
    limit_s: float | None = None,
    vram_gb: float | None = None,
    count_tensors: bool = True,
    with_vmaf: bool = True,
    out: str | Path | None = None,
    again: str = "nothing",
    watch: AbstractWatch | None = None,
) -> Measurements:
    """Measures configurations of one model: time, memory and quality, with the same prompt and seed, beside what is predicted of them.

    Each runs in a process of its own: warm-up calls, then the measured ones. A process that fails, is killed, runs out of memory or
    takes too long is a row with its status, and the next configuration is measured all the same. Each run is written to the record as
    soon as it is over; the same call with the same `out` measures only what is missing there.

    Args:
        model: `"miniature"`, `"tiny"`, a folder that `save_pretrained` wrote, or a pipeline in memory. A pipeline is loaded anew from
            where it came from, if what is there is what is in memory; otherwise it is measured in this process, and the record says so.
            None means what the first profile or plan is for, if it ships with the package, else the miniature, else tiny.
        candidates: settings, a profile, a plan (its best), one of a plan's candidates, a cost, the path of a file with settings or a
            profile; a sequence of these; or a mapping of names to them.
        baseline: what they are compared with, in the same forms; None means the pipeline as it is.
        prompt: None means one that the model knows.
        negative_prompt: None means the one that predictions are made with.
        seed: of the initial noise, in all runs.
        frames: with `height`, `width`, `steps` and `guidance`: None means what the first profile or plan for this model was made for,
            else the model's native value. A configuration's own `steps` act on top.
        repeats: measured calls per configuration; median, lowest and highest are reported.
        warmup: calls before them.
        limit_s: seconds that loading and each call may take.
        vram_gb: GiB that PyTorch may reserve on the GPU, CUDA context not included: a smaller card, as far as memory goes.
        count_tensors: on the CPU, one more call per configuration to count the bytes in live tensors.
        with_vmaf: False spares the process that VMAF needs.
        out: the record's file, ending in `.nc`; clips and logs go beside it, to a folder of the same name with `-runs`. None means a new
            folder below the machine's temporary one; the result says where.
        again: what of the record is measured again: `"nothing"`, `"failed"` or `"all"`.
        watch: is shown stage, step, memory and time left as it goes.

    Raises:
        InputError: something of this is wrong in itself; nothing was run. Settings that the model refuses are a row.
    """
    if again not in AGAIN:
        raise InputError(f"again must be one of {', '.join(AGAIN)}, got {again!r}")
    choices = Choices(candidates, baseline)
    source = source_of(model, choices.planned_model)
    given = {"frames": frames, "height": height, "width": width, "steps": steps, "guidance": guidance}
    workload = choices.workload(
        source.spec, {name: value for name, value in given.items() if value is not None}
    )
    first, others = choices.of(source.spec)
    path = Path(tempfile.mkdtemp(prefix="workbench-")) / "measure.nc" if out is None else Path(out)
    common = FreshJob(
        model=source.name,
        workload=workload.to_json(),
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        warmup=warmup,
        repeats=repeats,
        limit_s=limit_s,
        vram_gb=vram_gb,
        count_tensors=count_tensors,
        dtypes=source.dtypes,
    )
    measuring = _Measuring(
        source=source,
        workload=workload,
        common=common,
        session=Session(path),
        watch=NoWatch() if watch is None else watch,
        with_vmaf=with_vmaf,
    )
    try:
        return measuring.all((first, *others), again)
    finally:
        measuring.watch.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measuring:
    """One call of `measure`."""

    source: AbstractSource
    workload: Workload
    common: FreshJob
    """All but the settings."""
    session: Session
    watch: AbstractWatch
    with_vmaf: bool

    def all(self, choices: Sequence[Choice], again: str) -> Measurements:
        """Measures what is missing, the baseline first."""
        digests = {choice.name: self._digest(choice) for choice in choices}
        missing = {name: self._missing(digest, again) for name, digest in digests.items()}
        due = [choice for choice in choices if missing[choice.name]]
        predictions = self._foreseen(due)
        for choice in choices:
            if choice.name in predictions:
                found = predictions[choice.name]
                job = self._job(choice, missing[choice.name], found.cost, (*choice.notes, *found.said))
                self._run(choice, job, digests[choice.name])
            else:
                self.watch.said(f"{choice.name}: is in {self.session.out} already")
            self._compare(choice, digests)
        rows = {choice.name: self.session.rows_of(digests[choice.name]) for choice in choices}
        return Measurements.of(rows, self.session)

    def _foreseen(self, due: Sequence[Choice]) -> dict[str, Foreseen]:
        """What is predicted of those that are to be measured, by name."""
        if not due:
            return {}
        self.watch.said(f"predicting {len(due)} configuration{'s' if len(due) > 1 else ''}")
        found = foresee(
            self.source.spec,
            self.workload,
            [choice.settings for choice in due],
            is_live=self.source.is_live,
        )
        return {choice.name: one for choice, one in zip(due, found, strict=True)}

    def _digest(self, choice: Choice) -> str:
        common = self.common
        return digest_of(
            {
                "configuration": choice.name,
                "settings": dict(choice.settings),
                "weights": self.source.fingerprint,
                "process": "caller" if self.source.is_live else "fresh",
                "versions": versions(),
                **{name: getattr(common, name) for name in _DECIDING},
            }
        )

    def _missing(self, digest: str, again: str) -> int:
        """How many runs are missing; what is to be measured again is taken out of the record."""
        rows = self.session.rows_of(digest)
        bad = [row for row in rows if text(row, "status") != "ok"]
        if again == "all":
            self.session.drop(rows)
            return self.common.repeats
        stale = bad if again == "failed" else [row for row in bad if self._has_more_time_now(row)]
        self.session.drop(stale)
        if len(bad) > len(stale):
            return 0  # it failed, and would again
        return max(0, self.common.repeats - (len(rows) - len(bad)))

    def _has_more_time_now(self, row: xarray.Dataset) -> bool:
        limit_s, before_s = self.common.limit_s, number(row, "limit_s")
        late = text(row, "status") == "timed_out" and before_s is not None
        return late and (limit_s is None or limit_s > (before_s or 0.0))

    def _job(
        self, choice: Choice, repeats: int, predicted: Mapping[str, Any] | None, notes: tuple[str, ...]
    ) -> FreshJob:
        said = {name: getattr(self.common, name) for name in (*_DECIDING, "limit_s", "count_tensors")}
        return FreshJob(
            **said,
            settings=choice.settings,
            repeats=repeats,
            predicted=predicted,
            profile=choice.profile,
            notes=notes,
        )

    def _run(self, choice: Choice, job: FreshJob, digest: str) -> None:
        """Runs one configuration; each run is in the record when it is over, with its clip's place."""
        folder = self.session.folder_of(digest)
        done = len(self.session.rows_of(digest))
        clip = self.session.clip_name(folder / "clip.npy")
        known: dict[str, int] = {}

        def ran(run: Mapping[str, Any]) -> None:
            if run["id"] not in known:
                known[run["id"]] = done + len(known)
                self.watch.said(_said(choice.name, known[run["id"]] + 1, run))
            harness = {
                **run["harness"],
                "configuration": choice.name,
                "job": digest,
                "repeat": known[run["id"]],
                "clip": clip if run["status"] == "ok" else "",
            }
            self.session.put({**run, "harness": harness})

        result = self.source.run(job, folder, watch=self.watch, title=choice.name, ran=ran)
        self._show(result)

    def _show(self, result: FreshResult) -> None:
        """A video for people beside the clip."""
        if result.clip is not None:
            write_mp4(result.frames(), result.clip.with_suffix(".mp4"), self.workload.fps)

    def _compare(self, choice: Choice, digests: Mapping[str, str]) -> None:
        """Adds to each run of a candidate how its clip differs from the baseline's, where that is not known yet."""
        from workbench.measurement.quality import compare

        reference = self._clip(digests[BASELINE])
        if choice.name == BASELINE or reference is None:
            return
        row, path = reference
        ident = str(row["trial"].item())
        of_clip: dict[Path, dict[str, Any]] = {}
        for candidate in self.session.rows_of(digests[choice.name]):
            clip = self.session.clip_of(candidate)
            if clip is None or text(candidate, "reference") == ident:
                continue
            if clip not in of_clip:
                self.watch.said(f"{choice.name}: comparing its clip with the baseline's")
                try:
                    found = compare(read(clip), read(path), fps=self.workload.fps, with_vmaf=self.with_vmaf)
                    of_clip[clip] = found.to_json()
                except InputError as error:  # a single frame, or a clip of another size
                    of_clip[clip] = {"absent": [str(error)]}
            self.session.put_row(with_quality(candidate, of_clip[clip], ident))

    def _clip(self, digest: str) -> tuple[xarray.Dataset, Path] | None:
        """The first row of a job that has a clip, and the clip."""
        for row in self.session.rows_of(digest):
            path = self.session.clip_of(row)
            if path is not None:
                return row, path
        return None


_DECIDING: Final = ("model", "workload", "prompt", "negative_prompt", "seed", "warmup", "vram_gb", "dtypes")
"""Fields of a job that make it another one."""


def _said(name: str, place: int, run: Mapping[str, Any]) -> str:
    if run["status"] == "ok":
        return f"{name}: run {place} took {format_seconds(run['measured']['total_s'])}"
    return f"{name}: {run['status'].replace('_', ' ')}: {run['error']}"
