"""From an expected time to the times between which it may lie."""

from __future__ import annotations

from workbench.devices import Device


def band(seconds: float, least: float, device: Device) -> tuple[float, float]:
    """(low, high) seconds.

    On a calibrated device they lie as far apart as its own checks were from their predictions, with the coverage that its `TimeBand`
    states. Without one, the low bound is the data sheet itself and the high one lies as far above the expectation, in ratio, as the
    low one below; no coverage is known of that.

    Args:
        seconds: expected.
        least: what the data sheet allows.
    """
    if device.band is not None:
        return seconds / device.band.ratio, seconds * device.band.ratio
    low = min(least, seconds)
    return low, seconds * seconds / low if low else seconds
