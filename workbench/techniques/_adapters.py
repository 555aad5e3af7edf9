"""LoRA adapters without data for a network without weights, and those that a real network has. Needs peft for the former."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

from torch import nn

from workbench._errors import SettingsError
from workbench._units import format_gib

if TYPE_CHECKING:
    from workbench.techniques._technique import Handle
    from workbench.techniques.lora import Lora

_CONFIGS = "peft_config"


def add_adapters(network: Any, lora: Lora, handle: Handle) -> str:
    """Puts adapters on a network in place, all of them active; the handle takes them off.

    Returns:
        What was done, for a report.

    Raises:
        SettingsError: there is no layer to put them on.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = _layers(network, lora.targets)
    if not layers:
        raise SettingsError(f"lora finds no linear layer of attention in {type(network).__name__}")
    dtypes = {name: layer.weight.dtype for name, layer in layers.items()}
    trained = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    handle.undoing(functools.partial(_take_off, network, layers, trained))
    names = [f"workbench_{number}" for number in range(lora.count)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")  # two are meant
        warnings.filterwarnings("ignore", message="TorchaoLoraLinear was instantiated")  # nothing is merged
        for name in names:
            config = LoraConfig(r=lora.rank, lora_alpha=lora.rank, target_modules=list(layers))
            inject_adapter_in_model(config, network, adapter_name=name, low_cpu_mem_usage=True)
    num_bytes = 0
    for path, dtype in dtypes.items():
        adapted = network.get_submodule(path)
        if not isinstance(adapted, BaseTunerLayer):
            raise SettingsError(f"peft puts no adapter on {path} of {type(network).__name__}")
        adapted.set_adapter(names)
        for part in (adapted.lora_A, adapted.lora_B):
            part.to(dtype=dtype)  # as load_lora_weights leaves them (`_move_adapter_to_device_of_base_layer`)
            num_bytes += sum(p.numel() * p.element_size() for p in part.parameters())
    network.requires_grad_(False)
    return f"{lora.count} adapters of rank {lora.rank} on {len(layers)} layers, {format_gib(num_bytes)}"


def loaded_adapters(network: Any) -> tuple[int, ...]:
    """Ranks of the adapters that a network has, in the order in which they were loaded."""
    configs = vars(network).get(_CONFIGS) or {}
    return tuple(int(getattr(config, "r", 0)) for config in configs.values())


def _layers(network: nn.Module, targets: str) -> dict[str, Any]:
    """The layers that adapters are made for: all linear ones, or those within attention."""
    attentions = tuple(
        f"{path}."
        for path, module in network.named_modules()
        if "Attention" in type(module).__name__ and path
    )
    return {
        path: layer
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and (targets == "linear" or path.startswith(attentions))
    }


def _take_off(network: nn.Module, layers: dict[str, Any], trained: list[tuple[nn.Parameter, bool]]) -> None:
    for path, layer in layers.items():
        parent, _, key = path.rpartition(".")
        network.get_submodule(parent)._modules[key] = layer
    vars(network).pop(_CONFIGS, None)
    for parameter, flag in trained:  # peft freezes what is no adapter
        parameter.requires_grad_(flag)
