"""The tiny pipeline, a profile for it, and a machine whose memory the test sets."""

from __future__ import annotations

import pytest

from workbench._estimate import estimate
from workbench.measurement._monitor import AbstractProbe
from workbench.miniature import build_tiny
from workbench.models import Workload
from workbench.profiles import Profile


@pytest.fixture(scope="session")
def pipe():
    return build_tiny()


@pytest.fixture
def kwargs():
    """A call of the tiny pipeline that takes a tenth of a second."""
    size = {"num_frames": 5, "height": 32, "width": 32, "num_inference_steps": 2}
    return {"prompt": "a red fox", "max_sequence_length": 64, "output_type": "pt", **size}


@pytest.fixture(scope="session")
def profile():
    """Techniques of every sort: of weights, of the VAE, of the steps, and one that needs a GPU."""
    settings = {
        "dtype": {"vae": "bf16"},
        "vae_tiling": {},
        "steps": {"count": 3},
        "offload": {"mode": "model"},
    }
    workload = Workload.for_model("tiny", frames=5, height=32, width=32)
    return Profile.of(estimate(workload, settings, "rtx-3060-12gb"), name="small")


class FakeProbe(AbstractProbe):
    """Numbers that the test sets."""

    def __init__(self):
        self.rss = self.allocated = 1
        self.resets = 0

    def sample(self):
        return {"rss_peak_bytes": self.rss}

    def counted(self):
        return {"allocated_peak_bytes": self.allocated}

    def reset(self):
        self.resets += 1
        self.allocated = 0

    def synchronize(self):
        pass


@pytest.fixture
def probe():
    return FakeProbe()
