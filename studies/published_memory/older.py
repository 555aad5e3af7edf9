"""The VAE of an earlier diffusers in place of the installed one, so that what was measured then is priced with the code of then.

The file is read from a clone of diffusers' repository when it is asked for; nothing of it is kept here.
"""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

FILE = "src/diffusers/models/autoencoders/autoencoder_kl_cogvideox.py"
CLASS = "AutoencoderKLCogVideoX"
_PACKAGES = {
    "from ...": "from diffusers.",
    "from ..": "from diffusers.models.",
    "from .": "from diffusers.models.autoencoders.",
}


def read_class(repository: Path, commit: str) -> Any:
    """The class as it was at a commit.

    Args:
        repository: a git directory of https://github.com/huggingface/diffusers, bare or not.

    Raises:
        subprocess.CalledProcessError: there is no such repository, commit or file.
    """
    command = ["git", "-C", str(repository), "show", f"{commit}:{FILE}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for k, line in enumerate(lines):
        for relative, absolute in _PACKAGES.items():
            if line.startswith(relative):
                lines[k] = absolute + line.removeprefix(relative)
                break
    module = types.ModuleType(f"diffusers_{commit}")
    module.__file__ = f"{commit}:{FILE}"
    sys.modules[module.__name__] = module  # dataclasses and registered configurations look their module up
    exec(compile("\n".join(lines), module.__file__, "exec"), module.__dict__)
    return getattr(module, CLASS)


@contextmanager
def installed(repository: Path, commit: str) -> Iterator[None]:
    """diffusers with that VAE for as long as the context lasts."""
    import diffusers

    getattr(diffusers, CLASS)  # the library loads its parts when they are first asked for
    with mock.patch.object(diffusers, CLASS, read_class(repository, commit)):
        yield
