"""The public face: adding a name to it is a decision, made here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import workbench

PUBLIC = [
    "Cost",
    "Device",
    "Plan",
    "Profile",
    "Settings",
    "Workload",
    "__version__",
    "calibrate",
    "estimate",
    "explain",
    "fit",
    "measure",
    "plan",
    "sensitivity",
    "tune",
]


def test_the_public_names_are_these():
    assert workbench.__all__ == PUBLIC == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(workbench))


def test_no_module_is_called_like_a_public_name():
    clashes = [name for name in PUBLIC if importlib.util.find_spec(f"workbench.{name}") is not None]
    assert not clashes, f"importing these modules would replace the public names: {clashes}"


@pytest.mark.parametrize("name", sorted(workbench._HOME))
def test_each_public_name_loads_from_its_home(name):
    # a process of its own: the first use is what is tested
    code = f"import workbench as wb; value = wb.{name}; assert value is wb.{name}; print(value.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, name), done.stderr


def test_star_import_gives_the_public_names():
    code = "from workbench import *; print(*dir())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(PUBLIC) <= set(done.stdout.split())


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'workbench' has no attribute 'plans'$"):
        _ = workbench.plans
