"""`Measurement`: what one run really took, with the prediction beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workbench._errors import WorkbenchError
from workbench.cost import Cost, StageCost
from workbench.devices import Device
from workbench.models import Workload

MEANINGS: Final[Mapping[str, str]] = {
    "weights_bytes": "weights of all components as stored, wherever they are",
    "rss_before_bytes": "resident memory of the process when the call starts: Python, the libraries and the weights",
    "rss_peak_bytes": "resident memory of the process at its highest, sampled",
    "allocated_peak_bytes": "most bytes in live tensors on the GPU, weights included (max_memory_allocated)",
    "reserved_peak_bytes": "most bytes held by PyTorch's allocator on the GPU (max_memory_reserved)",
    "device_used_peak_bytes": "most bytes used on the whole GPU, other programs included (mem_get_info), sampled",
    "tensors_peak_bytes": "most bytes in live tensors beside the weights, counted op by op in a second, untimed call",
}
"""What each memory number is. Those of a GPU are absent on the CPU, and `tensors_peak_bytes` where nothing was counted."""


class RunError(WorkbenchError):
    """The pipeline failed while it ran. The message says in which stage, with what and what was asked for."""

    def __init__(self, message: str, measurement: Measurement) -> None:
        super().__init__(message)
        self.measurement = measurement
        """What was measured up to the failure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageMeasurement:
    """One stage of the run: from its first call of a component to the first call of the next stage's."""

    name: str
    """`text_encode`, `image_encode`, `denoise`, `denoise_2` or `decode`, as in a prediction."""
    seconds: float
    num_calls: int
    """Calls of components."""
    memory: Mapping[str, int] = field(hash=False)
    """Peaks within the stage, named as in `MEANINGS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """One stage, predicted and measured; None where one of the two has no such number."""

    name: str
    predicted_s: float | None
    measured_s: float | None
    predicted_bytes: int | None
    measured_bytes: int | None
    """Bytes beside the weights on the CPU, where weights do not move; with the weights on a GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One run. A run that failed has a measurement too: up to the failure, with its status."""

    id: str
    """Unique among runs: the time of its start and random digits."""
    status: str
    """`ok`, `out_of_memory` or `failed`."""
    error: str = ""
    """What was raised; "" when ok."""
    created_at: str
    """Start of the run, ISO 8601, UTC."""
    pipeline_class: str
    """`"WanPipeline"`."""
    stages: tuple[StageMeasurement, ...]
    total_s: float
    """Seconds of the pipeline call, after loading; the sum of the stages."""
    load_s: float | None = None
    """Seconds of loading the pipeline and applying the profile; None if it was there already."""
    memory: Mapping[str, int] = field(hash=False)
    """Bytes, named as in `MEANINGS`."""
    device: Device | None
    """What it ran on; None for a GPU that the catalogue does not know."""
    workload: Workload | None = None
    """What was made; None when a pipeline outside the catalogue ran."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Settings JSON that was applied."""
    profile: str = ""
    """Name of the profile; "" without one."""
    prompt: str = ""
    seed: int | None = None
    report: tuple[str, ...] = ()
    """What applying the profile did and did not do, and what else the reader must know."""
    versions: Mapping[str, str] = field(hash=False)
    """Libraries that ran."""
    commit: str = ""
    """Git commit of the workbench; "" when it does not run from a checkout."""
    predicted: Cost | None = None
    """The prediction for this run on this machine; None when there is none, and then `report` says why."""
    video: str = ""
    """Path of the video; "" when none was written."""
    record: str = ""
    """Path of the record; "" when none was written."""

    @property
    def beside(self) -> tuple[Beside, ...]:
        """Each stage of the prediction or the run, one beside the other."""
        predicted = {stage.name: stage for stage in self.predicted.price.stages} if self.predicted else {}
        measured = {stage.name: stage for stage in self.stages}
        return tuple(
            Beside(
                name=name,
                predicted_s=predicted[name].seconds if name in predicted else None,
                measured_s=measured[name].seconds if name in measured else None,
                predicted_bytes=self._predicted_bytes(predicted[name]) if name in predicted else None,
                measured_bytes=self._measured_bytes(measured[name]) if name in measured else None,
            )
            for name in dict.fromkeys((*predicted, *measured))
        )

    @property
    def _on_gpu(self) -> bool:
        return "allocated_peak_bytes" in self.memory

    def _predicted_bytes(self, stage: StageCost) -> int:
        return stage.peak_allocated_bytes if self._on_gpu else stage.activations_bytes

    def _measured_bytes(self, stage: StageMeasurement) -> int | None:
        return stage.memory.get("allocated_peak_bytes" if self._on_gpu else "tensors_peak_bytes")

    def to_json(self) -> dict[str, Any]:
        """One JSON object; `workbench.records.build` makes a record of it."""
        stages = [
            {"name": s.name, "seconds": s.seconds, "num_calls": s.num_calls, "memory": dict(s.memory)}
            for s in self.stages
        ]
        measured = {
            "total_s": self.total_s,
            "load_s": self.load_s,
            "stages": stages,
            "memory": dict(self.memory),
            "memory_meanings": {name: MEANINGS[name] for name in self.memory},
        }
        return {
            "id": self.id,
            "status": self.status,
            "error": self.error,
            "created_at": self.created_at,
            "pipeline_class": self.pipeline_class,
            "workload": None if self.workload is None else self.workload.to_json(),
            "device": None if self.device is None else self.device.to_json(),
            "settings": dict(self.settings),
            "profile": self.profile,
            "prompt": self.prompt,
            "seed": self.seed,
            "measured": measured,
            "predicted": None if self.predicted is None else self.predicted.to_json(),
            "report": list(self.report),
            "versions": dict(self.versions),
            "commit": self.commit or None,
            "video": self.video or None,
            "record": self.record or None,
        }
