"""How a person names a profile: a file, or `MODEL@GIB` for one that ships with the package."""

from __future__ import annotations

from pathlib import Path

from workbench._errors import ProfileError
from workbench.profiles._profile import Profile
from workbench.profiles._shipped import load_shipped

SIGN = "@"


def opened(reference: str) -> tuple[Profile, str]:
    """The profile that is meant, and a sentence if the installed versions are not those that it ships for ("" if they are, or for a file).

    Args:
        reference: `"wan-12gb.json"`, or `"wan2.1-t2v-1.3b@12"`.

    Raises:
        UnknownNameError: no profiles ship for this model.
        ProfileError: there is no such file, it is no profile, or nothing fits this model onto so many GiB.
    """
    model, sign, size = reference.rpartition(SIGN)
    if not sign or Path(reference).exists():
        if not Path(reference).exists() and Path(reference).suffix != ".json":
            raise ProfileError(
                f"a profile is named by its file or by MODEL{SIGN}GIB, as in ltx-video{SIGN}12, got {reference!r}"
            )
        return Profile.load(reference), ""
    profiles = load_shipped(model)
    try:
        vram_gb = float(size)
    except ValueError:
        raise ProfileError(
            f"the size in {reference!r} must be a number of GiB, got {size!r}: "
            f"profiles of {model} are made for {', '.join(str(known) for known in profiles.sizes)}"
        ) from None
    return profiles.profile(vram_gb), profiles.stale()
