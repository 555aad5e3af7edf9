"""Applies a job to a pipeline and makes the arguments of its call: the same for a run in this process and in a fresh one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.measurement._job import Job, Take
from workbench.techniques import Handle, apply_all

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def applied(job: Job, pipe: DiffusionPipeline) -> Handle:
    """Applies the profile or the settings, and puts on the GPU what no technique places.

    Raises:
        InputError: something of it cannot act on this model; the pipeline is as it was.
    """
    import torch

    if job.profile is None:
        job.settings.check(job.spec)
        handle = apply_all(pipe, job.settings)
    else:
        handle = job.profile.apply(pipe, model=job.spec)
    if torch.cuda.is_available() and not job.settings.residency(job.spec).placements:
        pipe.to("cuda")
    return handle


def kwargs_of(job: Job, take: Take, pipe: DiffusionPipeline) -> dict[str, Any]:
    """The arguments that the prediction rehearsed, with this prompt and seed; a guider in the pipeline is set as it was there."""
    import torch

    from workbench.models._build import call_kwargs, set_guidance

    set_guidance(job.workload, pipe)
    kwargs = job.settings.call_kwargs(call_kwargs(job.spec, job.workload, pipe))
    said = {"prompt": take.prompt, "negative_prompt": take.negative_prompt}
    for name, text in said.items():
        if text is not None:
            kwargs[name] = [text] * len(kwargs[name]) if isinstance(kwargs.get(name), list) else text
    # noise is drawn on the CPU, so that a seed means the same noise on every machine
    return {**kwargs, "generator": torch.Generator("cpu").manual_seed(take.seed)}
