"""Runs what was planned, and measures it: seconds and memory by stage, beside the prediction.

`generate` makes a video with a profile applied, `run_once` measures one call of a pipeline that is there already, `sensitivity` finds the
layers that mind being quantised. A fresh process per
run and repetitions are the caller's.
"""

from workbench.measurement._generate import generate as generate
from workbench.measurement._measurement import Measurement as Measurement
from workbench.measurement._measurement import RunError as RunError
from workbench.measurement._measurement import StageMeasurement as StageMeasurement
from workbench.measurement._progress import AbstractProgress as AbstractProgress
from workbench.measurement._progress import NoProgress as NoProgress
from workbench.measurement._progress import RichProgress as RichProgress
from workbench.measurement._run import run_once as run_once
from workbench.measurement._sensitivity import sensitivity as sensitivity
from workbench.measurement._video import write_mp4 as write_mp4
