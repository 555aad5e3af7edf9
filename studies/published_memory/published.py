"""What a row states: a figure in GiB, and what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

METRICS = ("allocated", "reserved", "device", "unstated")
"""`torch.cuda.max_memory_allocated`, `max_memory_reserved`, what the driver shows (nvidia-smi), or a source that does not say."""


class Unexpressed(Exception):
    """A row that is left out; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure: between `low` and `high` GiB (equal for a plain number, one of them None for "<4" and "> 80").

    A unit is read as GiB, also where it says GB: `torch.cuda` and `nvidia-smi` count so, and sources print what these say.
    """

    metric: str
    low: float | None
    high: float | None

    @property
    def value(self) -> float | None:
        """The figure, or the middle of a range; None for a bound."""
        return None if self.low is None or self.high is None else (self.low + self.high) / 2


def metric_of(words: str) -> str:
    """What the column `metric` says was measured; where it names two, the first."""
    text = words.lower()
    found = [(text.find(name), name) for name in ("alloc", "reserved") if name in text]
    if found and "model=allocated" not in text:
        return {"alloc": "allocated", "reserved": "reserved"}[min(found)[1]]
    if "reserved" in text:
        return "reserved"
    return "device" if "nvidia-smi" in text else "unstated"


def number(text: str) -> tuple[float | None, float | None]:
    """(low, high) of a cell.

    Raises:
        Unexpressed: two figures, a difference or words.
    """
    text = text.strip()
    plain = re.sub(r"^[~≈]", "", text)
    if match := re.fullmatch(r"([\d,.]+)\s*M", plain):
        mib = float(match[1].replace(",", ""))
        return mib / 1024, mib / 1024
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        return float(plain), float(plain)
    if match := re.fullmatch(r"([<>])\s*(\d+(?:\.\d+)?)", plain):
        bound = float(match[2])
        return (None, bound) if match[1] == "<" else (bound, None)
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)–(\d+(?:\.\d+)?)", plain):
        return float(match[1]), float(match[2])
    if match := re.fullmatch(r"\d+(?:\.\d+)?→(\d+(?:\.\d+)?)", plain):  # after loading → while it runs
        return float(match[1]), float(match[1])
    raise Unexpressed(f"{text!r} is not the figure of one run")


def read(row: Mapping[str, str]) -> Published | None:
    """The figure of a row; None where the run ended for lack of memory.

    Raises:
        Unexpressed: there is none to read.
    """
    if row["mem_GB"] == "OOM":
        return None
    low, high = number(row["mem_GB"])
    return Published(metric=metric_of(row["metric"]), low=low, high=high)


def resident(row: Mapping[str, str]) -> float | None:
    """GiB that were allocated before the run, where the row says so and nothing is offloaded."""
    found = re.search(r"\b(?:resident|model|before)=(\d+(?:\.\d+)?)", row["mem_other"])
    return float(found[1]) if found and row["offload"] == "none" else None
