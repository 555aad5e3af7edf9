"""Questions that people ask of a planner: what fits here, what card is enough, what memory is worth, which of two is better."""

from workbench.questions._fit import Fit as Fit
from workbench.questions._fit import fit as fit
