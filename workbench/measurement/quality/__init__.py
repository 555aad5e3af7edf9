"""How much a video differs from another one: from the un-optimised run with the same seed, or, as a set, from real clips.

    compare(candidate, reference)      # every distance of two clips that this machine can compute, and why one is missing
    frechet_miniature(made, real)      # of two sets of clips, on the features of the miniature's classifier

Clips are bytes, [F, H, W, 3]. Nothing is ever downloaded: what needs weights (`lpips`, `fvd`) says where it looked for them.
"""

from workbench.measurement.quality._compare import Quality as Quality
from workbench.measurement.quality._compare import compare as compare
from workbench.measurement.quality._frames import UnavailableError as UnavailableError
from workbench.measurement.quality._frechet import frechet_distance as frechet_distance
from workbench.measurement.quality._frechet import frechet_miniature as frechet_miniature
from workbench.measurement.quality._frechet import fvd as fvd
from workbench.measurement.quality._images import lpips as lpips
from workbench.measurement.quality._images import ms_ssim as ms_ssim
from workbench.measurement.quality._images import psnr as psnr
from workbench.measurement.quality._images import ssim as ssim
from workbench.measurement.quality._temporal import seam as seam
from workbench.measurement.quality._temporal import temporal_error as temporal_error
from workbench.measurement.quality._temporal import variation as variation
from workbench.measurement.quality._vmaf import vmaf as vmaf
