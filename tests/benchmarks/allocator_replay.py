"""Times the allocator's replay of 6,000 requests and frees: `python tests/benchmarks/allocator_replay.py`. Fails at 0.2 s of CPU time.

A command and no test, because what a shared machine takes says little. The events are drawn: sizes of 256 B to 256 MiB, evenly over their
logarithm, held for as long as chance has it, about 150 at once; none repeats, so nothing of the trace is skipped.
"""

from __future__ import annotations

import random
import sys
import time

from workbench.cost._trace import ALLOC, FREE, Trace
from workbench.cost.allocator import Allocator, AllocatorOptions, replay

NUM_EVENTS = 6000
LIMIT_S = 0.2
OPTIONS = (
    AllocatorOptions(),
    AllocatorOptions(expandable_segments=True),
    AllocatorOptions(max_split_size_mb=128),
)


def drawn(seed: int) -> Trace:
    """A trace of allocations and frees."""
    dice = random.Random(seed)
    events: list[tuple[int, ...]] = []
    held: list[int] = []
    for ident in range(NUM_EVENTS):
        if held and dice.random() < 0.49:
            events.append((FREE, held.pop(dice.randrange(len(held)))))
        else:
            events.append((ALLOC, ident, round(2 ** dice.uniform(8, 28))))
            held.append(ident)
    return Trace("drawn", events)


def main() -> int:
    """Prints one line per set of options; 1 if one takes too long."""
    trace, is_slow = drawn(0), False
    for options in OPTIONS:
        start = time.process_time()
        reserved = replay(trace, Allocator(options=options)).peak_reserved
        seconds = time.process_time() - start
        is_slow |= seconds >= LIMIT_S
        print(
            f"{options.conf() or 'defaults'}: {NUM_EVENTS} events in {seconds:.3f} s, {reserved / 2**30:.2f} GiB"
        )
    return int(is_slow)


if __name__ == "__main__":
    sys.exit(main())
