"""What loading and quantising take, in host RAM and VRAM, before the pipeline runs.

How diffusers 0.42 and transformers 5 load (diffusers/models/model_loading_utils.py): the modules are made without memory, each file of
a component is mapped, not read, and its tensors are taken one by one. A tensor whose file has the dtype that is asked for stays a view
of the map: its pages are page cache, which the system takes back when it needs them. One that is cast becomes memory of the process.
Which of the two is known of a model in a folder, whose files say their dtype; of any other every figure is given for both. Real loading
agrees with either (tests/cost/test_loading_for_real.py).

Ways to a quantised pipeline:

- `cpu`      everything is loaded on the CPU, quantised there and moved afterwards: how this package runs (`generate`, `Profile.apply`).
             Its handles keep the originals, to put them back.
- `gpu`      everything is loaded on the CPU, moved to the GPU whole, and quantised there.
- `on_load`  with a `quantization_config` each weight of a quantised component goes to the GPU in 16 bits, is packed and stays there
             (`create_quantized_param` of diffusers' quantizers; bitsandbytes and torchao). Other components wait on the CPU. What is
             offloaded afterwards leaves the GPU only once all is loaded. Nothing is kept.
- `direct`   `device_map="cuda"` on everything, with a `quantization_config` where one is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from workbench._units import gib
from workbench.devices import Device

Way = Literal["cpu", "gpu", "on_load", "direct"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """The weights of one component on their way from files to what runs, in bytes."""

    plain_bytes: int
    """All of them in the dtype they are loaded in."""
    largest_bytes: int
    """The largest tensor in that dtype."""
    stored_bytes: int
    """All of them as they run: quantised, or in another dtype."""
    originals_bytes: int = 0
    """Of `plain_bytes`, what techniques replace."""
    largest_original_bytes: int = 0
    """The largest tensor that they replace."""
    packing_bytes: int = 0
    """What packing that tensor takes beside it, the packed form included."""
    largest_packed_bytes: int = 0
    """Its packed form."""
    is_mapped: bool = False
    """Whether its files are known to have the dtype that is loaded."""

    @property
    def packed_bytes(self) -> int:
        """What takes the originals' place."""
        return self.stored_bytes - (self.plain_bytes - self.originals_bytes)

    @property
    def copied_bytes(self) -> int:
        """Of `plain_bytes`, what is memory of the process after loading."""
        return 0 if self.is_mapped else self.plain_bytes

    @property
    def kept_bytes(self) -> int:
        """Of `originals_bytes`, what is memory of the process while they are kept."""
        return 0 if self.is_mapped else self.originals_bytes

    @property
    def cast_bytes(self) -> int:
        """The largest copy that is made for one tensor on its way."""
        return 0 if self.is_mapped else self.largest_bytes

    @property
    def at_a_time_bytes(self) -> int:
        """What is on the GPU beside the packed weights while the last one is packed, if that is the largest."""
        return self.largest_original_bytes + self.packing_bytes - self.largest_packed_bytes

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Loaded:
        """The inverse of `to_json`."""
        return cls(**data)

    def to_json(self) -> dict[str, int]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPeak:
    """The most that one way of loading takes, beside the process itself and the CUDA context."""

    way: Way
    host_bytes: int
    """Host RAM if every tensor whose file is not known to have the dtype that is asked for is cast on the way."""
    host_mapped_bytes: int
    """Host RAM if none is."""
    vram_bytes: int
    """Tensors on the GPU before the first stage."""
    kept_bytes: int = 0
    """Of the host's, what stays as long as the pipeline is used: originals."""
    is_quantised: bool = False
    """Whether anything is replaced on the way."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, in GiB."""
        return {
            "way": self.way,
            "host_ram_gib": gib(self.host_bytes),
            "host_ram_if_mapped_gib": gib(self.host_mapped_bytes),
            "vram_gib": gib(self.vram_bytes),
        }


def load_peaks(components: Iterable[Loaded]) -> tuple[LoadPeak, ...]:
    """Every way, of components in the order in which a pipeline loads them."""
    parts = tuple(components)
    return (_on_cpu(parts), _on_gpu(parts), _on_load(parts), _direct(parts))


def _on_cpu(parts: tuple[Loaded, ...]) -> LoadPeak:
    packed = sum(part.packed_bytes for part in parts)
    return LoadPeak(
        way="cpu",
        host_bytes=sum(part.copied_bytes for part in parts) + packed,
        host_mapped_bytes=packed,
        vram_bytes=0,
        kept_bytes=sum(part.kept_bytes for part in parts),
        is_quantised=_is_quantised(parts),
    )


