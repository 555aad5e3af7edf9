"""Units, in one place: every byte count in the package is an `int` of bytes, every GiB is 2**30 bytes.

`vram_gb=12` means a card sold as 12 GB, that is 12 GiB in total: vendors' "12 GB" cards carry 12 * 2**30 bytes.
"""

from __future__ import annotations

KIB = 2**10
MIB = 2**20
GIB = 2**30


def gib(num_bytes: float) -> float:
    """Bytes as GiB (2**30 bytes)."""
    return num_bytes / GIB


def from_gib(value_gib: float) -> int:
    """GiB (2**30 bytes) as a whole number of bytes."""
    return round(value_gib * GIB)


def format_gib(num_bytes: float) -> str:
    """Bytes as text for a table, `"10.93 GiB"`; small amounts as MiB so that they do not read as zero."""
    if abs(num_bytes) < 0.01 * GIB and num_bytes:
        return f"{num_bytes / MIB:.1f} MiB"
    return f"{num_bytes / GIB:.2f} GiB"


def format_seconds(seconds: float) -> str:
    """Seconds as a person says them: `"0.8 s"`, `"42 s"`, `"6 min 05 s"`, `"1 h 12 min"`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
