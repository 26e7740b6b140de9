"""What trains in the place of a frozen encoder's weights: LoRA on its projections, or a bottleneck in each layer.

`O` outputs and `I` inputs of a projection, `R` rank, `C` hidden channels. LoRA is peft's: it puts a layer of its own
around a stock projection, whose `.weight` stays the frozen one. The forward passes here multiply with `weight_of` it,
the frozen weight plus `alpha / R · B @ A`, so that WavLM and Triton's kernels, which never call a projection, see what
was learnt too. Merged, the network has stock layers and stock names again.

Bottlenecks are Transformers' own (`adapter_attn_dim`): behind the feed-forward block of a layer, norm, `C → R`, ReLU,
`R → C` are added to the hidden states. They stay in the model, which Transformers opens by its configuration.

Sources: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models". Houlsby et al. 2019,
"Parameter-Efficient Transfer Learning for NLP", with a second bottleneck in each layer; Pratap et al. 2023, "Scaling
Speech Technology to 1,000+ Languages" (MMS), with this one.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from unispeech_ft.config.labelled import AdapterConfig
from unispeech_ft.errors import UserError
from unispeech_ft.extras import optional
from unispeech_ft.models.families import backbone
from unispeech_ft.models.parts import ADAPTED, weight_of

# Under the names of the configuration, those of Transformers: of wav2vec 2.0's kin, and of Wav2Vec2-BERT.
MODULES = {
    "query": ("q_proj", "linear_q"),
    "key": ("k_proj", "linear_k"),
    "value": ("v_proj", "linear_v"),
    "output": ("out_proj", "linear_out"),
    "feed_forward": ("intermediate_dense", "output_dense"),
}


def _adapted(network: nn.Module) -> dict[str, Any]:
    """peft's layers, by name."""
    return {name: module for name, module in network.named_modules() if hasattr(module, ADAPTED)}


def has_adapters(network: nn.Module) -> bool:
    """Whether some weights are computed from others at each pass, so that nothing may keep a reference to them."""
    return bool(_adapted(network))


def add_adapters(network: Any, settings: AdapterConfig, seed: int) -> str:
    """Freezes the encoder and gives its layers adapters, which train beside the head.

    Args:
        network: `…ForCTC`, not yet on its device; or on "meta", to be counted.
        seed: of what starts at random.

    Returns:
        A line for people.

    Raises:
        UserError: peft is not installed, the rank does not fit the weights, or the encoder has no place for a
            bottleneck.
    """
    encoder = backbone(network)
    encoder.requires_grad_(False)
    add = _add_bottlenecks if settings.kind == "bottleneck" else _add_low_ranks
    said = add(network, settings, seed)
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


def _add_low_ranks(network: Any, settings: AdapterConfig, seed: int) -> str:
    peft = optional("peft", "adapters", "adapter.kind lora", "use adapter.kind bottleneck")
    names = {name for place in settings.where for name in MODULES[place]}
    layers = backbone(network).encoder.layers
    found = [
        name
        for name, module in layers.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in names
    ]
    widest = min(min(layers.get_submodule(name).weight.shape) for name in found)
    if settings.rank > widest:
        raise UserError(
            f"adapter.rank is {settings.rank}, but the weights have a rank of {widest} at most",
            remedy="lower it (8 to 64 are usual), or leave adapter out to train all weights",
        )
    config = peft.LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=found)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, layers)
    return f"{len(found)} projections of rank {settings.rank}"


def _add_bottlenecks(network: Any, settings: AdapterConfig, seed: int) -> str:
    """A base model's own bottlenecks train on."""
    generator = torch.Generator().manual_seed(seed)
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
    for name, module in _adapted(network).items():
        plain = module.get_base_layer()
        with torch.no_grad():
            plain.weight.copy_(weight_of(module))
        network.set_submodule(name, plain)
