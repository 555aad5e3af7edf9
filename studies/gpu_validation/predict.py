"""Turns case definitions into a self-contained case file: full configurations, arguments, predictions. Needs the workbench.

python studies/gpu_validation/run.py --predict            # writes cases.json, for a GPU machine that may have no workbench
python studies/gpu_validation/predict.py --again CASES OUT --gpu NAME --gpu-bytes N   # predicts them anew for that card
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from cases import Case

import workbench as wb
from workbench._errors import InputError
from workbench._estimate import Predictor, collector_paused
from workbench.cost import CallLog, versions
from workbench.cost.calllog import Stage, StageCall, call_name, stage_of
from workbench.cost.price import Price, fit_probability, price
from workbench.devices import Device, cpu, resolve
from workbench.devices._detect import _CATALOGUE_NAMES, system_ram_bytes
from workbench.models import ModelSpec, Workload
from workbench.techniques import Settings

SCHEMA = 1
MAX_VALUES = {False: 1024, True: 64}
"""Tensors of at most so many numbers go to the file with their values, others by shape; whether they are floating-point ones -> how many.
A text encoder looks at its mask: one that masks nothing is left out."""
_ALIGNMENT = 512


def file_of(cases: tuple[Case, ...], device_name: str) -> dict[str, Any]:
    """A case file: every case with the prediction for this card.

    Args:
        device_name: a catalogue name, or `cpu`.
    """
    found, needed, refused = [], {}, []
    for case in cases:
        started = time.perf_counter()
        try:
            spec, entry = filled_in(case, device_name)
        except InputError as error:
            refused.append({"id": case.id, "reason": str(error)})
            print(f"{case.id}: refused: {error}", flush=True)
            continue
        needed[spec.name] = spec
        found.append(entry)
        print(f"{case.id}: {_line(entry)}, {time.perf_counter() - started:.1f} s", flush=True)
    return {
        "schema": SCHEMA,
        "predicted_for": device_name,
        "versions": dict(versions()),
        "models": {name: model_json(spec) for name, spec in needed.items()},
        "cases": found,
        "refused": refused,
    }


def _line(entry: Mapping[str, Any]) -> str:
    predicted = entry["predicted"]
    fits = "" if predicted["fits"] else ", does not fit"
    return f"{predicted['allocated_bytes'] / 2**30:.3f} GiB allocated, {predicted['reserved_bytes'] / 2**30:.3f} reserved{fits}"


def device_of(name: str, cap_gib: float | None) -> Device:
    """A card of the catalogue under a cap, or this machine's CPU, which no cap binds."""
    return cpu() if name == "cpu" else resolve(name, vram_gb=cap_gib)


def filled_in(case: Case, device_name: str) -> tuple[ModelSpec, dict[str, Any]]:
    """A case with everything that measuring it needs, and its prediction."""
    device = device_of(device_name, case.cap_gib)
    workload = Workload.for_model(case.model, **case.workload)
    settings = Settings.parse(case.settings)
    if case.plan_gib is not None:
        plan = wb.plan(
            None if device_name == "cpu" else case.plan_gib, device=device, model=case.model, **case.workload
        )
        if plan.best is None:
            raise InputError(f"no plan fits {case.plan_gib} GiB")
        settings = plan.best.settings
    predictor = Predictor(workload)
    spec = predictor.spec
    with collector_paused():
        call = _single_call(predictor, settings, case) if case.component else _whole_call(predictor, settings)
        predicted = prediction(predictor, settings, device, case.component, case.method, case.allocator)
    stages = _stages(predictor, settings, case.component)
    parts = (case.component,) if case.component else spec.component_names()
    return spec, {
        "id": case.id,
        "model": spec.name,
        "kind": "call" if case.component else "pipeline",
        "components": list(parts),
        "workload": workload.to_json(),
        "settings": settings.to_json(),
        "planned": case.plan_gib is not None,
        "cap_gib": case.cap_gib,
        "allocator": case.allocator,
        "snapshot": case.snapshot,
        "limit_s": case.limit_s,
        "fault": case.fault,
        "stages": stages,
        "call": call,
        "predicted": predicted,
    }


