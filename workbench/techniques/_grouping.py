"""Mode `group` of offloading: its parameters, what they exclude, and the placement that they give a component. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench._errors import SettingsError
from workbench.cost import Placement
from workbench.cost.transfers import DISK_BYTES_PER_S
from workbench.models._spec import is_denoiser
from workbench.techniques._checks import check_choice, check_whole

if TYPE_CHECKING:
    from workbench.devices import Device
    from workbench.models import ModelSpec

OFFLOAD_TYPES = ("block_level", "leaf_level")
GROUPED_VAES = ("AutoencoderKL", "AutoencoderKLWan")
"""Autoencoders whose class says which of its parts diffusers can group (`_group_offload_block_modules`). The others are called through
`decode`, which runs past the hook on their `forward` that would bring the rest of their weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouping:
    """How weights are grouped, and how the groups move."""

    offload_type: str
    """`block_level` or `leaf_level`, as diffusers calls them."""
    blocks_per_group: int
    stream: bool
    low_cpu_mem_usage: bool
    disk: str | None
    resident_blocks: int

    def check(self) -> None:
        """Makes sure that the parameters are of the right kind and go together.

        Raises:
            SettingsError: they are not.
        """
        check_choice("offload", "offload_type", self.offload_type, OFFLOAD_TYPES)
        check_whole("offload", "blocks_per_group", self.blocks_per_group, minimum=1)
        check_whole("offload", "resident_blocks", self.resident_blocks, minimum=0)
        for name in ("stream", "low_cpu_mem_usage"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise SettingsError(f"{name} of offload must be true or false, got {value!r}")
        if self.disk is not None and (not isinstance(self.disk, str) or not self.disk):
            raise SettingsError(f"disk of offload must be the name of a folder, got {self.disk!r}")
        self._check_together()

    def _check_together(self) -> None:
        if self.low_cpu_mem_usage and not self.stream:
            raise SettingsError(
                "low_cpu_mem_usage of offload belongs to stream: without one nothing is pinned"
            )
        if self.low_cpu_mem_usage and self.disk is not None:
            raise SettingsError(
                "low_cpu_mem_usage of offload does not go with disk: what waits in files is pinned late anyway"
            )
        for name, why in (
            ("stream", "moves one block at a time"),
            ("resident_blocks", "counts single blocks"),
        ):
            if getattr(self, name) and self.blocks_per_group != 1:
                raise SettingsError(
                    f"{name} of offload {why}: blocks_per_group must be 1 with it, got {self.blocks_per_group}"
                )
        if self.offload_type == "leaf_level":
            for name, given in (
                ("blocks_per_group", self.blocks_per_group != 1),
                ("resident_blocks", self.resident_blocks),
            ):
                if given:
                    raise SettingsError(
                        f"{name} of offload belongs to offload_type 'block_level', got {self.offload_type!r}"
                    )

    def placement(self, component: str) -> Placement:
        """Where a component's weights are; blocks stay of denoisers only, which are called again and again."""
        return Placement(
            mode="layers" if self.offload_type == "leaf_level" else "blocks",
            blocks_per_group=self.blocks_per_group,
            stream=self.stream,
            pins_late=self.low_cpu_mem_usage,
            on_disk=self.disk is not None,
            resident_blocks=self.staying(component),
        )

    def staying(self, component: str) -> int:
        """Blocks of a component that stay on the GPU."""
        return self.resident_blocks if is_denoiser(component) else 0

    def refusal(self, model: ModelSpec, names: tuple[str, ...]) -> str | None:
        """None if these components of the model can be grouped, else a sentence that says why not."""
        for name in names:
            kind = model.component(name).class_name
            if (
                self.offload_type == "block_level"
                and kind.startswith("Autoencoder")
                and kind not in GROUPED_VAES
            ):
                return (
                    f"mode group cannot move the blocks of {kind}, whose decode runs past diffusers' hook; "
                    f"leave {name} out of the components, or use offload_type 'leaf_level'"
                )
        return None

    def notes(self, device: Device | None) -> tuple[str, ...]:
        """What is assumed of files."""
        if self.disk is None:
            return ()
        known = None if device is None else device.disk_bytes_per_s
        speed = f"{(known or DISK_BYTES_PER_S) / 1e9:g} GB/s"
        return (
            f"weights in files are read at {speed}"
            + ("" if known else ", a fast NVMe drive's figure: this disk's is not known"),
            "while loading, all weights pass through host RAM before they are written to files",
        )

    def sentence(self) -> str:
        """What is on the GPU."""
        if self.offload_type == "leaf_level":
            what = "one layer at a time is on the GPU"
        else:
            what = f"{self.blocks_per_group} block(s) at a time are on the GPU"
        if self.resident_blocks:
            what += f" beside {self.resident_blocks} of the denoiser that stay"
        if self.stream:
            what += ", fetched ahead"
        return what + (f", the others wait in files in {self.disk}" if self.disk is not None else "")
