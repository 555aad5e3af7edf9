"""The catalogues as tables: what models there are, and what cards."""

from __future__ import annotations

from typing import Any

from workbench import devices, models
from workbench._units import GIB, gib
from workbench.devices import Device
from workbench.models import DEFAULT_MODEL, ModelSpec
from workbench.search._report import Column, Report, Section, Table

_TASKS = {"t2v": "text to video", "i2v": "image to video", "v2v": "video to video"}
_RATES = ("bf16", "fp16", "int8", "fp8")


def models_json() -> dict[str, Any]:
    """Every model of the catalogue, one JSON object."""
    return {"models": [_model_json(models.get(name)) for name in models.names()]}


def models_report() -> Report:
    """Every model of the catalogue, one row each; the default is marked."""
    specs = [models.get(name) for name in models.names()]
    columns = (
        Column(title="name", is_short=True),
        Column(title="makes", is_short=True),
        Column(title="native\nframes", is_number=True),
        Column(title="native\nsize", is_number=True),
        Column(title="steps", is_number=True),
        Column(title="denoiser\nparameters", is_number=True),
    )
    rows = tuple(_model_row(spec) for spec in specs)
    table = Table(columns=columns, rows=rows, marked=models.names().index(DEFAULT_MODEL))
    lines = (
        f"{', '.join(f'{short}: {words}' for short, words in _TASKS.items())}; sizes are height × width; a plan may ask for others",
        "parameters are the published ones; – where none are published",
        "the source of each configuration: workbench models --json",
    )
    return Report(title="Models", lines=(), sections=(Section(title="Catalogue", lines=lines, table=table),))


def devices_json() -> dict[str, Any]:
    """Every card of the catalogue with the source of each number, as it is calibrated, one JSON object."""
    return {"devices": [_device_json(device) for device in _known_devices()]}


def devices_report() -> Report:
    """Every card of the catalogue, one row each."""
    columns = (
        Column(title="name", is_short=True),
        Column(title="memory\nGiB", is_number=True),
        Column(title="memory\nGB/s", is_number=True),
        *(
            Column(title=f"{dtype}\n{'TOPS' if dtype == 'int8' else 'TFLOPS'}", is_number=True)
            for dtype in _RATES
        ),
        Column(title="host link\nPCIe", is_short=True),
        Column(title="rates\nfrom", is_short=True),
        Column(title="rent\n$/h", is_number=True),
        Column(title="", is_short=True),
    )
    rows = tuple(_device_row(device) for device in _known_devices())
    lines = (
        "rates are theoretical and dense (no sparsity), accumulating in fp32; – means that the card has no such unit",
        "derived: the product page's boost clock times the white paper's rate per multiprocessor",
        "how much of a rate is reached is assumed until the card is calibrated (workbench calibrate, on the machine that has it): ◆ is",
        "the source of each number: workbench devices --json",
    )
    section = Section(title="Catalogue", lines=lines, table=Table(columns=columns, rows=rows))
    return Report(title="Devices", lines=(), sections=(section,))


def _model_row(spec: ModelSpec) -> tuple[str, ...]:
    native = spec.defaults
    counts = [spec.parameters[name] for name in spec.denoisers if name in spec.parameters]
    experts = f"{len(counts)} × " if len(counts) > 1 else ""
    return (
        spec.name,
        spec.task,
        str(native.frames),
        f"{native.height}×{native.width}",
        str(native.steps),
        f"{experts}{_billions(counts[0])}" if counts else "–",
    )


def _billions(count: float) -> str:
    return f"{count / 1e9:.1f} B" if count >= 1e8 else f"{count / 1e6:.1f} M"


def _model_json(spec: ModelSpec) -> dict[str, Any]:
    native = spec.defaults
    return {
        "name": spec.name,
        "title": spec.title,
        "family": spec.family,
        "task": spec.task,
        "pipeline_class": spec.pipeline_class,
        "is_default": spec.name == DEFAULT_MODEL,
        "native": {
            "frames": native.frames,
            "height": native.height,
            "width": native.width,
            "steps": native.steps,
            "guidance": native.guidance,
            "guidance_2": native.guidance_2,
            "fps": native.fps,
        },
        "limits": {
            "temporal_factor": spec.temporal_factor,
            "size_multiple": spec.size_multiple,
            "max_frames": spec.max_frames,
            "max_size": spec.max_size,
            "only_size": spec.only_size,
        },
        "components": [
            {"name": part.name, "class": part.class_name, "dtype": part.dtype, "source": part.source}
            for part in spec.components
        ],
        "parameters": dict(spec.parameters),
        "sources": list(spec.sources),
    }


def _device_row(device: Device) -> tuple[str, ...]:
    rates = (f"{device.dense_flops[d] / 1e12:.0f}" if d in device.dense_flops else "–" for d in _RATES)
    return (
        device.name,
        f"{device.memory_bytes / GIB:g}",
        f"{device.bandwidth_bytes_per_s / 1e9:.0f}",
        *rates,
        device.link_label.removeprefix("PCIe "),
        _document(device.sources.get("bandwidth_bytes_per_s", "")),
        "–" if device.rent_usd_per_hour is None else f"{device.rent_usd_per_hour:.2f}",
        "◆" if device.basis == "calibrated" else "",
    )


def _known_devices() -> list[Device]:
    """The catalogue, each card as it is calibrated, and this machine's CPU if it is."""
    here = devices.calibrated(devices.cpu())
    return [
        *(devices.calibrated(devices.get(name)) for name in devices.names()),
        *([here] if here.basis == "calibrated" else []),
    ]


def _document(source: str) -> str:
    """What kind of document a source names; the whole source is in the JSON."""
    kinds = {
        "MHz boost": "derived",
        "whitepaper": "white paper",
        "data sheet": "data sheet",
        "measured by": "measured",
    }
    return next((kind for word, kind in kinds.items() if word in source), "other")


def _device_json(device: Device) -> dict[str, Any]:
    return {
        **device.to_json(),
        "memory_gib": gib(device.memory_bytes),
        "context_gib": gib(device.context_bytes),
        "desktop_gib": gib(device.desktop_bytes),
    }
