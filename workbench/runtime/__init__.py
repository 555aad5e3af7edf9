"""What acts while a pipeline runs: a window of frames that slides over the latents, and how many calls guidance takes."""

from workbench.runtime.guidance import JoinedGuidance as JoinedGuidance
from workbench.runtime.guidance import SplitGuidance as SplitGuidance
from workbench.runtime.temporal_window import TemporalWindow as TemporalWindow
from workbench.runtime.temporal_window import window_starts as window_starts
