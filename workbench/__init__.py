"""Says how a video diffusion model fits a GPU before anything is run, then runs what was planned.

    import workbench as wb
    plan = wb.plan(vram_gb=12)
    plan.best.profile().save("wan-12gb.json")

Every public name is loaded when it is first used: `import workbench` reads neither torch nor diffusers nor
plotly, so that the command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from workbench._version import __version__

if TYPE_CHECKING:  # the same names as in _HOME, for editors and the type checker
    from workbench._estimate import estimate
    from workbench._explain import explain
    from workbench._plan import Plan, plan
    from workbench.calibration import calibrate
    from workbench.cost import Cost
    from workbench.devices import Device
    from workbench.measurement import measure, sensitivity, tune
    from workbench.models import Workload
    from workbench.profiles import Profile
    from workbench.questions import fit
    from workbench.techniques import Settings

__all__ = [
    "Cost",
    "Device",
    "Plan",
    "Profile",
    "Settings",
    "Workload",
    "__version__",
    "calibrate",
    "estimate",
    "explain",
    "fit",
    "measure",
    "plan",
    "sensitivity",
    "tune",
]

# public name -> the module that defines it. No module is called like a public name: a submodule `plan`, once
# imported, would replace the function `workbench.plan`; hence `_plan`.
_HOME = {
    "Cost": "workbench.cost",
    "Device": "workbench.devices",
    "Plan": "workbench._plan",
    "Profile": "workbench.profiles",
    "Settings": "workbench.techniques",
    "Workload": "workbench.models",
    "calibrate": "workbench.calibration",
    "estimate": "workbench._estimate",
    "explain": "workbench._explain",
    "fit": "workbench.questions",
    "measure": "workbench.measurement",
    "plan": "workbench._plan",
    "sensitivity": "workbench.measurement",
    "tune": "workbench.measurement",
}


def __getattr__(name: str) -> Any:
    """Loads a public name at its first use (PEP 562) and keeps it, so that the second use costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(set(__all__) | set(globals()))
