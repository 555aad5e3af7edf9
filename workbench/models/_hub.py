"""Finds the configurations of a hub id: in the local cache of the hub's client, else on the hub. Touches the network when it is there.

Only configurations are fetched (kilobytes), never weights.
"""

from __future__ import annotations

import re
from pathlib import Path

from workbench._errors import InputError
from workbench.models._folder import INDEX

_CONFIGURATIONS = ("model_index.json", "*/config.json", "*/*_config.json")


def is_hub_id(text: str) -> bool:
    """Whether a text has the form `organisation/name`."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", text) is not None


def folder_of(hub_id: str) -> Path:
    """A local folder with the configurations of a hub repository.

    Raises:
        InputError: they are neither here nor reachable; the message says what to download.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = list(_CONFIGURATIONS)
    for local in (True, False):
        try:
            folder = Path(snapshot_download(hub_id, allow_patterns=wanted, local_files_only=local))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            continue
        if (folder / INDEX).is_file():
            return folder
        reason = f"it has no {INDEX}"
    raise InputError(
        f"the configurations of {hub_id!r} are not on this machine and cannot be fetched ({reason}): on a machine with a network run "
        f"`hf download {hub_id} --include model_index.json '*/config.json' '*/*_config.json' --local-dir FOLDER` (kilobytes, no weights) "
        "and pass that folder as the model"
    )
