"""Runs what was planned, and measures it: seconds and memory by stage, beside the prediction.

    measure("tiny", [{"vae_tiling": {}}, "wan-12gb.json"], out="measure.nc")

`measure` runs a baseline and candidates, each in a process of its own with warm-up and repetitions, and gives time, memory and quality
with what was predicted beside them; it goes on where an earlier call with the same record was ended. `run_fresh` is its part that runs
one configuration and never raises for what goes wrong in the process; `generate` makes one video with a profile applied; `run_once`
measures one call of a pipeline that is there already.
`sensitivity` finds the layers of a pipeline that mind being quantised.
"""

from workbench.measurement._generate import generate as generate
from workbench.measurement._measure import measure as measure
from workbench.measurement._measurement import Measurement as Measurement
from workbench.measurement._measurement import RunError as RunError
from workbench.measurement._measurement import StageMeasurement as StageMeasurement
from workbench.measurement._measurements import Measurements as Measurements
from workbench.measurement._measurements_report import measurements_report as measurements_report
from workbench.measurement._progress import AbstractProgress as AbstractProgress
from workbench.measurement._progress import NoProgress as NoProgress
from workbench.measurement._progress import RichProgress as RichProgress
from workbench.measurement._run import run_once as run_once
from workbench.measurement._sensitivity import sensitivity as sensitivity
from workbench.measurement._summary import Measured as Measured
from workbench.measurement._tune import tune as tune
from workbench.measurement._tuned import Tried as Tried
from workbench.measurement._tuned import Tuned as Tuned
from workbench.measurement._video import write_mp4 as write_mp4
from workbench.measurement._watch import AbstractWatch as AbstractWatch
from workbench.measurement._watch import LineWatch as LineWatch
from workbench.measurement._watch import LiveWatch as LiveWatch
from workbench.measurement._watch import NoWatch as NoWatch
from workbench.measurement._watch import watch_here as watch_here
from workbench.measurement.fresh import FreshJob as FreshJob
from workbench.measurement.fresh import FreshResult as FreshResult
from workbench.measurement.fresh import run_fresh as run_fresh
