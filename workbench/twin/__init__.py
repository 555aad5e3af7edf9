"""The tiny twin of any model, and what techniques are seen to do to it. Imports torch and diffusers.

`twin_of` finds a configuration of the same classes that runs on a CPU in a moment: no table of models, a search that the pipeline itself
judges. `Bench` applies techniques to a twin and looks whether they act, so that what `applies_to` promises is verified and not assumed.
"""

from workbench.twin._finding import Finding as Finding
from workbench.twin._twin import Twin as Twin
from workbench.twin._twin import twin_of as twin_of
from workbench.twin.effect import Bench as Bench
