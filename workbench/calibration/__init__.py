"""Measures what this machine's GPU or CPU reaches, so that times are predictions of this machine and not of a data sheet."""

from workbench.calibration._calibrate import NOISY as NOISY
from workbench.calibration._calibrate import calibrate as calibrate
from workbench.calibration._fit import Sample as Sample
from workbench.calibration._fit import fitted as fitted
from workbench.calibration._refine import Refinement as Refinement
from workbench.calibration._refine import refine as refine