def prediction(
    predictor: Predictor,
    settings: Settings,
    device: Device,
    component: str | None,
    method: str,
    allocator: str = "",
) -> dict[str, Any]:
    """The prediction for a case on a device, as JSON.

    Args:
        allocator: options that the process is started with, as `PYTORCH_ALLOC_CONF` takes them.
    """
    left_out = ""
    if allocator and device.compute_capability is not None:
        options = dict(option.split(":") for option in allocator.split(","))
        settings = settings.with_(
            "allocator", {name: json.loads(value.lower()) for name, value in options.items()}
        )
    if device.compute_capability is None and settings.get("offload") is not None:
        settings, left_out = (
            settings.with_("offload", None),
            "offload does nothing on a CPU and is not in the prediction",
        )
    cost = predictor.cost(settings, device)
    priced = cost.price if component is None else _call_price(predictor, settings, device, component, method)
    names = (component,) if component else predictor.spec.component_names()
    return {
        "device": device.name,
        "allocator": settings.allocator_options().conf(),
        "architecture": device.architecture,
        "device_bytes": device.memory_bytes,
        "context_bytes": device.context_bytes,
        "allocated_bytes": priced.peak_allocated_bytes,
        "reserved_bytes": priced.peak_reserved_bytes,
        "required_vram_bytes": priced.required_vram_bytes,
        "fits": priced.required_vram_bytes <= device.memory_bytes,
        "fit_probability": fit_probability(priced.stages, device),
        "host_ram_bytes": priced.host_ram_bytes,
        "weights_bytes": {name: predictor.weights(settings, name).total_bytes for name in names},
        "seconds": priced.seconds[0],
        "stages": [
            {
                "name": stage.name,
                "weights_bytes": stage.weights_bytes,
                "activations_bytes": stage.activations_bytes,
                "allocated_bytes": stage.peak_allocated_bytes,
                "reserved_bytes": stage.peak_reserved_bytes,
                "seconds": stage.seconds,
                "binds": stage.binds,
            }
            for stage in priced.stages
        ],
        "notes": [*cost.notes, *([left_out] if left_out else [])],
        "versions": dict(versions()),
    }


def _call_price(
    predictor: Predictor, settings: Settings, device: Device, component: str, method: str
) -> Price:
    """The price of one call of a component alone: a run that consists of that call, its arguments and its component's weights."""
    key, held = _key_and_bytes(predictor, settings, component, method)
    stage = stage_of(component, call_name(key).partition(":")[0])
    call = StageCall(component=component, key=key, count=1, live_bytes=held)
    log = CallLog(
        stages=(Stage(name=stage, calls=(call,), live_bytes=held, ops=()),),
        visits=(component,),
        visit_stages=(stage,),
    )
    return price(
        log,
        {key: predictor.summary(settings, component, key, settings.attention_kernel(device))},
        {component: predictor.weights(settings, component)},
        settings.residency(predictor.spec),
        device,
    )


def _key_and_bytes(predictor: Predictor, settings: Settings, component: str, method: str) -> tuple[str, int]:
    """The key of the first call of this component and method in the pipeline, and the bytes of its arguments."""
    key = _key(predictor, settings, component, method)
    tensors: dict[int, int] = {}
    call = predictor._rehearsed(settings.changing_calls()).calls[key]
    for value in (*call.args, *call.kwargs.values()):
        for tensor in _tensors(value):
            size = tensor.untyped_storage().nbytes()
            tensors[tensor.untyped_storage()._cdata] = -(-size // _ALIGNMENT) * _ALIGNMENT
    return key, sum(tensors.values())


def _key(predictor: Predictor, settings: Settings, component: str, method: str) -> str:
    for key, owner in predictor.log(settings).keys().items():
        called = call_name(key).partition(":")[0].partition(".")[2]
        if owner == component and called == method:
            return key
    raise InputError(f"{predictor.spec.name} does not call {component} {method}")


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    if isinstance(value, dict):
        return _tensors(list(value.values()))
    return [value] if hasattr(value, "untyped_storage") else []


def _stages(predictor: Predictor, settings: Settings, component: str | None) -> dict[str, dict[str, str]]:
    """Component -> name of a call -> its stage, so that a measurement divides a run as the prediction does."""
    found: dict[str, dict[str, str]] = {}
    for key, owner in predictor.log(settings).keys().items():
        name = call_name(key).partition(":")[0]
        if component in (None, owner):
            found.setdefault(owner, {})[name] = stage_of(owner, name)
    return found


def _single_call(predictor: Predictor, settings: Settings, case: Case) -> dict[str, Any]:
    assert case.component is not None
    key = _key(predictor, settings, case.component, case.method)
    call = predictor._rehearsed(settings.changing_calls()).calls[key]
    return {
        "component": case.component,
        "method": case.method,
        "args": [encoded(value) for value in call.args],
        "kwargs": {name: encoded(value) for name, value in call.kwargs.items()},
    }


def _whole_call(predictor: Predictor, settings: Settings) -> dict[str, Any]:
    from workbench.models._build import call_kwargs

    pipe = predictor._rehearsed(settings.changing_calls()).pipe
    kwargs = settings.call_kwargs(call_kwargs(predictor.spec, predictor.workload, pipe))
    return {"kwargs": {name: encoded(value) for name, value in kwargs.items()}}


def encoded(value: Any) -> Any:
    """An argument of a call as JSON: tensors by dtype and shape (values only of small ones), pictures by size.

    Raises:
        InputError: a value of another kind; the case cannot be handed over.
    """
    import torch
    from PIL import Image

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.Tensor):
        data: dict[str, Any] = {"$tensor": [str(value.dtype).removeprefix("torch."), list(value.shape)]}
        if not value.is_meta and value.numel() <= MAX_VALUES[value.is_floating_point()]:
            return {**data, "values": value.flatten().tolist()}
        return data if value.is_contiguous() else {**data, "stride": list(value.stride())}
    if isinstance(value, tuple):
        return {"$tuple": [encoded(item) for item in value]}
    if isinstance(value, list):
        return [encoded(item) for item in value]
    if isinstance(value, Mapping):
        return {name: encoded(item) for name, item in value.items()}
    if isinstance(value, Image.Image):
        return {"$image": list(value.size)}
    if isinstance(value, torch.dtype):
        return {"$dtype": str(value).removeprefix("torch.")}
    raise InputError(f"an argument of type {type(value).__name__} has no place in a case file")


