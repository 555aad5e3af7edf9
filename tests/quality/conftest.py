"""Records of two clips in round numbers, for a model that nothing was measured of."""

from __future__ import annotations

import pytest

from workbench.quality import Part, QualityRecords, Row


def row(part: Part, mse: float) -> Row:
    """Two clips, the second twice as far off, and SSIM in proportion."""
    return Row(part=part, mse=(mse, 2 * mse), dssim=(10 * mse, 20 * mse))


@pytest.fixture
def records() -> QualityRecords:
    """Steps at two places of a curve of 50, int8 and nf4 denoisers, chunks with and without overlap."""
    rows = [
        row(Part("steps", 1.0, 50.0), 1e-3),
        row(Part("steps", 4.0, 50.0), 16e-3),
        row(Part("steps", 1.0, 25.0), 2e-3),
        row(Part("quantization denoiser int8wo insensitive"), 1e-4),
        row(Part("quantization denoiser nf4 insensitive"), 1e-3),
        row(Part("temporal_chunks", 1.0, 0.0), 4e-3),
        row(Part("temporal_chunks", 1.0, 0.25), 1e-3),
        row(Part('cache pab {"timesteps": [100, 800]}', 1.0), 0.0),
    ]
    return QualityRecords.of(
        rows,
        provenance="measured on the miniature",
        source="two clips",
        scenes=("a", "b"),
        unrelated_mse=(0.1, 0.1),
        unrelated_dssim=(0.8, 0.8),
        about={"created_at": "2026-01-01T00:00:00+00:00"},
    )
