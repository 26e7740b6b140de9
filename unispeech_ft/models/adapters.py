"""LoRA on the projections of a frozen encoder, as parametrisations of the stock linear layers.

`O` outputs and `I` inputs of a projection, `R` rank. A projection's `.weight` is then the frozen weight plus
`alpha / R · up @ down`, computed anew at each access, so that whatever reads it (the packed forward, Triton's layers,
the stock modules) sees what was learnt. A wrapper such as peft's `LoraLinear` would be passed by, for its `.weight` is
the frozen one. Merged, the network has stock layers and stock names again.

Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"; the start is that of their code.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unispeech_ft.config.labelled import AdapterConfig
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import backbone

# Under the names of the configuration, those of Transformers: of wav2vec 2.0's kin, and of Wav2Vec2-BERT.
MODULES = {
    "query": ("q_proj", "linear_q"),
    "key": ("k_proj", "linear_k"),
    "value": ("v_proj", "linear_v"),
    "output": ("out_proj", "linear_out"),
    "feed_forward": ("intermediate_dense", "output_dense"),
}
# In the names of what an adapter has.
DOWN, UP = "down", "up"


class LowRank(nn.Module):
    """A weight `[O, I]` → the same plus a product of rank `R`, which is 0 at the start.

    Args:
        generator: of what starts at random.
    """

    def __init__(self, outputs: int, inputs: int, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5), generator=generator)
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        # In 16 bits the sum would not be the one that is merged.
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down)


def _has_adapter(module: Any) -> bool:
    return parametrize.is_parametrized(module, "weight") and isinstance(module.parametrizations.weight[0], LowRank)


def _adapted(network: nn.Module) -> list[nn.Module]:
    """The linear layers that have an adapter."""
    return [module for module in network.modules() if _has_adapter(module)]


def has_adapters(network: nn.Module) -> bool:
    """Whether some weights are computed from others at each access, so that nothing may keep a reference to them."""
    return bool(_adapted(network))


def add_adapters(network: Any, settings: AdapterConfig, seed: int) -> str:
    """Freezes the encoder and gives its layers adapters, which train beside the head.

    Args:
        network: `…ForCTC`, not yet on its device.
        seed: of what starts at random.

    Returns:
        A line for people.

    Raises:
        UserError: the rank is above that of the weights.
    """
    encoder = backbone(network)
    encoder.requires_grad_(False)
    names = {name for place in settings.where for name in MODULES[place]}
    found = [
        module
        for name, module in encoder.encoder.layers.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in names
    ]
    widest = min(min(module.weight.shape) for module in found)
    if settings.rank > widest:
        raise UserError(
            f"adapter.rank is {settings.rank}, but the weights have a rank of {widest} at most",
            remedy="lower it (8 to 64 are usual), or leave adapter out to train all weights",
        )
    generator = torch.Generator().manual_seed(seed)
    for module in found:
        outputs, inputs = module.weight.shape
        low_rank = LowRank(outputs, inputs, settings.rank, settings.alpha, generator)
        parametrize.register_parametrization(module, "weight", low_rank)
    if settings.norms:
        for module in encoder.encoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    everything = sum(parameter.numel() for parameter in network.parameters())
    return (
        f"adapters: {len(found)} projections of rank {settings.rank}; {_count(trained)} of {_count(everything)} weights"
        " train, the head among them"
    )


def _count(weights: int) -> str:
    return f"{weights / 1e6:.1f} M" if weights >= 100_000 else f"{weights:,}"


def merge_adapters(network: nn.Module) -> None:
    """Makes the weights of a network with adapters plain ones, to the bit those that it had; others stay as they
    are."""
    for module in _adapted(network):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
