"""Silences log lines that diffusers and transformers print while they are imported, and progress bars of instants.

Each line is about an optional package, and says nothing that a reader of a plan could act on. A filter sits on exactly the
logger that prints the line, drops only records that begin with the given words, and is removed again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

_LINES = (
    # torchao's wheel carries CUDA kernels for several Pythons and GPUs and tries them all; its Python code works without.
    ("torchao", "Failed to load "),
    # torchao defines an Enum that torch 2.13 knows natively; raised at import by torchao's own code.
    ("torch.utils._pytree", "<enum "),
    # About loading checkpoints that were saved quantised by torchao; the workbench quantises after loading.
    ("diffusers.quantizers.torchao.torchao_quantizer", "Unable to import `torchao` Tensor objects"),
    # The image-to-video pipeline names CLIPImageProcessor; without torchvision the PIL one is taken, as intended.
    ("transformers.utils.import_utils", "`CLIPImageProcessor` requires torchvision"),
)


def quiet_imports() -> AbstractContextManager[None]:
    """Drops the log lines of imports inside the block."""
    return without_lines(*_LINES)


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
