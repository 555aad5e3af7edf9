"""Imports go one way. A name of the package may import only the names before it in ORDER.

Every import counts: at the top, inside a function, under TYPE_CHECKING, relative or absolute.
"""

from __future__ import annotations

import ast

import pytest

# From the bottom up. One line is a layer; within a line too, only names further left are imported.
ORDER = (
    "_version", "_units", "_errors", "_files", "_store",
    "devices", "models", "records",
    "cost", "calibration",
    "runtime", "techniques", "twin", "quality",
    "_rehearsing", "_estimate",
    "profiles", "search",
    "_plan", "_explain", "questions",
    "miniature", "measurement",
    "views", "testing", "_cli", "__main__",
)  # fmt: skip
# The package itself, `import workbench`, is a face for users: to import it is to import all of it.
FACE = "workbench"
MAY_IMPORT_THE_FACE = ("views", "testing", "_cli", "__main__")


def home(path: str) -> str:
    """The name below `workbench` that a file belongs to: `cost/time.py` -> `cost`, `_plan.py` -> `_plan`."""
    return path.split("/")[0].removesuffix(".py")


def imported(tree: ast.Module, path: str) -> list[tuple[int, str]]:
    """(line, name below `workbench` or FACE) of each import of the package in a file."""
    package = ["workbench", *path.split("/")[:-1]]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            # `from workbench import cost` imports a module, `from workbench import plan` the face
            targets = [f"{source}.{alias.name}" for alias in node.names] if source == FACE else [source]
        else:
            continue
        for target in targets:
            first, _, rest = target.partition(".")
            if first == FACE:
                name = rest.split(".")[0]
                found.append((node.lineno, name if name in ORDER else FACE))
    return found


def violations(sources: dict[str, ast.Module]) -> list[str]:
    """One sentence per import that goes the wrong way."""
    bad = []
    for path, tree in sources.items():
        here = home(path)
        if here == "__init__":  # the face: it names every module and loads each at first use
            continue
        for line, target in imported(tree, path):
            if target == FACE:
                allowed = here in MAY_IMPORT_THE_FACE
            else:
                allowed = ORDER.index(target) <= ORDER.index(here)
            if not allowed:
                bad.append(f"workbench/{path}:{line}: {here} imports {target}, which is not below it")
    return bad


def test_every_part_of_the_package_has_a_layer(sources):
    strangers = sorted({home(path) for path in sources} - {*ORDER, "__init__"})
    assert not strangers, f"decide the layer of these in ORDER: {', '.join(strangers)}"


def test_imports_go_one_way(sources):
    bad = violations(sources)
    assert not bad, "\n".join(["imports against the layers:", *bad])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("cost/time.py", "from workbench.techniques import ALL"),
        ("cost/time.py", "import workbench.techniques.dtype as d"),
        ("cost/time.py", "def f():\n    from workbench import techniques"),
        ("cost/time.py", "if TYPE_CHECKING:\n    from workbench._plan import Plan"),
        ("cost/time.py", "from ..search import space"),
        ("cost/time.py", "from .. import search"),
        ("models/wan.py", "from workbench.records import build"),
        ("_plan.py", "import workbench"),
        ("_plan.py", "from workbench import estimate"),
    ],
)
def test_an_import_against_the_layers_is_found(path, code):
    assert len(violations({path: ast.parse(code)})) == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("cost/time.py", "from workbench.devices import Device\nfrom workbench._units import GIB"),
        ("cost/time.py", "from workbench.cost._trace import Trace\nfrom . import _trace"),
        ("cost/time.py", "import torch\nfrom diffusers import WanPipeline"),
        ("_plan.py", "from workbench import search"),
        ("_cli/_planning.py", "import workbench as wb\nfrom workbench import plan"),
    ],
)
def test_an_import_along_the_layers_passes(path, code):
    assert violations({path: ast.parse(code)}) == []
