"""The toolkit's own attention and dropout against the stock ones."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCTC,
    HubertConfig,
    PreTrainedModel,
    UniSpeechConfig,
    UniSpeechSatConfig,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    WavLMConfig,
)

from unispeech_ft.config import ModelConfig, TrainingConfig
from unispeech_ft.models.attention import GatedBiasAttention
from unispeech_ft.models.dropout import Dropout, dropout
from unispeech_ft.models.families import backbone
from unispeech_ft.models.forward import encode
from unispeech_ft.models.placement import place

CPU = torch.device("cpu")
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16, 16),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 9,
    "mask_time_prob": 0.5,
    "attention_dropout": 0.0,
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
}
FAMILIES = {
    "wavlm": lambda: WavLMConfig(**SMALL),
    "wavlm, pre-norm": lambda: WavLMConfig(**SMALL, do_stable_layer_norm=True, feat_extract_norm="layer"),
    "unispeech": lambda: UniSpeechConfig(**SMALL, do_stable_layer_norm=True, feat_extract_norm="layer"),
    "unispeech-sat": lambda: UniSpeechSatConfig(**SMALL),
    "wav2vec2": lambda: Wav2Vec2Config(**SMALL, do_stable_layer_norm=True, feat_extract_norm="layer"),
    "wav2vec2-bert": lambda: Wav2Vec2BertConfig(**SMALL, output_hidden_size=32, conformer_conv_dropout=0.0),
    "hubert": lambda: HubertConfig(**SMALL),
}


def stock(family: str) -> PreTrainedModel:
    torch.manual_seed(3)
    model = AutoModelForCTC.from_config(FAMILIES[family](), attn_implementation="eager").train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Gates and biases start at values that would hide a fault.
            if "gru_rel_pos" in name or "rel_attn_embed" in name:
                parameter.normal_()
    return model


def hidden_and_gradients(model: PreTrainedModel) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(4)
    width = getattr(model.config, "feature_projection_input_dim", 16)
    features, num_frames = torch.randn(3, 40, width), torch.tensor([40, 33, 7])
    hidden = encode(model, features, num_frames)
    exists = torch.arange(40)[None, :] < num_frames[:, None]
    (hidden[exists] * torch.randn(int(exists.sum()), 32)).sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return hidden.detach()[exists], gradients


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_attention_equals_the_stock_one_forward_and_backward(family: str, kernel: str) -> None:
    expected = stock(family)
    ours = copy.deepcopy(expected)
    place(ours, CPU, ModelConfig(base="x", attention=kernel), TrainingConfig())
    (hidden, gradients), (expected_hidden, expected_gradients) = map(hidden_and_gradients, (ours, expected))
    torch.testing.assert_close(hidden, expected_hidden, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        if "k_proj.bias" not in name:  # its true gradient is zero
            scale = float(expected_gradients[name].abs().max())
            assert float((gradient - expected_gradients[name]).abs().max()) <= 1e-5 * max(scale, 1.0), name


def test_a_pass_computes_the_position_bias_once_and_keeps_the_names() -> None:
    model = stock("wavlm")
    names = model.state_dict().keys()
    place(model, CPU, ModelConfig(base="x"), TrainingConfig())
    layers = backbone(model).encoder.layers
    assert all(isinstance(layer.attention, GatedBiasAttention) for layer in layers)
    calls = []
    first = layers[0].attention
    compute = first.compute_bias
    first.compute_bias = lambda *lengths: calls.append(lengths) or compute(*lengths)
    encode(model, torch.randn(2, 20, 16), torch.tensor([20, 11]))
    assert calls == [(20, 20)]
    assert model.state_dict().keys() == names


def test_auto_on_a_cpu_is_ours_and_eager_is_the_stock_one() -> None:
    eager = stock("wavlm")
    place(eager, CPU, ModelConfig(base="x", attention="eager"), TrainingConfig(fast_dropout=False))
    assert not any(isinstance(module, (GatedBiasAttention, Dropout)) for module in eager.modules())
    ours = stock("unispeech")
    place(ours, CPU, ModelConfig(base="x"), TrainingConfig())
    assert ours.config._attn_implementation == "unispeech_ft_matmul"
    assert "unispeech_ft" not in ours.config.to_json_string(), "a saved model must not depend on the toolkit"
    assert not any(type(module) is nn.Dropout for module in ours.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.03, 0.1, 0.5, 0.9])
def test_dropout_drops_a_share_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = torch.ones(1000, 997, dtype=dtype)
    dropped = dropout(values, p)
    share = float((dropped == 0).float().mean())
    assert abs(share - p) < 5 * (p * (1 - p) / values.numel()) ** 0.5 + 1e-5
    assert torch.allclose(dropped.float().max(), torch.tensor(1 / (1 - p)), rtol=1e-2)
    by_column = (dropped == 0).float().mean(dim=0)
    assert float((by_column - p).abs().max()) < 6 * (p * (1 - p) / 1000) ** 0.5, "no column is favoured"


def test_dropout_repeats_with_torchs_seed_and_its_gradient_has_the_same_mask() -> None:
    values = torch.randn(50, 60, requires_grad=True)
    torch.manual_seed(7)
    first, second = dropout(values, 0.3), dropout(values, 0.3)
    assert not torch.equal(first, second)
    torch.manual_seed(7)
    assert torch.equal(dropout(values, 0.3), first)
    first.sum().backward()
    torch.testing.assert_close(values.grad, first.detach() / values.detach())
    assert torch.equal(dropout(values, 0.0), values)
    layer = Dropout(0.3)
    assert torch.equal(layer.eval()(values), values)


def test_gradient_checkpointing_draws_the_same_masks_again() -> None:
    from torch.utils.checkpoint import checkpoint

    layer, values = Dropout(0.4), torch.randn(30, 30, requires_grad=True)
    torch.manual_seed(1)
    kept = checkpoint(lambda x: layer(x * 2), values, use_reentrant=False)
    kept.sum().backward()
    torch.testing.assert_close(values.grad, kept.detach() / values.detach())
