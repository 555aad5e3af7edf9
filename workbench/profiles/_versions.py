"""Whether what is installed is what a prediction is of."""

from __future__ import annotations

from collections.abc import Mapping

from workbench._store import versions


def changed_versions(made_with: Mapping[str, str]) -> tuple[str, ...]:
    """What differs, `"diffusers 0.41.0 there, 0.42.1 here"` each. The build of a version (`+cpu`, `+cu130`) is no difference: predictions
    are of the same code on every build."""
    here = versions()
    return tuple(
        f"{name} {version} there, {here.get(name, 'not installed')} here"
        for name, version in sorted(made_with.items())
        if _public(here.get(name, "")) != _public(version)
    )


def _public(version: str) -> str:
    """A version without its local part (PEP 440)."""
    return version.partition("+")[0]
