"""How a row of the catalogue becomes a `Device`: units, per-architecture assumptions, one source per number."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from workbench._units import GIB, MIB
from workbench.devices._assumptions import CONTEXTS, DISPLAY, HEADLESS, Link, efficiencies, tables
from workbench.devices._device import Device
from workbench.devices._rents import RENTS

TERA = 1e12
GIGA = 1e9


def card(
    *,
    name: str,
    title: str,
    architecture: str,
    capability: tuple[int, int],
    memory_gib: int,
    visible_mib: int,
    visible_source: str,
    bandwidth_gb_s: float,
    tera_ops: Mapping[str, float],
    source: str,
    link: Link,
    profile: str | None = None,
    desktop: tuple[int, str] = HEADLESS,
) -> Device:
    """A GPU of the catalogue.

    Args:
        memory_gib: memory as sold.
        visible_mib: what CUDA reports as the card's total memory on Linux, before any context.
        visible_source: where that was seen.
        bandwidth_gb_s: 1e9 bytes per second.
        tera_ops: 1e12 dense operations per second by dtype.
        source: document behind memory size, bandwidth, rates and link, and how the rates were derived.
        profile: key of the efficiencies where it is not the architecture.
        desktop: bytes that the desktop holds, and where that is from.
    """
    memory_bytes = memory_gib * GIB
    unavailable_bytes = memory_bytes - visible_mib * MIB
    context_bytes, context_source = CONTEXTS[architecture]
    fractions = efficiencies(profile or architecture, link)
    dense_flops = {dtype: value * TERA for dtype, value in tera_ops.items()}
    by_shape = tables(profile or architecture, capability, dense_flops, bandwidth_gb_s * GIGA)
    unavailable_source = (
        f"{memory_gib} GiB as sold minus the {visible_mib} MiB that CUDA reports: {visible_source}"
    )
    rent, rent_source = RENTS.get(name, (None, ""))
    return Device(
        name=name,
        title=title,
        architecture=architecture,
        compute_capability=capability,
        memory_bytes=memory_bytes,
        bandwidth_bytes_per_s=bandwidth_gb_s * GIGA,
        dense_flops=dense_flops,
        link_bytes_per_s=link.bytes_per_s,
        link_label=link.label,
        context_bytes=context_bytes + unavailable_bytes,
        unavailable_bytes=unavailable_bytes,
        desktop_bytes=desktop[0],
        efficiencies={key: value for key, (value, _) in fractions.items()},
        tables={key: table for key, (table, _) in by_shape.items()},
        rent_usd_per_hour=rent,
        sources={
            "compute_capability": "developer.nvidia.com/cuda-gpus",
            "memory_bytes": f"{source}; a card sold as {memory_gib} GB counts as {memory_gib} GiB",
            "bandwidth_bytes_per_s": source,
            **{f"dense_flops.{dtype}": source for dtype in tera_ops},
            "link_bytes_per_s": f"{source}; lanes x transfer rate x 128/130 / 8 bits",
            "context_bytes": f"{context_source}; plus unavailable_bytes",
            "unavailable_bytes": unavailable_source,
            "desktop_bytes": desktop[1],
            **{f"efficiencies.{key}": text for key, (_, text) in fractions.items()},
            **{f"tables.{key}": text for key, (_, text) in by_shape.items()},
            **({"rent_usd_per_hour": rent_source} if rent is not None else {}),
        },
    )


card_with_display = functools.partial(card, desktop=DISPLAY)
"""A card that people put a screen on."""
