"""What the README promises about installing, held against the files that do it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

SET_UP_AND_PLAN = 'pip install -c constraints.txt -e ".[dev]" && workbench plan --vram-gb 12'
SET_UP_AND_TEST = 'pip install -c constraints.txt -e ".[dev]" && pytest'
# conda-forge's name, where it differs from PyPI's
CONDA_NAMES = {"torch": "pytorch", "kaleido": "python-kaleido"}
# conda-forge has it under no name we could check: environment.yml takes these from PyPI
CONDA_FROM_PYPI = {"gguf", "playwright"}


def canonical(name: str) -> str:
    """A distribution's name as PyPI compares it: `netCDF4` -> `netcdf4`."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def requirements(root: Path) -> set[str]:
    """Names of what the package and its tests require directly."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return {canonical(re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0]) for line in lines}


@pytest.fixture
def pins(root: Path) -> dict[str, str]:
    """constraints.txt as name -> version."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): version for name, version in pairs}


def test_the_readme_and_ci_give_the_same_two_commands(root):
    readme = (root / "README.md").read_text(encoding="utf-8").splitlines()
    ci = (root / ".ci" / "run").read_text(encoding="utf-8")
    assert SET_UP_AND_PLAN in readme
    assert SET_UP_AND_TEST in readme
    assert SET_UP_AND_TEST in ci
    assert "workbench plan --vram-gb 12" in ci


def test_every_direct_requirement_is_pinned(requirements, pins):
    assert requirements - set(pins) == set()


def test_the_pins_install_on_any_linux_machine(pins):
    assert pins["torch"] == "2.13.0"
    local = [f"{name}=={version}" for name, version in pins.items() if "+" in version]
    assert not local, f"local versions exist on one machine only: {local}"
    accelerator = [name for name in pins if name.startswith(("nvidia", "cuda", "triton", "pytorch-triton"))]
    assert not accelerator, f"the CUDA build of torch pins these itself: {accelerator}"


def test_nothing_brings_another_torch(pins):
    # each is built against one exact torch, and would bring it along
    assert not {"torchvision", "torchaudio", "xformers"} & set(pins)


def test_environment_yml_mirrors_pyproject(root, requirements):
    environment = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    conda = {canonical(re.split(r"[<>= ]", line, maxsplit=1)[0]) for line in lines} - {"python", "pip"}
    assert conda == {CONDA_NAMES.get(name, name) for name in requirements - CONDA_FROM_PYPI}
