"""What trains in the place of a frozen encoder's weights: LoRA on its projections, or a bottleneck in each layer.

`O` outputs and `I` inputs of a projection, `R` rank, `C` hidden channels. LoRA is a parametrisation of the stock linear
layers. A projection's `.weight` is then the frozen weight plus `alpha / R · up @ down`, computed anew at each access,
so that whatever reads it (the packed forward, Triton's layers, the stock modules) sees what was learnt. A wrapper such
as peft's `LoraLinear` would be passed by, for its `.weight` is the frozen one. Merged, the network has stock layers
and stock names again.

Bottlenecks are Transformers' own (`adapter_attn_dim`): behind the feed-forward block of a layer, norm, `C → R`, ReLU,
`R → C` are added to the hidden states. They stay in the model, which Transformers opens by its configuration.

Sources: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"; the start is that of their code. Houlsby
et al. 2019, "Parameter-Efficient Transfer Learning for NLP", with a second bottleneck in each layer; Pratap et al.
2023, "Scaling Speech Technology to 1,000+ Languages" (MMS), with this one.
"""

from __future__ import annotations

import copy
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
        network: `…ForCTC`, not yet on its device; or on "meta", to be counted.
        seed: of what starts at random.

    Returns:
        A line for people.

    Raises:
        UserError: the rank does not fit the weights, or the encoder has no place for a bottleneck.
    """
    encoder = backbone(network)
    encoder.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    add = _add_bottlenecks if settings.kind == "bottleneck" else _add_low_ranks
    said = add(network, settings, generator)
    if settings.norms:
        for module in encoder.encoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)
    trained, everything = count_trained(network)
    return f"adapters: {said}; {count_text(trained)} of {count_text(everything)} weights train, the head among them"


def count_trained(network: nn.Module) -> tuple[int, int]:
    """How many weights of a network may train, and how many it has."""
    parameters = list(network.parameters())
    return sum(item.numel() for item in parameters if item.requires_grad), sum(item.numel() for item in parameters)


def _add_low_ranks(network: Any, settings: AdapterConfig, generator: torch.Generator) -> str:
    names = {name for place in settings.where for name in MODULES[place]}
    found = [
        module
        for name, module in backbone(network).encoder.layers.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in names
    ]
    widest = min(min(module.weight.shape) for module in found)
    if settings.rank > widest:
        raise UserError(
            f"adapter.rank is {settings.rank}, but the weights have a rank of {widest} at most",
            remedy="lower it (8 to 64 are usual), or leave adapter out to train all weights",
        )
    for module in found:
        outputs, inputs = module.weight.shape
        low_rank = LowRank(outputs, inputs, settings.rank, settings.alpha, generator)
        # The check that `unsafe` leaves out computes the weight, which on "meta" no autocast can.
        parametrize.register_parametrization(module, "weight", low_rank.to(module.weight.device), unsafe=True)
    return f"{len(found)} projections of rank {settings.rank}"


def _add_bottlenecks(network: Any, settings: AdapterConfig, generator: torch.Generator) -> str:
    """A base model's own bottlenecks train on."""
    layers, config, rank = backbone(network).encoder.layers, network.config, settings.rank
    if getattr(layers[0], "adapter_layer", None) is not None:
        if config.adapter_attn_dim != rank:
            raise UserError(
                f"adapter.rank is {rank}, but the base model has bottlenecks of {config.adapter_attn_dim}",
                remedy=f"set adapter.rank {config.adapter_attn_dim}: they train on from where they are",
            )
        for layer in layers:
            layer.adapter_layer.requires_grad_(True)
        return f"{len(layers)} bottlenecks of {rank} channels, the base model's own"
    made = _bottleneck_class(layers[0], config, rank)
    config.adapter_attn_dim = rank
    for layer in layers:
        with torch.device(layer.final_layer_norm.weight.device):
            layer.adapter_layer = made(config)
        down, up = layer.adapter_layer.linear_1, layer.adapter_layer.linear_2
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5), generator=generator)
        for start_at_zero in (down.bias, up.weight, up.bias):
            nn.init.zeros_(start_at_zero)
    return f"{len(layers)} bottlenecks of {rank} channels"


def _bottleneck_class(layer: nn.Module, config: Any, rank: int) -> Any:
    """Transformers' class of what stands behind such a layer.

    Raises:
        UserError: it has no place for one.
    """
    with_one = copy.deepcopy(config)
    with_one.adapter_attn_dim = rank
    kind: Any = type(layer)
    with torch.device("meta"):
        found = getattr(kind(with_one), "adapter_layer", None)
    if found is None:
        raise UserError(
            "adapter.kind is bottleneck, but Transformers has no place for one in the layers of this"
            f" {config.model_type} model",
            remedy="set adapter.kind lora, or use a large model of wav2vec2, unispeech, unispeech-sat or hubert"
            " (do_stable_layer_norm true)",
        )
    return type(found)


def count_text(weights: int) -> str:
    """A number of weights for people."""
    return f"{weights / 1e6:.1f} M" if weights >= 100_000 else f"{weights:,}"


def merge_adapters(network: nn.Module) -> None:
    """Makes the weights of a network with adapters plain ones, to the bit those that it had; others stay as they
    are."""
    for module in _adapted(network):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
