"""Known answers of the quality metrics (equal clips, known noise, shuffled frames, a seam), and what is said where one cannot be had."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from workbench._errors import InputError
from workbench.measurement import quality
from workbench.miniature import world


@pytest.fixture(scope="module")
def clip():
    scene = next(s for s in (world.scene("test", number) for number in range(100)) if s.kind == "fast")
    return world.draw(scene)


def noisy(clip, deviation, seed=0):
    noise = np.random.default_rng(seed).normal(0, deviation, clip.shape)
    return np.clip(np.rint(clip + noise), 0, 255).astype(np.uint8)


@pytest.fixture
def gray():
    """Far enough from black and white that noise is not cut off."""
    return np.full((9, 64, 64, 3), 128, np.uint8)


def test_equal_clips(clip):
    found = quality.compare(clip, clip.copy())
    assert found.psnr_db == math.inf
    assert found.ssim == pytest.approx(1, abs=1e-6) and found.ms_ssim == pytest.approx(1, abs=1e-6)
    assert found.ms_ssim_scales == 3
    assert found.vmaf is not None and found.vmaf > 90
    assert (found.variation_difference, found.temporal_error, found.seam) == (0, 0, 0)
    assert json.loads(json.dumps(found.to_json()))["psnr_db"] == "inf"


def test_noise_of_known_strength_has_the_psnr_that_follows(gray):
    # rounding to bytes adds a twelfth to the variance
    for deviation in (4, 16):
        expected = 10 * math.log10(255**2 / (deviation**2 + 1 / 12))
        assert quality.psnr(noisy(gray, deviation), gray) == pytest.approx(expected, abs=0.05)


def test_a_constant_shift_has_the_psnr_that_follows_and_no_temporal_error(gray):
    assert quality.psnr(gray + 10, gray) == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)
    assert quality.temporal_error(gray + 10, gray) == 0


def test_ssim_of_a_constant_shift_is_its_luminance_term(gray):
    # without structure only (2ab + c) / (a^2 + b^2 + c) is left, c = (0.01 * 1)^2
    a, b, c = 128 / 255, 168 / 255, 1e-4
    assert quality.ssim(gray + 40, gray) == pytest.approx((2 * a * b + c) / (a * a + b * b + c), abs=5e-4)


def test_more_noise_is_worse_by_every_figure(clip):
    little, much = (quality.compare(noisy(clip, deviation), clip) for deviation in (4, 24))
    for better in ("psnr_db", "ssim", "ms_ssim", "vmaf"):
        assert getattr(little, better) > getattr(much, better)
    assert 0 < little.temporal_error < much.temporal_error
    assert 0 < little.variation_difference < much.variation_difference


def test_shuffled_frames_are_seen_between_frames(clip):
    shuffled = clip[np.random.default_rng(0).permutation(len(clip))]
    found = quality.compare(shuffled, clip, with_vmaf=False)
    noise = quality.compare(noisy(clip, 2), clip, with_vmaf=False)
    assert found.variation_difference > 0.3 * quality.variation(clip).mean()
    assert found.temporal_error > quality.variation(clip).mean()
    assert found.seam > 2 * abs(noise.seam)
    assert any("not asked for" in reason for reason in found.absent) and found.vmaf is None


def test_a_seam_is_found_where_it_is(clip):
    broken = clip.copy()
    broken[8:] = np.clip(broken[8:].astype(int) + 30, 0, 255).astype(np.uint8)
    excess, frame = quality.seam(broken, clip)
    assert frame == 8 and excess == pytest.approx(30 / 255, rel=0.1)
    assert quality.seam(clip, clip)[0] == 0


def test_variation_of_a_still_clip_and_of_a_known_change(gray):
    assert not quality.variation(gray).any()
    gray[5:] += 51
    assert quality.variation(gray).tolist() == pytest.approx([0, 0, 0, 0, 0.2, 0, 0, 0], abs=1e-7)


def test_ms_ssim_says_how_many_scales_fit():
    from workbench.measurement.quality._images import ms_ssim_scales

    assert [ms_ssim_scales(size, 400) for size in (21, 22, 64, 175, 176)] == [1, 2, 3, 4, 5]
    small = np.zeros((2, 16, 16, 3), np.uint8)
    found = quality.compare(small, small, with_vmaf=False)
    assert found.ms_ssim is None and "MS-SSIM needs 22 pixels on each side, got 16x16" in found.absent


def test_what_needs_weights_says_where_they_belong_and_fetches_nothing(clip, monkeypatch, tmp_path):
    monkeypatch.delenv("WORKBENCH_I3D", raising=False)
    with pytest.raises(
        quality.UnavailableError, match=r"^FVD needs I3D as a TorchScript file: .*nothing is downloaded$"
    ):
        quality.fvd(clip[None], clip[None])
    with pytest.raises(quality.UnavailableError, match=r"is no file; nothing is downloaded$"):
        quality.fvd(clip[None], clip[None], tmp_path / "i3d.pt")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(quality.UnavailableError, match=r"^LPIPS needs torchvision, which is not installed"):
        quality.lpips(clip, clip)


def test_lpips_without_alexnet_says_which_file(clip, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = str(tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth")
    with pytest.raises(quality.UnavailableError) as caught:
        quality.lpips(clip, clip)
    assert str(caught.value) == f"LPIPS needs AlexNet's weights at {path!r}; nothing is downloaded"


def test_an_ffmpeg_without_libvmaf_is_named(clip, monkeypatch, tmp_path):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' .. psnr '\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(quality.UnavailableError) as caught:
        quality.vmaf(clip, clip)
    assert str(caught.value) == f"VMAF needs an ffmpeg with libvmaf; {str(program)!r} was built without it"


def test_frechet_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 6))
    assert quality.frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    # moved by 3 in one direction: the square of the way; stretched by 2: the sum of (2 s - s)^2 over the deviations s
    moved = features + np.eye(6)[0] * 3
    assert quality.frechet_distance(moved, features) == pytest.approx(9, abs=1e-6)
    stretched = 2 * (features - features.mean(0)) + features.mean(0)
    assert quality.frechet_distance(stretched, features) == pytest.approx(
        np.trace(np.cov(features, rowvar=False)), rel=1e-6
    )


class Brightness(torch.nn.Module):
    """With the call of the I3D file: two features per clip."""

    def forward(
        self, video: torch.Tensor, rescale: bool, resize: bool, return_features: bool
    ) -> torch.Tensor:
        flat = video.flatten(1)
        return torch.stack([flat.mean(1), flat[:, ::7].mean(1)], 1)


@pytest.mark.filterwarnings("ignore:.torch.jit")  # TorchScript is what the file is
def test_fvd_loads_the_network_it_is_given(tmp_path):
    torch.jit.script(Brightness()).save(str(tmp_path / "net.pt"))
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 60, (6, 10, 16, 16, 3)).astype(np.uint8)
    assert quality.fvd(dark, dark, tmp_path / "net.pt") == pytest.approx(0, abs=1e-6)
    assert quality.fvd(dark + 100, dark, tmp_path / "net.pt") == pytest.approx(2 * 100**2, rel=0.01)
    with pytest.raises(InputError, match=r"10 frames or more, got shape \[6, 9, 16, 16, 3\]$"):
        quality.fvd(dark[:, :9], dark, tmp_path / "net.pt")


def test_bad_input_is_named(clip):
    with pytest.raises(
        InputError,
        match=r"^candidate and reference must have one shape, got \[16, 64, 64, 3\] and \[17, 64, 64, 3\]$",
    ):
        quality.compare(clip[:16], clip)
    with pytest.raises(
        InputError, match=r"^candidate must be bytes of shape \[F, H, W, 3\], got float64 of shape"
    ):
        quality.psnr(clip / 255, clip)
    with pytest.raises(InputError, match=r"^variation needs two frames or more, got 1$"):
        quality.variation(clip[:1])
    with pytest.raises(InputError, match=r"two clips or more, got shape \[1, 4\]$"):
        quality.frechet_distance(np.ones((1, 4)), np.ones((3, 4)))
