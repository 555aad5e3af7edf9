"""`tune`: a plan, confirmed and refined by real runs, each in a process of its own. Starts processes; touches the disk and the clock.

The predicted front is run first. Then whatever else was priced is run, one after the other, as long as it may beat what was measured:
predictions are corrected by what the runs so far have shown (`_tuned.worth_a_run`). Every run is a trial of an Optuna study that is stored
beside the records: one that runs out of memory, fails or takes too long is a finished trial that breaks a constraint. A session that is
killed is gone on with by the same call, and several may work on one folder.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError
from workbench._estimate import Predictor
from workbench._plan import Limits, check_counts, searched
from workbench._store import versions
from workbench.devices import Device, resolve
from workbench.measurement._run import machine
from workbench.measurement._sources import source_of
from workbench.measurement._tuned import Tuned
from workbench.measurement._tuning import Tuning, digest, pool_of
from workbench.measurement._watch import AbstractWatch, NoWatch
from workbench.measurement.fresh import FreshJob
from workbench.models import Workload
from workbench.search.pins import Pins
from workbench.techniques import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

VERSION: Final = "tune-1"
"""Part of a study's name: raised when what a trial means changes."""
JOURNAL: Final = "study.log"


def tune(
    model: str | Path | DiffusionPipeline | None = None,
    vram_gb: float | None = None,
    *,
    budget: float = 600.0,
    runs: int | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    ram_gb: float | None = None,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    max_caution: int | None = None,
    pin: Settings | Mapping[str, Any] | None = None,
    forbid: Sequence[str] = (),
    prompt: str | None = None,
    negative_prompt: str | None = None,
    seed: int = 0,
    warmup: int = 0,
    repeats: int = 1,
    limit_s: float | None = None,
    trials: int = 64,
    out: str | Path = "tuned",
    storage: str | None = None,
    watch: AbstractWatch | None = None,
) -> Tuned:
    """Searches settings by prediction, then by running them on this machine.

    Args:
        model: `"miniature"`, `"tiny"`, a folder that `save_pretrained` wrote, or a pipeline in memory, which is loaded anew from where it
            came from, or else measured in this process, as `measure` does. None means the miniature, or `"tiny"` where its weights
            are not in the package.
        vram_gb: GiB that a run may take of the GPU, of the machine's memory where there is none; None means all.
        budget: seconds; no run is begun after them, one that is being run is finished.
        runs: no more runs than this in this session; None means as many as the budget allows.
        frames: with `height`, `width`, `steps` and `guidance`: None means the model's native value.
        ram_gb: host RAM that a plan may count on.
        max_seconds: with `min_quality`, `max_caution`, `pin` and `forbid`: as in `plan`, by prediction.
        prompt: None means one that the model knows.
        seed: of the initial noise and of the search.
        warmup: calls before the measured ones of each run.
        repeats: measured calls of each run; the median counts.
        limit_s: seconds that loading and each call may take; None means five times the highest prediction, ten minutes at least.
        trials: trials of the sampler in the search by prediction.
        out: folder of the study, the records and the logs, made if it is not there. The same call with the same folder goes on.
        storage: another place for the study, as in `plan`; for sessions on several machines, a database.
        watch: is told how each run is doing.

    Raises:
        InputError: something of this is wrong; nothing was run.
    """
    started = time.monotonic()
    limits = Limits.checked(max_seconds=max_seconds, min_quality=min_quality)
    check_counts(trials, seed)
    _check_budget(budget, runs)
    source = source_of(model, None)
    size = {"frames": frames, "height": height, "width": width, "steps": steps, "guidance": guidance}
    workload = Workload.for_model(
        source.spec,
        **{key: value for key, value in size.items() if value is not None},  # type: ignore[arg-type]
    )
    device = _device(vram_gb, ram_gb)
    # On a CPU there is nothing to offload from: a plan that says so would be measured as the plain one.
    barred = (*forbid, "offload") if device.architecture == "cpu" else tuple(forbid)
    pins = Pins.of(pin, barred, max_caution)
    job = FreshJob(
        model=source.name,
        dtypes=source.dtypes,
        workload=workload.to_json(),
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        warmup=warmup,
        repeats=repeats,
        limit_s=limit_s,
        vram_gb=_for_pytorch(device),
    )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(workload)
    plan = searched(predictor, device, limits=limits, pins=pins, trials=trials, seed=seed)
    run_id = _run_id(device, job, source.fingerprint)
    tuning = Tuning(
        plan=plan,
        pool=pool_of(plan, predictor, device, limits, pins),
        source=source,
        job=job,
        folder=folder,
        storage=storage or str(folder / JOURNAL),
        run_id=run_id,
        study_id=f"{VERSION}-{workload.model}-{digest(run_id, repr(limits), pins.to_json(), trials)}",
        watch=NoWatch() if watch is None else watch,
        until=started + budget,
        runs=runs,
    )
    return tuning.outcome(started)


def _device(vram_gb: float | None, ram_gb: float | None) -> Device:
    """This machine's device, capped.

    Raises:
        InputError: it has a GPU that the catalogue does not know, or less memory than asked for.
    """
    here = _here()
    if here is None:
        raise InputError(
            "the catalogue does not know this machine's GPU, so nothing can be predicted for it: workbench devices lists those it knows"
        )
    return resolve(here, vram_gb=vram_gb, ram_gb=ram_gb)


def _here() -> Device | None:
    """What runs on this machine. A process that looks at a GPU keeps a context on it, which would be missing in every run: so another
    process looks."""
    import torch

    if not torch.cuda.is_available() or torch.cuda.is_initialized():
        return machine()
    code = (
        "import json; from workbench.measurement._run import machine; d = machine(); "
        "print(json.dumps(d and d.to_json()))"
    )
    looked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(looked.stdout.splitlines()[-1])
    return None if found is None else Device.from_json(found)


def _for_pytorch(device: Device) -> float | None:
    """GiB that PyTorch may reserve of a capped GPU: what context and desktop take comes on top."""
    if device.architecture == "cpu":
        return None
    return max(device.memory_bytes - device.context_bytes - device.desktop_bytes, 1) / 2**30


def _check_budget(budget: float, runs: int | None) -> None:
    number = isinstance(budget, Real) and not isinstance(budget, bool)
    if not number or not math.isfinite(budget) or budget <= 0:
        raise InputError(f"budget must be a positive number of seconds, got {budget!r}")
    if runs is not None and (isinstance(runs, bool) or not isinstance(runs, int) or runs < 1):
        raise InputError(f"runs must be a whole number of at least 1, got {runs!r}")


def _run_id(device: Device, job: FreshJob, fingerprint: str) -> str:
    """Of all that is the same in every run: the machine, the versions, the weights and the call. Other prompts are other measurements;
    a calibration, which changes predictions, makes no other ones."""
    told = {key: value for key, value in job.to_json().items() if key not in ("settings", "notes")}
    return digest(told, device.name, device.memory_bytes, versions(), fingerprint)
