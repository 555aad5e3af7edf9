"""Profiles: a chosen configuration with its prediction, saved as JSON and applied to a real pipeline.

`_profile.py` is the value, `_io.py` its file, `_shipped.py` those that come with the package, `_apply.py` what applying one checks before
the techniques' own `apply_all` does the work.
"""

from workbench.profiles._profile import Profile as Profile
from workbench.profiles._shipped import ShippedProfiles as ShippedProfiles
from workbench.profiles._shipped import load_shipped as load_shipped
from workbench.profiles._shipped import shipped_models as shipped_models
