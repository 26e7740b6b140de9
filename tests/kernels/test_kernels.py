"""The toolkit's own attention, dropout, products and positional convolution against the stock ones."""

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
from transformers.models.wavlm.modeling_wavlm import WavLMPositionalConvEmbedding

from unispeech_ft.config.sections import ModelConfig, TrainingConfig
from unispeech_ft.kernels import positions
from unispeech_ft.kernels.attention import GatedBiasAttention
from unispeech_ft.kernels.dropout import Dropout, dropout
from unispeech_ft.kernels.install import place
from unispeech_ft.kernels.linear import Linear, replace_linears
from unispeech_ft.kernels.positions import PositionalConv, replace_positional_conv
from unispeech_ft.models.families import backbone
from unispeech_ft.models.forward import encode

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


def test_each_value_is_dropped_with_the_probability_that_was_asked_for() -> None:
    """Also where 8 bits do not know it: 0.0977 and 0.1016 are the nearest, 0 and 0.0039."""
    for p in (0.1, 0.002):
        torch.manual_seed(5)
        share = torch.stack([dropout(torch.ones(3000), p) == 0 for _ in range(3000)]).float().mean(dim=0)
        assert abs(float(share.mean()) - p) < 0.02 * p
        assert float((share - p).abs().max()) < 5 * (p * (1 - p) / 3000) ** 0.5


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(24, 56), (56, 24)])
def test_linear_equals_the_stock_one_forward_and_backward(inputs: int, outputs: int, dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    expected = nn.Sequential(nn.Linear(inputs, outputs), nn.Linear(outputs, outputs, bias=False))
    ours = copy.deepcopy(expected)
    replace_linears(ours)
    assert all(type(layer) is Linear for layer in ours)
    found = []
    for model in (expected, ours):
        values = torch.randn(3, 7, inputs, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            outcome = model(values.transpose(0, 1))
        assert outcome.dtype == dtype
        outcome[0] = 0  # stock encoders write into what a linear layer made
        outcome.float().square().sum().backward()
        found.append([outcome.detach(), values.grad, *(parameter.grad for parameter in model.parameters())])
    for mine, other in zip(found[1], found[0], strict=True):
        assert mine.dtype == other.dtype
        tolerance = (1e-5 if dtype == torch.float32 else 2e-2) * float(other.abs().max())
        torch.testing.assert_close(mine, other, rtol=0, atol=tolerance)


def test_a_linear_layer_in_double_precision_stays_the_stock_one() -> None:
    layer = nn.Sequential(nn.Linear(5, 4)).double()
    values = torch.randn(2, 5, dtype=torch.float64)
    expected = layer(values)
    replace_linears(layer)
    assert torch.equal(layer(values), expected)


@pytest.mark.parametrize("clips_together", [True, False])
@pytest.mark.parametrize("taps", [16, 5])
@pytest.mark.parametrize("shape", [(3, 21, 24), (1, 4, 24), (2, 30, 24)])
def test_the_positional_convolution_equals_the_stock_one(
    shape: tuple[int, int, int], taps: int, clips_together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not clips_together:
        monkeypatch.setattr(positions, "LARGEST_WINDOWS_BYTES", 1)
    torch.manual_seed(6)
    settings = {**SMALL, "hidden_size": 24, "num_conv_pos_embeddings": taps, "num_conv_pos_embedding_groups": 3}
    expected = nn.Module()
    expected.pos_conv_embed = WavLMPositionalConvEmbedding(WavLMConfig(**settings))
    ours = copy.deepcopy(expected)
    replace_positional_conv(ours)
    assert ours.state_dict().keys() == expected.state_dict().keys()
    found = []
    for encoder in (expected, ours):
        values = torch.randn(shape, generator=torch.Generator().manual_seed(2)).requires_grad_()
        outcome = encoder.pos_conv_embed(values)
        outcome.square().sum().backward()
        found.append([outcome.detach(), values.grad, *(parameter.grad for parameter in encoder.parameters())])
    for mine, other in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5 * max(1.0, float(other.abs().max())))


def test_the_positional_convolution_takes_autocasts_precision() -> None:
    embedding = nn.Module()
    embedding.pos_conv_embed = WavLMPositionalConvEmbedding(WavLMConfig(**SMALL))
    values = torch.randn(2, 9, 32)
    expected = embedding.pos_conv_embed(values)
    replace_positional_conv(embedding)
    with torch.autocast("cpu", torch.bfloat16):
        outcome = embedding.pos_conv_embed(values)
    assert outcome.dtype == torch.bfloat16
    torch.testing.assert_close(outcome.float(), expected, rtol=0, atol=2e-2)


def test_each_kernel_has_a_switch() -> None:
    model = stock("unispeech")
    plain = TrainingConfig(fast_products=False, fast_positions=False)
    place(model, CPU, ModelConfig(base="x", attention="eager"), plain)
    assert not any(isinstance(module, (Linear, PositionalConv)) for module in model.modules())
    place(model, CPU, ModelConfig(base="x", attention="eager"), TrainingConfig())
    assert isinstance(backbone(model).encoder.pos_conv_embed, PositionalConv)
    assert not any(type(module) is nn.Linear for module in model.modules())
