"""The JSON of runs as a harness makes it: what `Measurement.to_json` gives, with what was asked for and how it was run. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workbench.measurement.fresh import FreshJob

ANOTHER_CLIP: Final = "this call gave another clip than the first one with the same seed"


def bare_row(
    status: str,
    error: str,
    *,
    began: float,
    environment: Mapping[str, Any],
    total_s: float = 0.0,
    load_s: float | None = None,
    stages: Sequence[Mapping[str, Any]] = (),
    rss_peak_bytes: int = 0,
    report: Sequence[str] = (),
) -> dict[str, Any]:
    """A run of which there is no measurement, in the form of one.

    Args:
        began: seconds since 1970.
        environment: `versions`, `device` and `commit`, as far as they are known.
    """
    start = datetime.fromtimestamp(began, UTC)
    return {
        "id": f"{start:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        "status": status,
        "error": error,
        "created_at": start.isoformat(timespec="seconds"),
        "measured": {
            "total_s": total_s,
            "load_s": load_s,
            "stages": list(stages),
            "memory": {"rss_peak_bytes": rss_peak_bytes} if rss_peak_bytes else {},
        },
        "report": list(report),
        **environment,
    }


def with_tensors(run: Mapping[str, Any], tensors: Mapping[str, int], said: Sequence[str]) -> dict[str, Any]:
    """The run with the bytes of live tensors that were counted after it, by stage, and sentences on what was not."""
    measured = run["measured"]
    whole = {"tensors_peak_bytes": max(tensors.values())} if tensors else {}
    stages = [
        {**stage, "memory": {**stage["memory"], "tensors_peak_bytes": tensors[stage["name"]]}}
        if stage["name"] in tensors
        else stage
        for stage in measured["stages"]
    ]
    counted = {**measured, "memory": {**measured["memory"], **whole}, "stages": stages}
    return {**run, "measured": counted, "report": [*run["report"], *said]}


def with_what_was_asked(
    run: Mapping[str, Any], job: FreshJob, workload: Mapping[str, Any], *, process: str
) -> dict[str, Any]:
    """The run with what the job says of it.

    Args:
        workload: all of it, native values filled in; a measurement's own comes first, for it knows the steps that ran.
        process: `"fresh"` or `"caller"`.
    """
    asked = {
        "workload": {**workload, **(run.get("workload") or {})},
        "settings": dict(job.settings),
        "profile": job.profile,
        "prompt": job.prompt,
        "seed": job.seed,
        "predicted": job.predicted,
    }
    harness = {
        "process": process,
        "warmup_calls": job.warmup,
        "limit_s": job.limit_s,
        **run.get("harness", {}),
    }
    return {**run, **asked, "harness": harness}
