"""Figures of plans, costs and measurements, and tables of costs and runs for a notebook.

Each figure is `_info(data)`, which is pure, then `_figure(info)`, which only draws. plotly is imported when the first one is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in _HOME, for editors and the type checker
    from workbench.views._alive import plot_alive
    from workbench.views._cards import plot_cards
    from workbench.views._compare import plot_compare
    from workbench.views._fit import plot_fit
    from workbench.views._front import plot_front
    from workbench.views._measurements import plot_measured
    from workbench.views._memory import plot_memory
    from workbench.views._shadow_prices import plot_shadow_prices
    from workbench.views._show import show
    from workbench.views._time import plot_time
    from workbench.views._whereabouts import plot_whereabouts

__all__ = [
    "plot_alive",
    "plot_cards",
    "plot_compare",
    "plot_fit",
    "plot_front",
    "plot_measured",
    "plot_memory",
    "plot_shadow_prices",
    "plot_time",
    "plot_whereabouts",
    "show",
]

_HOME = {
    "plot_alive": "workbench.views._alive",
    "plot_cards": "workbench.views._cards",
    "plot_compare": "workbench.views._compare",
    "plot_fit": "workbench.views._fit",
    "plot_front": "workbench.views._front",
    "plot_measured": "workbench.views._measurements",
    "plot_memory": "workbench.views._memory",
    "plot_shadow_prices": "workbench.views._shadow_prices",
    "plot_time": "workbench.views._time",
    "plot_whereabouts": "workbench.views._whereabouts",
    "show": "workbench.views._show",
}


def __getattr__(name: str) -> Any:
    """Loads a view at its first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The views, loaded or not."""
    return sorted(set(__all__) | set(globals()))
