"""The four names of the package peft that this project uses, in a few lines, for who has not installed it."""

from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class LoraConfig:
    """Rank, scale, which layers get adapters, and which are trained whole."""

    r: int
    lora_alpha: float
    target_modules: list[str]
    modules_to_save: list[str] = field(default_factory=list)


class LoraLinear(nn.Module):
    """A frozen linear layer and, beside it, two narrow ones."""

    def __init__(self, base_layer: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        self.base_layer, self.scale = base_layer, config.lora_alpha / config.r
        self.lora_A = nn.Linear(base_layer.in_features, config.r, bias=False)
        self.lora_B = nn.Linear(config.r, base_layer.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)  # training starts from the pretrained network itself

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Add the adapter's output to the layer's."""
        return self.base_layer(inputs) + self.scale * self.lora_B(self.lora_A(inputs))


def get_peft_model(model: nn.Module, config: LoraConfig) -> nn.Module:
    """Freeze a model and put adapters into it."""
    model.requires_grad_(False)
    for name in config.target_modules:
        setattr(model, name, LoraLinear(getattr(model, name), config))
    for name in config.modules_to_save:
        getattr(model, name).requires_grad_(True)
    return model


def get_peft_model_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """Give what is trained."""
    return {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}


def set_peft_model_state_dict(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put what is trained in its place."""
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        raise KeyError(f"no adapter is named {', '.join(unexpected)}")
