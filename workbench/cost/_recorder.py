"""Records what a run allocates, frees and computes, as a `Trace`.

The recorder watches every op below autograd (a torch dispatch mode), every storage's birth and death (weak references), and the calls
of modules. On meta tensors nothing is computed, so a forward of a 14-billion-parameter model is recorded in a second; a call that was
seen before is not run again but replayed: its trace is entered and meta tensors like its results are handed out.

The same recorder watches a real run on the CPU (`hollow=False`): what it records there must equal, byte for byte at every op, what it
recorded on meta tensors. That is the test that keeps the prediction honest.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from workbench._errors import RehearsalError
from workbench.cost._answers import question, remember_answer
from workbench.cost._kernels import describe
from workbench.cost._layouts import as_on_a_device
from workbench.cost._looks import found
from workbench.cost._memo import Frame, Memo, run_inline
from workbench.cost._trace import ALLOC, FREE, RUN, Op, Trace
from workbench.cost._values import mark, positions, value_of_result

_READS_DATA = frozenset(
    {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::equal", "aten::item"}
)
_LIFT = torch.ops.aten.lift_fresh.default
"""How `torch.tensor(...)` shows itself, on some devices only: it makes its tensor unseen and lifts it, which launches nothing."""
_HOLLOW_NUMEL = 2**14
"""A tensor with more elements than this lives on the meta device; timesteps, token ids and their masks stay real."""
_NUMBERS, _TABLE = 8, 1024
"""An op that makes so few elements, of tensors that have no more than so many, is arithmetic with numbers and is not recorded.
Schedulers do dozens of them per step with noise levels, which diffusers keeps on the CPU (`self.sigmas.to("cpu")`)."""


class Recorder(TorchDispatchMode):
    """Use as a context manager around the run; then `trace(name)`.

    Args:
        hollow: large tensors that the run makes live on the meta device, and CPU tensors that meet meta tensors become meta.
        memo: remembered calls; None records every call in full.
        cudnn: whether convolutions take cuDNN's scratch memory.
    """

    def __init__(self, *, hollow: bool = True, memo: Memo | None = None, cudnn: bool = False) -> None:
        super().__init__()
        self.cudnn = cudnn
        self.hollow = hollow
        self.memo = memo
        self.events: list[tuple[Any, ...]] = []
        self.path = ""
        self.paused = False
        self.calls: dict[int, Any] = {}  # id of the trace of each distinct component call -> the call
        self.casts: dict[str, torch.dtype] = {}  # component -> the dtype that the pipeline has cast it to
        self._depth = 0
        self._idents: dict[int, int] = {}  # storage key -> id of a live storage
        self._alive: dict[
            int, weakref.ref[Any]
        ] = {}  # storage key -> weak reference, kept so that its callback fires
        self._next_ident = 0
        self._ops: dict[Any, Op] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled under a recorder, so PyTorch need not guard every op against it."""
        return False

    # --- dispatch ---------------------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        for kind in types:
            if kind is not Tensor and kind is not nn.Parameter:
                return NotImplemented  # a quantised weight: let it spell its op out, we see what it calls
        if func is _LIFT:
            lifted: Tensor = func(*args, **kwargs)
            self._adopt(lifted, set())
            return lifted
        if self.hollow and func.is_view:
            return self._view(func, args, kwargs)
        inputs = tensors_among(args) + tensors_among(kwargs.values()) if kwargs else tensors_among(args)
        if inputs and not kwargs and _are_numbers(inputs):
            out = func(*args)
            if isinstance(out, Tensor) and out.numel() <= _NUMBERS:
                return out  # what `_note` would find, sooner
        if self.hollow:
            shortcut = self._hollow_call(func, inputs, args, kwargs)
            if shortcut is not None:
                return shortcut
            if any(t.is_meta for t in inputs):
                return self._meta_call(func, inputs, args, kwargs)
        out = func(*args, **kwargs)
        if self.hollow:
            out = _without_data(out, inputs)
        self._note(func, inputs, out, args)
        return out

    def _view(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A view of a tensor makes and moves nothing: half of all ops, and some models take one per row."""
        out = func(*args, **kwargs)
        if args[0].numel() <= _TABLE and _largest(tensors_among((out,))) <= _NUMBERS:
            return out
        key = (func, args[0].dtype)
        op = self._ops.get(key)
        if op is None:
            op = self._ops[key] = describe(func, [args[0]], [], args, cudnn=self.cudnn)
        self.events.append((RUN, op, self.path))
        return out

    def _meta_call(
        self, func: Any, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Runs an op on meta tensors; one that was seen with the same layouts is answered without running it again."""
        if func is torch.ops.aten.index.Tensor:
            args = (args[0], positions(args[1]))
        value = value_of_result(func, args)
        if value is not None:
            made = func(*_all_meta(args), **{k: _all_meta(v) for k, v in kwargs.items()})
            return self._told(func, inputs, made, args, value)
        answers = self.memo.answers if self.memo is not None else None
        key = question(func, args, kwargs) if answers is not None else None
        known = answers.get(key) if answers is not None and key is not None else None
        if known is not None:
            op, layouts, single = known
            outs = [
                torch.empty_strided(shape, stride, dtype=dtype, device="meta")
                for shape, stride, dtype in layouts
            ]
            for tensor in outs:
                self._adopt(tensor, set())
            self.events.append((RUN, op, self.path))
            return outs[0] if single else tuple(outs)
        given = _all_meta(args)
        out = func(*given, **{k: _all_meta(v) for k, v in kwargs.items()})
        out = as_on_a_device(func, given, out)
        if given and out is given[0] and isinstance(out, Tensor):
            out = args[0]  # in place: what was written to is the tensor itself, not its likeness without data
        op = self._note(func, inputs, out, args)
        if answers is not None and key is not None and op is not None:
            remember_answer(answers, key, op, inputs, out)
        return out

    def _told(
        self, func: Any, inputs: list[Tensor], out: Tensor, args: tuple[Any, ...], value: Any
    ) -> Tensor:
        """A result of which something is known: with its value, if it is small, else with a note of it."""
        if isinstance(value, (bool, int, float)) and out.numel() <= _HOLLOW_NUMEL:
            out = torch.full(out.shape, value, dtype=out.dtype)
        else:
            mark(out, value)
        self._note(func, inputs, out, args)
        return out

    def _hollow_call(
        self, func: Any, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What differs when most tensors have no data: moves between devices, factories, and looks at values.

        Size decides, not the device that the pipeline asks for: small tensors live on the CPU and keep their values (timesteps,
        masks, token ids), large ones on the meta device. A move between the two is no move, as on a machine with one device.
        """
        name = func._schema.name
        on_meta = any(t.is_meta for t in inputs)
        if on_meta and name in _READS_DATA:
            if name == "aten::_local_scalar_dense" and (value := found()) is not None:
                self._note(func, inputs, value, args)
                return value
            raise RehearsalError(
                f"the pipeline looks at values of a computed tensor ({func}), which a run without weights has not"
            )
        if kwargs.get("device") is None:
            return None
        if name == "aten::_to_copy":
            dtype = kwargs.get("dtype")
            if (dtype is None or dtype == args[0].dtype) and kwargs.get("memory_format") is None:
                return args[0]
            return self._rerun(func, inputs, args, {**kwargs, "device": args[0].device})
        if not inputs:
            large = _numel(args) > _HOLLOW_NUMEL
            return self._rerun(
                func, inputs, args, _without_generator(kwargs, large) | {"device": "meta" if large else "cpu"}
            )
        return self._rerun(func, inputs, args, kwargs | {"device": args[0].device}) if on_meta else None

    def _rerun(self, func: Any, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "pin_memory" in kwargs:
            kwargs = {**kwargs, "pin_memory": False}
        out = func(*args, **kwargs)
        if not inputs and out.is_meta:
            mark(out, value_of_result(func, args))
        self._note(func, inputs, out, args)
        return out

    def synthesise(
        self, func: Any, inputs: list[Tensor], outputs: tuple[Tensor, ...], args: tuple[Any, ...]
    ) -> None:
        """Records an op that the target has and the meta device has not, with outputs made while paused."""
        self._note(func, inputs, outputs, args)

    # --- storages ---------------------------------------------------------------------------------------------------

    def _note(self, func: Any, inputs: list[Tensor], out: Any, args: tuple[Any, ...]) -> Op | None:
        """Records an op that has run, and the storages it made; None if it is arithmetic with numbers."""
        outputs = tensors_among((out,))
        if _largest(outputs) <= _NUMBERS and _largest(inputs) <= _TABLE:
            return None
        known = {t.untyped_storage()._cdata for t in inputs}
        for tensor in outputs:
            self._adopt(tensor, known)
        key = (
            func,
            *((t.shape, t.stride(), t.dtype) for t in inputs),
            *((t.shape, t.dtype) for t in outputs),
        )
        op = self._ops.get(key)
        if op is None:
            op = self._ops[key] = describe(func, inputs, outputs, args, cudnn=self.cudnn)
        self.events.append((RUN, op, self.path))
        return op

    def _adopt(self, tensor: Tensor, known: set[int]) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._idents or key in known:
            return
        num_bytes = storage.nbytes()
        if num_bytes:
            self.events.append((ALLOC, self.own(storage), num_bytes))

    def own(self, storage: torch.UntypedStorage) -> int:
        """Gives a storage an id and watches for its death."""
        key, ident = storage._cdata, self._next_ident
        self._next_ident += 1
        self._idents[key] = ident
        self._alive[key] = weakref.ref(storage, functools.partial(self._died, key))
        return ident

    def _died(self, key: int, _: Any) -> None:
        ident = self._idents.pop(key, None)
        self._alive.pop(key, None)
        if ident is not None:
            self.events.append((FREE, ident))

    def forget(self, key: int) -> None:
        """A replayed trace has freed this storage: its death, when the last reference goes, is not another event."""
        self._idents.pop(key, None)

    def ident_of(self, key: int) -> int | None:
        """The id of a live storage that this recorder saw allocated, else None (weights, tensors from before)."""
        return self._idents.get(key)

    # --- calls ------------------------------------------------------------------------------------------------------

    def call(self, frame: Frame) -> Any:
        """Makes a call that is a unit of its own: replayed if the memo knows it, recorded if it is new."""
        if self.memo is None:
            return run_inline(self, frame)
        self._depth += 1
        try:
            return self.memo.call(self, frame)
        finally:
            self._depth -= 1

    @property
    def at_top(self) -> bool:
        """Whether the call being made is the pipeline's own, not a module's."""
        return self._depth == 0

    @property
    def at_component(self) -> bool:
        """Whether the call being made is of a whole component, by the pipeline."""
        return self._depth == 1

    def adopt_all(self, *values: Any) -> None:
        """Counts tensors that existed before as allocated here (the arguments of a call that is made again)."""
        for value in values:
            if isinstance(value, Tensor):
                self._adopt(value, set())
            elif isinstance(value, dict):
                self.adopt_all(*value.values())
            elif isinstance(value, (list, tuple)):
                self.adopt_all(*value)

    def cast(self, component: nn.Module, name: str, dtype: torch.dtype | None, num_bytes: int) -> None:
        """The pipeline has cast a component to another dtype, in which its weights take `num_bytes` more (or less)."""
        if dtype is not None:
            self.casts[name] = dtype
        if self.memo is not None:
            self.memo.forget(component)
        if num_bytes:
            self.events.append((ALLOC, self._next_ident, num_bytes))
            self._next_ident += 1

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        """Ops run in here are not recorded."""
        paused, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = paused

    def trace(self, name: str) -> Trace:
        """All that was recorded so far as one trace."""
        return Trace(name, list(self.events))


def _are_numbers(tensors: list[Tensor]) -> bool:
    for tensor in tensors:  # noqa: SIM110 - a generator costs more than what it looks at
        if tensor.is_meta or tensor.numel() > _NUMBERS:
            return False
    return True


def _largest(tensors: list[Tensor]) -> int:
    return max((t.numel() for t in tensors), default=0)


def _without_data(out: Any, inputs: list[Tensor]) -> Any:
    """Small tensors can make a large one (a table of distances); from there on it is shapes only."""
    if not isinstance(out, Tensor) or out.is_meta or out.numel() <= _HOLLOW_NUMEL:
        return out
    storage = out.untyped_storage()
    if storage.nbytes() <= _HOLLOW_NUMEL * out.element_size() or any(
        t.untyped_storage()._cdata == storage._cdata for t in inputs
    ):
        return out
    return torch.empty_strided(out.shape, out.stride(), dtype=out.dtype, device="meta")


def _without_generator(kwargs: dict[str, Any], large: bool) -> dict[str, Any]:
    """A meta tensor is not drawn, and the meta device has no generator."""
    return {**kwargs, "generator": None} if large and "generator" in kwargs else kwargs


def tensors_among(values: Any) -> list[Tensor]:
    """Every tensor among values, one level of lists deep (no ATen op nests deeper)."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(item for item in value if isinstance(item, Tensor))
    return found


def _all_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (
            value
            if value.is_meta
            else torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        )
    if isinstance(value, (list, tuple)):
        return type(value)(_all_meta(item) for item in value)
    return torch.device("meta") if isinstance(value, torch.device) else value


def _numel(args: tuple[Any, ...]) -> int:
    """Elements of the tensor a factory is asked for, from its size argument."""
    size = args[0] if args else ()
    if not isinstance(size, (list, tuple)):
        return int(size) if isinstance(size, int) else 0
    numel = 1
    for extent in size:
        numel *= int(extent)
    return numel
