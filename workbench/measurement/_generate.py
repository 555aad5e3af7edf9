"""`generate`: makes a video with a profile applied, and measures it beside the prediction. Touches the disk, the clock and the GPU."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from workbench.measurement._calling import applied, kwargs_of
from workbench.measurement._job import Job, Take, job_of
from workbench.measurement._measurement import Measurement, RunError
from workbench.measurement._pace import expected
from workbench.measurement._pipelines import default_model, default_prompt, open_pipeline, spec_of
from workbench.measurement._progress import AbstractProgress, NoProgress
from workbench.measurement._run import machine, run_once
from workbench.measurement._video import to_uint8, write_mp4
from workbench.profiles import Profile
from workbench.records import build, save


def generate(
    profile: Profile | str | Path | None = None,
    *,
    model: str | Path | None = None,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    out: str | Path = "clip.mp4",
    seed: int = 0,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    progress: AbstractProgress | None = None,
    count_tensors: bool = True,
) -> Measurement:
    """Makes one video and writes it, with a record of the run beside it (the same name with the ending `.nc`).

    Args:
        profile: what to apply: a profile, or the path of one; None runs the pipeline as it is.
        model: `"miniature"`, `"tiny"`, or a folder that `save_pretrained` wrote; None means the profile's if it is one of the two, else the
            trained miniature, or `"tiny"` where its weights are not in the package yet.
        prompt: None means one that the model knows.
        negative_prompt: what the video should not be; None means the one that predictions are made with.
        out: the video's file, ending in `.mp4`.
        frames: with `height`, `width`, `steps` and `guidance`: None means the profile's, or the model's native one if the profile is for
            another model or there is none.
        count_tensors: on the CPU, call the pipeline a second time with few steps to count the bytes in live tensors.

    Raises:
        InputError: something of this is wrong; nothing was run.
        RunError: the pipeline failed or ran out of memory; the record says so.
    """
    chosen = Profile.load(profile) if isinstance(profile, (str, Path)) else profile
    model = default_model(chosen.workload.model if chosen else None) if model is None else model
    said = default_prompt(model) if prompt is None else prompt
    take = Take(video=Path(out), prompt=said, negative_prompt=negative_prompt, seed=seed)
    asked = {"frames": frames, "height": height, "width": width, "steps": steps, "guidance": guidance}
    job = job_of(spec_of(model), chosen, asked)
    return _made(job, take, model, NoProgress() if progress is None else progress, count_tensors)


def _made(
    job: Job, take: Take, model: str | Path, progress: AbstractProgress, count_tensors: bool
) -> Measurement:
    """Predicts, loads, applies, runs and writes, in this order."""
    device = machine()
    predicted, said = job.predicted(device)
    started = time.perf_counter()
    pipe = open_pipeline(model, job.spec)
    handle = applied(job, pipe)
    load_s = time.perf_counter() - started

    def recorded(measured: Measurement) -> Measurement:
        # the handle is asked after the run: some of its sentences are known only then
        report = (*job.notes, *said, *handle.report, *measured.report)
        whole = dataclasses.replace(measured, predicted=predicted, load_s=load_s, report=report)
        return _recorded(whole, job, take)

    progress.expect(expected(predicted))
    progress.start(
        f"{job.spec.name} {take.video.name}", job.steps, None if predicted is None else predicted.total_s
    )
    well = False
    try:
        counting = count_tensors and device is not None and device.architecture == "cpu"
        measured, output = run_once(
            pipe, kwargs_of(job, take, pipe), progress=progress, count_tensors=counting
        )
        well = True
    except RunError as error:
        failed = recorded(error.measurement)
        raise RunError(f"{error} (recorded in {failed.record})", failed) from error
    finally:
        progress.close(well=well)
    write_mp4(to_uint8(output.frames[0]), take.video, job.workload.fps)
    return recorded(dataclasses.replace(measured, video=str(take.video)))


def _recorded(measured: Measurement, job: Job, take: Take) -> Measurement:
    """The measurement with what was asked for, written as a record."""
    whole = dataclasses.replace(
        measured,
        workload=dataclasses.replace(job.workload, steps=job.steps),
        settings=job.settings.to_json(),
        profile="" if job.profile is None else job.profile.name,
        prompt=take.prompt,
        seed=take.seed,
        record=str(take.record),
    )
    save(build(whole.to_json()), take.record)
    return whole
