"""What settings cost in quality, from records: of the miniature, which ship with the package, and of models that were measured here.

    quality_of(settings, spec, workload)     # -> workbench.cost.Quality: each technique's effect, and all of them together

A record is the distance (mean squared error and SSIM) of runs with one technique from the un-optimised run of the same seed. Settings of
several techniques are predicted from such records alone (`_model.py` says how). What no record covers stays unknown. Needs no torch.
"""

from workbench.quality._known import quality_of as quality_of
from workbench.quality._model import Loss as Loss
from workbench.quality._model import combined as combined
from workbench.quality._model import predicted as predicted
from workbench.quality._parts import Part as Part
from workbench.quality._parts import parts_of as parts_of
from workbench.quality._parts import single_part as single_part
from workbench.quality._records import Curve as Curve
from workbench.quality._records import Point as Point
from workbench.quality._records import QualityRecords as QualityRecords
from workbench.quality._records import Row as Row
from workbench.quality._records import load as load
from workbench.quality._records import save as save
from workbench.quality._records import shipped as shipped
from workbench.quality._records import use as use
from workbench.quality._sensitivity import KindScan as KindScan
from workbench.quality._sensitivity import Sensitivity as Sensitivity
from workbench.quality._sensitivity import pattern_of as pattern_of
from workbench.quality._sensitivity import scan_file as scan_file
from workbench.quality._sensitivity import scans_of as scans_of
