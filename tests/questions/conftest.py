from __future__ import annotations

import pytest

# where tiles, offload and quantisation each make a difference to the tiny model, for all that it is tiny
SIZE = {"model": "tiny", "frames": 33, "height": 256, "width": 256}


@pytest.fixture(scope="session")
def size() -> dict[str, object]:
    """A workload at which the techniques differ."""
    return dict(SIZE)
