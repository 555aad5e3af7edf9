"""What acts while a pipeline runs: a window of frames that slides over the latents inside each denoising step."""

from workbench.runtime.temporal_window import TemporalWindow as TemporalWindow
from workbench.runtime.temporal_window import window_starts as window_starts
