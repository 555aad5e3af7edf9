"""What a run costs: rehearse it, trace it, price it. Knows no model and no technique by name.

The pure half (call logs, allocator, residency, time, price) needs no torch; `rehearsal`, `weigh` and the tracer behind them do and are
imported only when something is not yet known.
"""

from workbench._store import Store as Store
from workbench._store import versions as versions
from workbench.cost._cost import Cost as Cost
from workbench.cost._cost import Distance as Distance
from workbench.cost._cost import Quality as Quality
from workbench.cost._cost import QualityEffect as QualityEffect
from workbench.cost.calllog import CallLog as CallLog
from workbench.cost.calllog import CallSummary as CallSummary
from workbench.cost.price import ComputeCache as ComputeCache
from workbench.cost.price import Price as Price
from workbench.cost.price import StageCost as StageCost
from workbench.cost.price import price as price
from workbench.cost.residency import Placement as Placement
from workbench.cost.residency import Residency as Residency
from workbench.cost.residency import Weights as Weights
from workbench.cost.whereabouts import Whereabouts as Whereabouts
