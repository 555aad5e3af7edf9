"""Where the pipeline that is measured comes from: a name or a folder, or this process's memory. Touches the disk and the GPU."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.measurement._fingerprint import fingerprint_of, folder_fingerprint
from workbench.measurement._here import run_here
from workbench.measurement._pipelines import MINIATURE, TINY, default_model, spec_of
from workbench.measurement._watch import AbstractWatch
from workbench.measurement.fresh import FreshJob, FreshResult, Ran, run_fresh
from workbench.miniature._trained import WEIGHTS
from workbench.models import ModelSpec, resolve_model
from workbench.models._folder import INDEX
from workbench.models._hub import is_hub_id

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class AbstractSource(abc.ABC):
    """Runs jobs on one model."""

    spec: ModelSpec
    name: str
    """What a job calls the model."""
    fingerprint: str
    """Changes when the weights do."""
    dtypes: Mapping[str, str]
    """Component -> dtype in which it is loaded, where not as documented."""
    is_live: bool
    """Whether it is in this process's memory."""

    @abc.abstractmethod
    def run(self, job: FreshJob, folder: Path, *, watch: AbstractWatch, title: str, ran: Ran) -> FreshResult:
        """Runs one job."""


class Saved(AbstractSource):
    """A model that any process can load."""

    def __init__(self, model: str | Path) -> None:
        """Resolves it.

        Raises:
            InputError: no such pipeline here, or one that needs more than a prompt.
        """
        self.name = str(model)
        self.spec = spec_of(model)
        folder = WEIGHTS if self.name == MINIATURE else Path(model)
        # the tiny one's weights follow from the versions, which a digest has anyway
        self.fingerprint = "" if self.name == TINY else folder_fingerprint(folder)
        self.dtypes = {}
        self.is_live = False

    def run(self, job: FreshJob, folder: Path, *, watch: AbstractWatch, title: str, ran: Ran) -> FreshResult:
        """In a fresh process."""
        return run_fresh(job, folder, watch=watch, title=title, ran=ran)


class Live(AbstractSource):
    """A pipeline in memory: loaded anew in a fresh process where that gives the same one, else run here."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        """Looks where it came from.

        Raises:
            InputError: it cannot be planned, and so not be called by what is known of it.
        """
        self._pipe = pipe
        self.spec = resolve_model(pipe)
        self.name = self.spec.name
        self.fingerprint = fingerprint_of(pipe)
        self.dtypes = {}
        self.is_live = True
        self._folder = _saved_at(pipe)
        self._why_here = _why_not_anew(pipe, self._folder)

    def run(self, job: FreshJob, folder: Path, *, watch: AbstractWatch, title: str, ran: Ran) -> FreshResult:
        """In a fresh process if that has the same pipeline, else in this one; the report says which and why."""
        if not self._why_here:
            dtypes = {part.name: part.dtype for part in self.spec.components}
            anew = replace(
                job,
                model=str(self._folder),
                dtypes=dtypes,
                fingerprint=self.fingerprint,
                notes=(*job.notes, f"loaded anew from {self._folder}"),
            )
            told: list[Mapping[str, Any]] = []
            result = run_fresh(
                anew,
                folder,
                watch=watch,
                title=title,
                ran=lambda run: told.append(run) if run["status"] == "failed" else ran(run),
            )
            if not result.is_another_pipeline:
                for run in told:
                    ran(run)
                return result
            self._why_here = f"what is saved at {self._folder} is not what is in memory"
        limits = ("the time limit cannot be kept there",) if job.limit_s is not None else ()
        said = f"measured in the process that asked, beside all that it holds: {self._why_here}"
        here = replace(job, notes=(*job.notes, said, *limits))
        return run_here(self._pipe, self.spec, here, folder, watch=watch, title=title, ran=ran)


def source_of(model: str | Path | DiffusionPipeline | None, planned: str | None) -> AbstractSource:
    """The source of a model as a caller names it.

    Args:
        planned: the model that a profile or plan among the configurations is for; it counts where no model is named.

    Raises:
        InputError: there is none, or it cannot be run from a prompt alone.
    """
    if model is None:
        return Saved(default_model(planned))
    return Saved(model) if isinstance(model, (str, Path)) else Live(model)


def _saved_at(pipe: DiffusionPipeline) -> Path | None:
    """The folder that a pipeline was loaded from: as it says itself, or in the local cache of the hub's client. Never the network."""
    name = str(getattr(pipe, "name_or_path", "") or pipe.config.get("_name_or_path", ""))
    if not name:
        return None
    folder = Path(name)
    if not folder.is_dir() and is_hub_id(name):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(name, local_files_only=True))
        except (LocalEntryNotFoundError, OSError):
            return None
    return folder.resolve() if (folder / INDEX).is_file() else None


def _why_not_anew(pipe: DiffusionPipeline, folder: Path | None) -> str:
    """Why a fresh process is no way to measure this pipeline; "" if it may be one."""
    if folder is None:
        return "it was not loaded from a folder that is still there"
    if pipe.device.type != "cpu":
        return f"its weights are on {pipe.device} already, and a second copy beside them would distort what is measured"
    return ""
