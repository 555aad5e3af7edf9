"""Only listed files import the heavy libraries at their top; the others inside functions."""

from __future__ import annotations

import ast
import fnmatch

import pytest

# library -> files below workbench/ that may import it at their top, being imported lazily themselves
ALLOWED_AT_TOP = {
    "torch": (
        "calibration/_blocks.py",
        "calibration/_cases.py",
        "calibration/_clock.py",
        "cost/_*.py",
        "cost/rehearsal.py",
        "cost/weigh.py",
        "_rehearsing.py",
        "techniques/_*.py",
        "testing/contract.py",
        "twin/*.py",
        "models/_build.py",
        "models/_standins.py",
        "miniature/tiny.py",
        "miniature/_classifier.py",
        "runtime/*.py",
        "training/*.py",
    ),
    "diffusers": (
        "models/_build.py",
        "miniature/tiny.py",
        "techniques/_*.py",
        "runtime/*.py",
        "training/*.py",
    ),
    "transformers": ("models/_build.py", "models/_standins.py", "miniature/tiny.py"),
    "torchao": ("techniques/_*.py",),
    "accelerate": ("techniques/_*.py",),
    "optuna": ("search/*.py",),
    "xarray": ("records/*.py",),
    "plotly": ("views/*.py",),
    "ipywidgets": ("views/*.py",),
    "anywidget": ("views/*.py",),
    "papermill": (),
    "imageio_ffmpeg": (),
}


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`, whose body never runs."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def top_imports(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, top-level package) of every import that runs when the module is imported."""
    found, waiting = [], list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.lineno, node.module.split(".")[0]))
        elif is_type_checking(node):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("library", sorted(ALLOWED_AT_TOP))
def test_a_heavy_library_is_imported_at_the_top_of_listed_files_only(library, sources):
    bad = [
        f"workbench/{path}:{line} imports {library} at its top"
        for path, tree in sources.items()
        if not any(fnmatch.fnmatch(path, pattern) for pattern in ALLOWED_AT_TOP[library])
        for line, package in top_imports(tree)
        if package == library
    ]
    assert not bad, "\n".join([*bad, "import it inside the function that needs it, or list the file here"])


def test_what_counts_as_the_top_of_a_file():
    code = """
import torch
if TYPE_CHECKING:
    import plotly
else:
    import optuna
try:
    from diffusers.utils import logging
finally:
    pass
class A:
    import xarray
    def f(self):
        import papermill
"""
    assert {name for _, name in top_imports(ast.parse(code))} == {"torch", "optuna", "diffusers", "xarray"}
