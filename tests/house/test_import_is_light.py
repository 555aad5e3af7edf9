"""`import workbench` and the command line's help answer at once: nothing heavy is imported for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each takes from a tenth of a second to several seconds to import.
HEAVY = (
    "torch", "diffusers", "transformers", "accelerate", "torchao", "optuna", "xarray", "netCDF4", "pandas",
    "plotly", "ipywidgets", "anywidget", "IPython", "papermill",
)  # fmt: skip
# Values in, values out: these packages are usable without torch being imported.
PURE_PACKAGES = ("devices", "models", "records", "cost", "techniques", "profiles")
ASK_FOR_HELP = """
import sys
from workbench._cli import main
sys.argv = ["workbench", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


def heavy_after(code: str) -> list[str]:
    """The heavy packages that a fresh interpreter has imported after it ran `code`."""
    report = f"\nimport sys\nprint('imported:', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_import_workbench_is_light():
    assert heavy_after("import workbench") == []


def test_help_is_light():
    assert heavy_after(ASK_FOR_HELP) == []


@pytest.mark.parametrize("package", PURE_PACKAGES)
def test_a_pure_package_does_not_import_torch(package, root):
    if not (root / "workbench" / package / "__init__.py").exists():
        pytest.skip(f"workbench.{package} is not written yet")
    assert not {"torch", "diffusers", "transformers"} & set(heavy_after(f"import workbench.{package}"))