def _on_gpu(parts: tuple[Loaded, ...]) -> LoadPeak:
    kept = sum(part.originals_bytes for part in parts)  # copied back from the GPU, mapped before or not
    # while the first weights are packed nothing was freed yet; the largest may be among them
    first = max((part.packing_bytes for part in parts), default=0)
    return LoadPeak(
        way="gpu",
        host_bytes=max(kept, sum(part.copied_bytes for part in parts)),
        host_mapped_bytes=kept,
        vram_bytes=sum(part.plain_bytes for part in parts) + first,
        kept_bytes=kept,
        is_quantised=_is_quantised(parts),
    )


def _on_load(parts: tuple[Loaded, ...]) -> LoadPeak:
    there = vram = waiting = host = 0
    for part in parts:
        if part.originals_bytes:
            vram = max(vram, there + part.stored_bytes + part.at_a_time_bytes)
            there += part.stored_bytes
        else:
            waiting += part.copied_bytes
        host = max(host, waiting + (part.cast_bytes if part.originals_bytes else 0))
    return LoadPeak(
        way="on_load",
        host_bytes=host,
        host_mapped_bytes=0,
        vram_bytes=vram,
        is_quantised=_is_quantised(parts),
    )


def _direct(parts: tuple[Loaded, ...]) -> LoadPeak:
    there = vram = 0
    for part in parts:
        vram = max(vram, there + part.stored_bytes + part.at_a_time_bytes)
        there += part.stored_bytes
    return LoadPeak(
        way="direct",
        host_bytes=max((part.cast_bytes for part in parts), default=0),
        host_mapped_bytes=0,
        vram_bytes=vram,
        is_quantised=_is_quantised(parts),
    )


def _is_quantised(parts: tuple[Loaded, ...]) -> bool:
    return any(part.originals_bytes for part in parts)


_SAID = {
    "gpu": "moved to the GPU before they are quantised",
    "on_load": "quantised while loading (a quantization_config packs them on the GPU, and all stay there until the last is loaded)",
}


def loading_notes(
    host_ram: HostRam | None, peaks: Iterable[LoadPeak], required_vram_bytes: int, device: Device
) -> tuple[str, ...]:
    """What to mind: where host RAM is enough only if files have the dtype that is loaded, and ways of loading quantised weights that
    the card has no room for, where it has for the run."""
    of_ram = _host_note(host_ram, device) if host_ram is not None else ()
    return (*of_ram, *_vram_notes(peaks, required_vram_bytes, device))


def _host_note(host_ram: HostRam, device: Device) -> tuple[str, ...]:
    if device.ram_bytes is None or not host_ram.mapped_bytes <= device.ram_bytes < host_ram.total_bytes:
        return ()
    return (
        f"{gib(host_ram.total_bytes):.1f} GiB of host RAM are needed if the files have another dtype than is loaded, and every tensor is "
        f"cast; {gib(host_ram.mapped_bytes):.1f} GiB do if they have that dtype, because they are then mapped",
    )


def _vram_notes(peaks: Iterable[LoadPeak], required_vram_bytes: int, device: Device) -> tuple[str, ...]:
    if required_vram_bytes > device.memory_bytes:
        return ()
    return tuple(
        f"{_SAID[peak.way]}, the weights would take {gib(peak.vram_bytes):.1f} GiB of VRAM before the run: quantise them on the CPU, "
        f"as applying a profile to a pipeline on the CPU does"
        for peak in peaks
        if peak.way in _SAID
        and peak.is_quantised
        and peak.vram_bytes + device.context_bytes > device.memory_bytes
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class HostRam:
    """Host RAM at its highest, and what it is made of."""

    process_bytes: int
    """Python with torch and diffusers."""
    running_bytes: int
    """While the pipeline runs: weights that wait and their pinned copies."""
    kept_bytes: int
    """Originals of quantised weights, while it runs."""
    loading: LoadPeak | None = None
    """Before it runs; None if that was not asked for."""

    @property
    def total_bytes(self) -> int:
        """The most of running and loading; what is not known to be mapped is cast on the way from its file."""
        loading = self.loading.host_bytes if self.loading is not None else 0
        return self.total_of(self.process_bytes, self.running_bytes, self.kept_bytes, loading)

    @staticmethod
    def total_of(process: int, running: int, kept: int, loading: int) -> int:
        """`total_bytes` of these parts."""
        return process + max(running + kept, loading)

    def to_json(self) -> dict[str, float]:
        """In GiB; `total_gib` is the most of running with what is kept, and loading, beside the process."""
        loading = self.loading.host_bytes if self.loading is not None else 0
        return {
            "process_gib": gib(self.process_bytes),
            "running_gib": gib(self.running_bytes),
            "kept_gib": gib(self.kept_bytes),
            "loading_gib": gib(loading),
            "total_gib": gib(self.total_bytes),
            "total_if_mapped_gib": gib(self.mapped_bytes),
        }

    @property
    def mapped_bytes(self) -> int:
        """The same, if the files have the dtype that is loaded: what is only mapped is page cache."""
        loading = self.loading.host_mapped_bytes if self.loading is not None else 0
        return self.process_bytes + max(self.running_bytes, loading)
