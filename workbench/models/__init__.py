"""The model catalogue: what each model is built from, what it can make, and the workload to plan for.

`get` and `names` read the catalogue, `resolve_model` also takes a folder, a hub id or a pipeline in memory,
`Workload.for_model` checks a workload against a row. `_build.py` makes the real
pipeline of a row without weights; it imports torch, so it is imported only by what traces or measures.
"""

from workbench.models._catalogue import get as get
from workbench.models._catalogue import names as names
from workbench.models._resolve import resolve_model as resolve_model
from workbench.models._spec import ComponentSpec as ComponentSpec
from workbench.models._spec import Defaults as Defaults
from workbench.models._spec import ModelSpec as ModelSpec
from workbench.models._spec import SchedulerSpec as SchedulerSpec
from workbench.models._workload import DEFAULT_MODEL as DEFAULT_MODEL
from workbench.models._workload import Workload as Workload
