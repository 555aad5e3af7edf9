"""Files and functions stay small enough to read: it is the tail that is watched, not the median."""

from __future__ import annotations

import ast
from pathlib import Path

MAX_FILE_LINES = 400
MAX_TECHNIQUE_LINES = 150
MAX_FUNCTION_LINES = 50  # from `def` to the last line, docstring included
MAX_SHARE_OF_LONG_FUNCTIONS = 0.05


def line_count(path: Path) -> int:
    """Lines of a text file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file, nested ones too."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_file_is_too_long(root):
    files = [path for folder in ("workbench", "tests", "studies") for path in (root / folder).rglob("*.py")]
    long = [
        f"{path.relative_to(root)}: {count} lines"
        for path in sorted(files)
        if (count := line_count(path)) > MAX_FILE_LINES
    ]
    assert not long, "\n".join([f"files over {MAX_FILE_LINES} lines:", *long])


def test_no_technique_is_too_long(root):
    techniques = sorted((root / "workbench" / "techniques").glob("*.py"))
    long = [
        f"{path.relative_to(root)}: {count} lines"
        for path in techniques
        if not path.name.startswith("_") and (count := line_count(path)) > MAX_TECHNIQUE_LINES
    ]
    assert not long, "\n".join([f"technique files over {MAX_TECHNIQUE_LINES} lines:", *long])


def test_few_functions_are_long(sources):
    lengths = {
        f"workbench/{path}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path, tree in sources.items()
        for node in functions(tree)
    }
    long = {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}
    allowed = int(MAX_SHARE_OF_LONG_FUNCTIONS * len(lengths))
    offenders = [f"{name}: {lines} lines" for name, lines in sorted(long.items(), key=lambda item: -item[1])]
    summary = f"{len(long)} of {len(lengths)} functions have over {MAX_FUNCTION_LINES} lines; {allowed} may:"
    assert len(long) <= allowed, "\n".join([summary, *offenders])
