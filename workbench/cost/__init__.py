"""What a run costs: rehearse it, trace it, price it. Knows no model and no technique by name."""

from workbench.cost.residency import Placement as Placement
from workbench.cost.residency import Residency as Residency
