"""Times small pieces of work on a CPU or a GPU: interleaved rounds, so that a disturbance hits all of them alike. Touches the clock."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import torch

_LEAST_S: Final = 2e-3
"""A measurement loops until it lasts this long."""
_MOST_LOOPS: Final = 500
_HELD: Final = 4
"""Results that stay alive, as in a model: memory that was just given back would be handed out again, already in the cache."""


def once(work: Callable[[], object], on_gpu: bool) -> float:
    """Seconds of one call, the queue included."""
    if on_gpu:
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def per_call(work: Callable[[], object], on_gpu: bool, loops: int) -> float:
    """Seconds of one call, by the device's own clock where it is a GPU."""
    if not on_gpu:
        held: deque[object] = deque(maxlen=_HELD)
        begin = time.perf_counter()
        for _ in range(loops):
            held.append(work())
        return (time.perf_counter() - begin) / loops
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(loops):
        work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / loops


def loops_for(seconds: float) -> int:
    """How often to call what takes so long."""
    return max(1, min(_MOST_LOOPS, math.ceil(_LEAST_S / seconds)))


def spread(rounds: Sequence[Sequence[float]]) -> float:
    """How much repetitions of the same measurements differ: median over them of (slowest - fastest) / median.

    Raises:
        ValueError: there is nothing to look at, or no repetition.
    """
    if not rounds or min(map(len, rounds)) < 2:
        raise ValueError("a spread needs measurements that were repeated")
    return median((max(times) - min(times)) / median(times) for times in rounds)
