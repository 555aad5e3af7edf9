"""The miniature: real text-to-video pipelines small enough to run on a laptop's CPU in seconds.

`load_miniature` gives the trained one, which makes the moving shapes of `world`; `load_tiny` one of random weights, made once and kept
in the user's cache; `save_tiny` writes that to a folder like any diffusers pipeline.
"""

from workbench.miniature._trained import is_trained as is_trained
from workbench.miniature._trained import load_classifier as load_classifier
from workbench.miniature._trained import load_miniature as load_miniature
from workbench.miniature.tiny import build_tiny as build_tiny
from workbench.miniature.tiny import load_tiny as load_tiny
from workbench.miniature.tiny import save_tiny as save_tiny
