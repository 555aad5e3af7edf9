"""A model of PyTorch's CUDA caching allocator: what `torch.cuda.max_memory_reserved` would say.

`Allocator` serves requests under `AllocatorOptions`; `replay` runs a trace through one; `snapshots` replays what a GPU has recorded.
No torch here.
"""

from workbench.cost.allocator._allocator import Allocator as Allocator
from workbench.cost.allocator._blocks import LARGE_SEGMENT_BYTES as LARGE_SEGMENT_BYTES
from workbench.cost.allocator._blocks import MIN_OWN_SEGMENT_BYTES as MIN_OWN_SEGMENT_BYTES
from workbench.cost.allocator._blocks import ROUND_LARGE_BYTES as ROUND_LARGE_BYTES
from workbench.cost.allocator._blocks import SMALL_BYTES as SMALL_BYTES
from workbench.cost.allocator._blocks import SMALL_SEGMENT_BYTES as SMALL_SEGMENT_BYTES
from workbench.cost.allocator._blocks import Block as Block
from workbench.cost.allocator._blocks import OutOfMemory as OutOfMemory
from workbench.cost.allocator._options import DEFAULT_OPTIONS as DEFAULT_OPTIONS
from workbench.cost.allocator._options import ENVIRONMENT_VARIABLE as ENVIRONMENT_VARIABLE
from workbench.cost.allocator._options import AllocatorOptions as AllocatorOptions
from workbench.cost.allocator._replay import given_bytes as given_bytes
from workbench.cost.allocator._replay import needed_reserved as needed_reserved
from workbench.cost.allocator._replay import replay as replay
