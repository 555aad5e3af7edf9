"""The miniature: a real text-to-video pipeline small enough to run on a laptop's CPU in seconds.

`load_tiny` gives it, made once and kept in the user's cache; `save_tiny` writes it to a folder like any diffusers pipeline.
"""

from workbench.miniature.tiny import build_tiny as build_tiny
from workbench.miniature.tiny import load_tiny as load_tiny
from workbench.miniature.tiny import save_tiny as save_tiny
