"""Versions of PyTorch that are known to need more memory than is predicted."""

from __future__ import annotations

from collections.abc import Mapping


def torch_notes(torch_version: str, dtypes: Mapping[str, str], vae_class: str | None) -> tuple[str, ...]:
    """What a reader of a prediction should know of the installed PyTorch, one sentence each.

    PyTorch 2.9 keeps 3-D convolutions in half precision off cuDNN (2.9.1: unless cuDNN is 9.15 or later; its wheels bring 9.10) and
    unfolds their input instead: 7.24 GiB where 0.42 do, for one convolution of the width of Wan's decoder (pytorch/pytorch#166643).

    Args:
        torch_version: `torch.__version__`.
        dtypes: that each component computes in.
        vae_class: class of the autoencoder; None if there is none. `AutoencoderKL` has no 3-D convolutions.
    """
    dtype = dtypes.get("vae")
    is_3d = vae_class not in (None, "AutoencoderKL")
    if not torch_version.startswith("2.9.") or not is_3d or dtype not in ("fp16", "bf16"):
        return ()
    return (
        f"PyTorch {torch_version} takes many times the predicted memory for 3-D convolutions in {dtype} "
        "(pytorch/pytorch#166643): use 2.8, 2.10 or later, or 2.9.1 with nvidia-cudnn 9.15",
    )
