"""Silences log lines that diffusers and transformers print while they are imported, and progress bars of instants.

Each line is about an optional package, and says nothing that a reader of a plan could act on. A filter sits on exactly the
logger that prints the line, drops only records that begin with the given words, and is removed again.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

_LINES = (
    # torchao's wheel carries CUDA kernels for several Pythons and GPUs and tries them all; its Python code works without.
    ("torchao", "Failed to load "),
    # torchao defines an Enum that torch 2.13 knows natively; raised at import by torchao's own code.
    ("torch.utils._pytree", "<enum "),
    # About loading checkpoints that were saved quantised by torchao; the workbench quantises after loading.
    ("diffusers.quantizers.torchao.torchao_quantizer", "Unable to import `torchao` Tensor objects"),
    # bitsandbytes looks for an optional package of CPU kernels; without it, it computes the same with its own.
    ("bitsandbytes.backends.cpu.ops", "Failed to load CPU gemm_4bit_forward"),
    # The image-to-video pipeline names CLIPImageProcessor; without torchvision the PIL one is taken, as intended.
    ("transformers.utils.import_utils", "`CLIPImageProcessor` requires torchvision"),
    ("transformers.utils.import_utils", "`SiglipImageProcessor` requires torchvision"),
    # Whenever a guider is made: its API may change.
    ("diffusers.guiders.guider_utils", "Guiders are currently an experimental feature"),
)


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Drops the log lines of imports inside the block, and lets functions that are compiled on import wait for their first call.

    bitsandbytes decorates four functions with `torch.compile`; that alone imports the compiler, a second before anything is planned.
    """
    torch = sys.modules.get("torch")
    with ExitStack() as stack:
        stack.enter_context(without_lines(*_LINES))
        if torch is not None and "bitsandbytes" not in sys.modules:
            stack.enter_context(patch.object(torch, "compile", _compiled_when_called(torch.compile)))
        yield


def _compiled_when_called(compile_now: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.compile` that imports the compiler only when a compiled function is called."""

    def compile_later(function: Callable[..., Any] | None = None, **options: Any) -> Any:
        if function is None:
            return functools.partial(compile_later, **options)
        compiled = functools.cache(lambda: compile_now(function, **options))
        return functools.wraps(function)(lambda *args, **kwargs: compiled()(*args, **kwargs))

    return compile_later


@contextmanager
def without_lines(*lines: tuple[str, str]) -> Iterator[None]:
    """Drops log lines inside the block: (name of the logger, how the line begins)."""
    filters = [(logging.getLogger(name), _prefix_filter(prefix)) for name, prefix in lines]
    for logger, drop in filters:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger, drop in filters:
            logger.removeFilter(drop)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """No loading and saving bars of diffusers and transformers inside the block, for work that takes a moment."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    enabled = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
    for log in enabled:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in enabled:
            log.enable_progress_bar()


def _prefix_filter(prefix: str) -> Callable[[logging.LogRecord], bool]:
    return lambda record: not record.getMessage().startswith(prefix)
