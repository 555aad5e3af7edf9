"""Profiles: a chosen configuration with its prediction, saved as JSON and applied to a real pipeline.

`_profile.py` is the value, `_io.py` its file, `_apply.py` what applying one checks before the techniques' own `apply_all` does the work.
"""

from workbench.profiles._profile import Profile as Profile
