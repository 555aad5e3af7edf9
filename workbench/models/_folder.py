"""Reads a model from a folder that `save_pretrained` wrote: `model_index.json` and the configurations, weights or none. Reads the disk.

What the configurations do not say (how frames and sizes are compressed, the native workload) is asked of the pipeline class in
`_derive.py`.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench._errors import InputError
from workbench.models._spec import ComponentSpec, SchedulerSpec

INDEX = "model_index.json"

_WITHOUT_WEIGHTS = ("Tokenizer", "TokenizerFast", "Processor", "ProcessorFast", "FeatureExtractor")
"""How the classes of members end that prepare inputs; stand-ins take their place."""

_STAND_INS = ("tokenizer", "image_processor", "feature_extractor", "processor", "safety_checker")
"""How the names of members begin that `_standins.py` makes, whatever their class: newer tokenizers are all of one backend class."""

NO_ARGUMENTS = frozenset({"architectures", "model_type", "transformers_version", "torch_dtype", "dtype"})
"""Keys of a configuration file that say how it was written and are not arguments of the configuration class."""

_HEADER_DTYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_NAMED_DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


USUAL_DTYPE = "bf16"
"""Where nobody says a dtype: what current models are documented to be loaded in."""


class FolderReading:
    """What a folder says of a pipeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = read_json(folder / INDEX)
        name = index.get("_class_name")
        if not isinstance(name, str):
            raise InputError(
                f"{str(folder / INDEX)!r} names no pipeline class of diffusers: its _class_name is {name!r}"
            )
        self.pipeline_class = name
        self.pipeline_config: dict[str, Any] = {}
        """Plain arguments of the pipeline class."""
        self.components: dict[str, ComponentSpec] = {}
        self.plain: dict[str, SchedulerSpec] = {}
        """Members without weights: the scheduler, a guider."""
        self.without_dtype: list[str] = []
        """Components of which neither weights nor configuration say the dtype."""
        self.remarks: list[str] = []
        for member, value in index.items():
            if not member.startswith("_"):
                self._read_member(member, value)
        if "scheduler" not in self.plain:
            raise InputError(
                f"the pipeline in {str(folder)!r} has no scheduler: {INDEX} must name one, and scheduler/scheduler_config.json describe it"
            )

    def _read_member(self, member: str, value: Any) -> None:
        if not _is_class(value):
            if value is not None and not (isinstance(value, list) and value[:1] == [None]):
                self.pipeline_config[member] = value
            return
        library, class_name = value
        folder = self.folder / member
        if class_name.endswith(_WITHOUT_WEIGHTS) or member.startswith(_STAND_INS):
            return
        plain = sorted(folder.glob("*_config.json")) if library != "transformers" else []
        if (folder / "config.json").is_file():
            self._read_component(member, library, class_name)
        elif plain:
            self.plain[member] = SchedulerSpec(
                class_name=class_name, config=_arguments(read_json(plain[0])), source=str(plain[0])
            )
        else:
            raise InputError(
                f"the pipeline in {str(self.folder)!r} lacks the configuration of {member} ({class_name}): "
                f"{str(folder / 'config.json')!r} is needed, weights are not"
            )

    def _read_component(self, member: str, library: str, class_name: str) -> None:
        path = self.folder / member / "config.json"
        saved = read_json(path)
        if "quantization_config" in saved:
            self.remarks.append(f"{member} is saved quantised; it is planned as if loaded without")
        of_weights = _dtype_of_weights(self.folder / member)
        dtype = of_weights or _NAMED_DTYPES.get(
            str(saved.get("torch_dtype") or saved.get("dtype")).removeprefix("torch.")
        )
        self.components[member] = ComponentSpec(
            name=member,
            library=library,
            class_name=class_name,
            config=_arguments(saved),
            dtype=dtype or USUAL_DTYPE,
            source=str(path),
            is_mapped=of_weights is not None,
        )
        if dtype is None:
            self.without_dtype.append(member)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: there is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{str(path)!r} must hold a JSON object, got {type(data).__name__}")
    return data


def _is_class(value: Any) -> bool:
    """Whether a member of the index is a pair of library and class."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _arguments(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration file passes to the class."""
    return {
        name: value
        for name, value in saved.items()
        if not name.startswith("_") and name not in NO_ARGUMENTS and name != "quantization_config"
    }


def _dtype_of_weights(folder: Path) -> str | None:
    """The dtype that most values of a component's safetensors files have, from the files' headers; None without such files."""
    counts: Counter[str] = Counter()
    for path in folder.glob("*.safetensors"):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(length))
        except (OSError, ValueError, struct.error) as error:
            raise InputError(f"{str(path)!r} is no safetensors file: {error}") from error
        for entry in header.values():
            if "data_offsets" in entry:
                begin, end = entry["data_offsets"]
                counts[entry["dtype"]] += end - begin
    common = counts.most_common(1)
    return _HEADER_DTYPES.get(common[0][0]) if common else None
