"""`show`: a cost or a run as a table, in a notebook and in a terminal. A plan shows itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench._errors import InputError
from workbench.cost import Cost
from workbench.search._render_html import render_report as render_html
from workbench.search._render_text import render_report as render_text
from workbench.search._report import Report, cost_report

if TYPE_CHECKING:
    from workbench.measurement import Measurement


@dataclass(frozen=True, slots=True)
class Shown:
    """A report that a notebook displays as HTML and `print` as text."""

    report: Report

    def __str__(self) -> str:
        return render_text(self.report)

    def __repr__(self) -> str:
        return render_text(self.report)

    def _repr_html_(self) -> str:
        return render_html(self.report)


def show(what: Cost | Measurement) -> Shown:
    """A cost that `estimate` predicted, or a run that was measured.

    Raises:
        InputError: it is something else.
    """
    if isinstance(what, Cost):
        return Shown(cost_report(what))

    from workbench.measurement import Measurement
    from workbench.views._measured import measurement_report

    if isinstance(what, Measurement):
        return Shown(measurement_report(what))
    raise InputError(f"show needs a Cost or a Measurement, got {type(what).__name__}")
