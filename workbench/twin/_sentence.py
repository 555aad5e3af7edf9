"""An exception as one line."""

from __future__ import annotations


def sentence(error: BaseException) -> str:
    """Type and first line of the message, without a full stop."""
    text = str(error).strip()
    first = text.splitlines()[0].rstrip(". ") if text else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
