"""Marks networks to be compiled, and takes the mark off again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench._errors import SettingsError

_MARK = "_compiled_call_impl"
"""Attribute in which `nn.Module.compile` keeps the compiled call."""


def why_not(network: Any) -> str | None:
    """Why nothing can be compiled for the device of a network; None if it can."""
    device = next((parameter.device.type for parameter in network.parameters()), "cpu")
    if device == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            return "PyTorch's compiler needs a C++ compiler for the CPU, and finds none on this machine"
        return None
    from torch.utils._triton import has_triton

    return (
        None
        if has_triton()
        else "PyTorch's compiler needs Triton, which is not installed or has no such device"
    )


def compiled(network: Any, *, regional: bool, **options: Any) -> tuple[str, Callable[[], None]]:
    """Marks a network; what is compiled is compiled at its first call.

    Args:
        regional: mark the blocks that repeat, not the network itself.
        options: of `torch.compile`.

    Returns:
        What was marked, for a report, and a function that undoes it. Kernels that were made stay in PyTorch's caches.

    Raises:
        SettingsError: the network names no repeated blocks, or is compiled already.
    """
    parts = [network]
    if regional:
        names = getattr(network, "_repeated_blocks", None) or ()
        parts = [part for part in network.modules() if type(part).__name__ in names]
        if not parts:
            raise SettingsError(
                f"compile of {type(network).__name__}: it has no repeated blocks; regional false compiles it as a whole"
            )
    if any(vars(part).get(_MARK) is not None for part in parts):
        raise SettingsError(f"compile of {type(network).__name__}: it is compiled already")
    if regional:
        network.compile_repeated_blocks(**options)
    else:
        network.compile(**options)

    def undo() -> None:
        for part in parts:
            vars(part).pop(_MARK, None)

    return (f"{len(parts)} repeated blocks are compiled" if regional else "all of it is compiled"), undo
