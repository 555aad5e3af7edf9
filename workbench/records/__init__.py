"""Records of runs: what was asked for, predicted and measured, as xarray datasets in NetCDF files. `schema.md` says what each name means.

`build` makes a record of one run from its JSON, `save` and `load` keep it, `merge` makes one dataset of many.
"""

from workbench.records._build import STATUSES as STATUSES
from workbench.records._build import build as build
from workbench.records._build import with_quality as with_quality
from workbench.records._store import load as load
from workbench.records._store import merge as merge
from workbench.records._store import save as save
