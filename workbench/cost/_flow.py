"""Records, beside what a call allocates and computes, which storages each op reads and writes: what a compiler fuses by.

Only a compiled denoiser needs this, and only once per distinct call, so it is a recorder of its own: the ordinary one pays nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workbench.cost._calls import Call
from workbench.cost._fusion import fused_counts
from workbench.cost._memo import Frame, Memo, run_inline
from workbench.cost._opclass import NOTHING, base_name
from workbench.cost._recorder import Recorder, tensors_among
from workbench.cost._trace import RUN, USE, Op
from workbench.cost.calllog import OpCounts
from workbench.cost.rehearsal import Target, remade

_ROWS = frozenset(
    {
        *("native_layer_norm", "_fused_rms_norm", "mean", "sum", "amax", "amin", "max", "min", "any", "all"),
        *("var", "var_mean", "std", "linalg_vector_norm"),
    }
)
"""Reductions; over rows they are fused with what comes before and after."""
_LONGEST_ROW = 2**14
"""Elements of a row that one block of threads reduces while it holds on to them. Inductor loops over rows above 1024 or so and reads them
again from the cache; over a whole tensor (a group norm, a mean of everything) it needs kernels of their own."""
_MOVES = frozenset(
    {
        "copy_",
        "_to_copy",
        "clone",
        "cat",
        "stack",
        "constant_pad_nd",
        "repeat",
        "roll",
        "flip",
        "index_select",
    }
)
"""Copies, which PyTorch does not tag as element-wise and inductor generates as such."""
_FILLS = frozenset(
    {
        *("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "fill_", "zero_"),
        *("arange", "scalar_tensor"),
    }
)  # fmt: skip
"""What is made from nothing, inside whatever needs it."""


def fused_ops(call: Call, component: nn.Module, target: Target, memo: Memo, *, whole: bool) -> OpCounts:
    """What a call of a component runs when it is compiled, on the component as techniques have left it.

    Args:
        whole: the component is compiled as a whole; otherwise its repeated blocks are, and what is around them runs as it did.
    """
    memo.context = ("flow", target)
    recorder = FlowRecorder(repeated_blocks(component), memo=memo, cudnn=target.kind == "cuda")
    trace = remade(recorder, call, component, target)
    return tuple(fused_counts(trace, whole=whole).items())


def repeated_blocks(component: nn.Module) -> frozenset[int]:
    """Ids of the blocks that repeat: of the classes that diffusers compiles regionally, else what stands in lists of the component."""
    names = getattr(component, "_repeated_blocks", None)
    if names:
        return frozenset(id(module) for module in component.modules() if type(module).__name__ in names)
    lists = [child for child in component.children() if isinstance(child, nn.ModuleList)]
    return frozenset(id(module) for modules in lists for module in modules)


class FlowRecorder(Recorder):
    """A recorder whose traces have a USE after every RUN, and whose only units are repeated blocks: inside one nothing is cut off, so
    that chains of ops through its submodules are seen whole."""

    def __init__(self, blocks: frozenset[int], *, memo: Memo, cudnn: bool) -> None:
        super().__init__(memo=memo, cudnn=cudnn)
        self._blocks = blocks

    def call(self, frame: Frame) -> Any:
        """Only a block's call is a unit, and the component's own."""
        if self.at_top or id(frame.module) in self._blocks:
            return super().call(frame)
        return run_inline(self, frame)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        start = len(self.events)
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if out is not NotImplemented and not self.paused:
            given = tensors_among(args) + tensors_among((kwargs or {}).values())
            self._note_use(func, start, given, tensors_among((out,)), args)
        return out

    def synthesise(
        self, func: Any, inputs: list[Tensor], outputs: tuple[Tensor, ...], args: tuple[Any, ...]
    ) -> None:
        """Records the op, and what it reads and writes."""
        start = len(self.events)
        super().synthesise(func, inputs, outputs, args)
        self._note_use(func, start, inputs, list(outputs), args)

    def _note_use(
        self, func: Any, start: int, inputs: list[Tensor], outputs: list[Tensor], args: tuple[Any, ...]
    ) -> None:
        ran: list[Op] = [event[1] for event in self.events[start:] if event[0] == RUN]
        if len(ran) != 1 or ran[0].kind == "view" or base_name(ran[0]) in NOTHING:
            return
        base = base_name(ran[0])
        read = [] if base in _FILLS else inputs[1:] if base == "copy_" else inputs  # not what is written over
        written = [t for t in outputs if t.numel()]
        reads, writes = tuple(map(self._extent, read)), tuple(map(self._extent, written))
        self.events.append((USE, ran[0], reads, writes, _fuses(func, ran[0], inputs, outputs)))

    def _extent(self, tensor: Tensor) -> tuple[int | None, int, int]:
        """(storage, where in it, bytes of distinct elements); the storage of a weight has no id."""
        distinct = 1
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            distinct *= size if stride else min(size, 1)
        storage = self.ident_of(tensor.untyped_storage()._cdata)
        return storage, tensor.storage_offset(), distinct * tensor.element_size()


def _fuses(func: Any, op: Op, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    """Whether inductor generates the op into a kernel together with its neighbours."""
    if op.kind != "memory":
        return False
    base = base_name(op)
    if base in _ROWS:
        rows = outputs[-1].numel() if base in ("native_layer_norm", "_fused_rms_norm") else outputs[0].numel()
        largest = max((t.numel() for t in inputs), default=0)
        return bool(largest <= _LONGEST_ROW * rows)
    is_pointwise: bool = torch.Tag.pointwise in func.tags
    return is_pointwise or base in _MOVES or base in _FILLS