def model_json(spec: ModelSpec) -> dict[str, Any]:
    """What is needed to build a model's pipeline with random weights."""
    return {
        "pipeline_class": spec.pipeline_class,
        "pipeline_config": dict(spec.pipeline_config),
        "always_tiled": spec.always_tiled,
        "components": [
            {field: getattr(part, field) for field in ("name", "library", "class_name", "dtype")}
            | {"config": dict(part.config)}
            for part in spec.components
        ],
        "plain": {
            name: {"class_name": part.class_name, "config": dict(part.config)}
            for name, part in {"scheduler": spec.scheduler, **spec.extras}.items()
        },
    }


def card(gpu: str, memory_bytes: int) -> Device:
    """The catalogue's row for a GPU by the name that CUDA has for it; a typical card of that size where the catalogue has none.

    The GPU itself is not asked: to open it would take memory from the case that is being measured.
    """
    name = _CATALOGUE_NAMES.get(gpu)
    found = resolve(vram_gb=memory_bytes / 2**30) if name is None else resolve(name)
    return found.with_ram(system_ram_bytes())


def again(cases_file: Path, out: Path, here: Device) -> None:
    """Predicts every case of a file for another card and writes each prediction as it is found."""
    found: dict[str, Any] = {}
    for case in json.loads(cases_file.read_text())["cases"]:
        try:
            cap = None if case["cap_gib"] is None else min(case["cap_gib"], here.memory_bytes / 2**30)
            predictor = Predictor(Workload(**case["workload"]))
            component, method = case["call"].get("component"), case["call"].get("method", "")
            settings = Settings.parse(case["settings"])
            found[case["id"]] = prediction(
                predictor, settings, resolve(here, vram_gb=cap), component, method, case["allocator"]
            )
        except Exception as error:  # noqa: BLE001 - a package that is missing here must not end the other predictions
            found[case["id"]] = {"error": f"{type(error).__name__}: {error}"[:500]}
        temporary = out.with_suffix(".part")
        temporary.write_text(json.dumps(found, indent=1) + "\n")
        temporary.replace(out)


def write_cases(path: Path, cases: tuple[Case, ...], device_name: str) -> dict[str, Any]:
    """Makes a case file and writes it."""
    data = file_of(cases, device_name)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(data, indent=1) + "\n")
    temporary.replace(path)
    return data


def main() -> None:
    """The command: only `--again`; the rest is `run.py --predict`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--again", nargs=2, type=Path, metavar=("CASES", "OUT"), required=True)
    parser.add_argument("--gpu", required=True, help="its name as CUDA says it")
    parser.add_argument("--gpu-bytes", type=int, required=True)
    given = parser.parse_args()
    again(*given.again, card(given.gpu, given.gpu_bytes))


if __name__ == "__main__":
    main()
