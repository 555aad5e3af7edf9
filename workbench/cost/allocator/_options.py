"""The options of PyTorch's CUDA caching allocator that change what it reserves."""

from __future__ import annotations

from dataclasses import dataclass

from workbench._errors import SettingsError
from workbench._units import MIB

ENVIRONMENT_VARIABLE = "PYTORCH_ALLOC_CONF"
"""Read when PyTorch starts (c10/core/AllocatorConfig.h); `PYTORCH_CUDA_ALLOC_CONF` is its older name."""
MIN_SPLIT_SIZE_MB = 20
"""c10/core/AllocatorConfig.cpp, `parseMaxSplitSize`: not below the large segment's 20 MiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AllocatorOptions:
    """`PYTORCH_ALLOC_CONF` as values; the defaults are PyTorch's.

    Raises:
        SettingsError: a value that PyTorch refuses.
    """

    expandable_segments: bool = False
    """One segment per pool and stream that grows by pages, instead of one segment per large request."""
    max_split_size_mb: int | None = None
    """MiB from which on a cached block is neither split nor given to a smaller request; None for no such size."""
    garbage_collection_threshold: float | None = None
    """Share of the limit that `set_per_process_memory_fraction` sets, beyond which old cached segments are given back before new ones
    are taken. Without that limit it does nothing. None for never."""
    roundup_power2_divisions: int | None = None
    """Requests are rounded up to one of so many steps between powers of two (a power of two itself); None rounds to 512 bytes."""

    def __post_init__(self) -> None:
        size, threshold, divisions = (
            self.max_split_size_mb,
            self.garbage_collection_threshold,
            self.roundup_power2_divisions,
        )
        if not isinstance(self.expandable_segments, bool):
            raise SettingsError(
                f"allocator expandable_segments must be true or false, got {self.expandable_segments!r}"
            )
        if size is not None and (type(size) is not int or size < MIN_SPLIT_SIZE_MB):
            raise SettingsError(
                f"allocator max_split_size_mb must be a whole number of MiB of at least {MIN_SPLIT_SIZE_MB}, got {size!r}"
            )
        if threshold is not None and (not isinstance(threshold, float) or not 0.0 < threshold < 1.0):
            raise SettingsError(
                f"allocator garbage_collection_threshold must be between 0 and 1 and neither of them, got {threshold!r}"
            )
        if divisions is not None and (
            type(divisions) is not int or divisions < 1 or divisions.bit_count() != 1
        ):
            raise SettingsError(
                f"allocator roundup_power2_divisions must be a power of two, got {divisions!r}"
            )

    @property
    def max_split_bytes(self) -> int | None:
        """`max_split_size_mb` in bytes."""
        return None if self.max_split_size_mb is None else self.max_split_size_mb * MIB

    def conf(self) -> str:
        """The value of `PYTORCH_ALLOC_CONF` that sets these options; empty if all are PyTorch's defaults."""
        parts = []
        if self.expandable_segments:
            parts.append("expandable_segments:True")
        if self.max_split_size_mb is not None:
            parts.append(f"max_split_size_mb:{self.max_split_size_mb}")
        if self.garbage_collection_threshold is not None:
            parts.append(f"garbage_collection_threshold:{self.garbage_collection_threshold}")
        if self.roundup_power2_divisions is not None:
            parts.append(f"roundup_power2_divisions:{self.roundup_power2_divisions}")
        return ",".join(parts)


DEFAULT_OPTIONS = AllocatorOptions()
