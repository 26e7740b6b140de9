"""The toolkit's own dropout, products, positional convolution and gathering of clips against the stock ones."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from transformers import WavLMConfig
from transformers.models.wavlm.modeling_wavlm import WavLMPositionalConvEmbedding

from unispeech_ft.data.row import Layout, lay_out
from unispeech_ft.kernels import positions, rows
from unispeech_ft.kernels.dropout import dropout
from unispeech_ft.kernels.linear import linear
from unispeech_ft.kernels.positions import convolve_positions


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
    assert torch.equal(dropout(values, 0.3, training=False), values)


def test_gradient_checkpointing_draws_the_same_masks_again() -> None:
    from torch.utils.checkpoint import checkpoint

    values = torch.randn(30, 30, requires_grad=True)
    torch.manual_seed(1)
    kept = checkpoint(lambda x: dropout(x * 2, 0.4), values, use_reentrant=False)
    kept.sum().backward()
    torch.testing.assert_close(values.grad, kept.detach() / values.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(24, 56), (56, 24)])
def test_linear_equals_the_stock_one_forward_and_backward(
    inputs: int, outputs: int, biased: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(5)
    layer = nn.Linear(inputs, outputs, bias=biased)
    found = []
    for product in (nn.functional.linear, linear):
        layer.zero_grad()
        values = torch.randn(21, inputs, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            outcome = product(values, layer.weight, layer.bias)
        assert outcome.dtype == dtype
        outcome.float().square().sum().backward()
        found.append([outcome.detach(), values.grad, *(parameter.grad.clone() for parameter in layer.parameters())])
    for mine, other in zip(found[1], found[0], strict=True):
        assert mine.dtype == other.dtype
        tolerance = (1e-5 if dtype == torch.float32 else 2e-2) * float(other.abs().max())
        torch.testing.assert_close(mine, other, rtol=0, atol=tolerance)


def test_a_linear_layer_in_double_precision_stays_the_stock_one() -> None:
    layer = nn.Linear(5, 4).double()
    values = torch.randn(2, 5, dtype=torch.float64)
    assert torch.equal(linear(values, layer.weight, layer.bias), layer(values))


def embedding_of(taps: int) -> WavLMPositionalConvEmbedding:
    torch.manual_seed(6)
    shape = {"hidden_size": 24, "num_conv_pos_embeddings": taps, "num_conv_pos_embedding_groups": 3}
    return WavLMPositionalConvEmbedding(WavLMConfig(**shape))


def with_gradients(embedding: WavLMPositionalConvEmbedding, outcome: Tensor, row: Tensor) -> list[Tensor]:
    embedding.zero_grad()
    row.grad = None
    outcome.square().sum().backward()
    return [outcome.detach(), row.grad, *(parameter.grad.clone() for parameter in embedding.parameters())]


@pytest.mark.parametrize("way", ["products", "products, clip by clip", "over the row"])
@pytest.mark.parametrize("taps", [16, 5])
@pytest.mark.parametrize("lengths", [(21, 21, 20), (4,), (30, 2, 17, 1)])
def test_the_positional_convolution_equals_the_stock_one_of_each_clip(
    lengths: tuple[int, ...], taps: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "products, clip by clip":
        monkeypatch.setattr(positions, "LARGEST_WINDOWS_BYTES", 1)
    embedding, layout = embedding_of(taps), lay_out(lengths)
    conv = embedding.conv
    row = torch.randn(sum(lengths), 24, requires_grad=True)
    expected = with_gradients(embedding, torch.cat([embedding(clip[None])[0] for clip in row.split(lengths)]), row)
    if way == "over the row":
        convolved = positions.over_the_row(row, layout, conv.weight, conv.groups) + conv.bias
    else:
        convolved = convolve_positions(row, layout, conv.weight, conv.bias, conv.groups)
    ours = with_gradients(embedding, embedding.activation(convolved), row)
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5 * max(1.0, float(other.abs().max())))


def test_the_positional_convolution_takes_autocasts_precision() -> None:
    conv, layout, row = embedding_of(16).conv, lay_out((9, 7)), torch.randn(16, 24)
    expected = convolve_positions(row, layout, conv.weight, conv.bias, conv.groups)
    with torch.autocast("cpu", torch.bfloat16):
        outcome = convolve_positions(row, layout, conv.weight, conv.bias, conv.groups)
    assert outcome.dtype == torch.bfloat16
    torch.testing.assert_close(outcome.float(), expected, rtol=0, atol=2e-2)


def test_clips_stand_apart_by_places_as_they_do_one_by_one() -> None:
    layout: Layout = lay_out((5, 9, 9, 2))
    row = torch.randn(25, 3 * 8, requires_grad=True)
    found = []
    for apart, joined in (
        (rows.heads_apart, partial(rows.heads_joined, frames=25)),
        (rows.apart_by_places, rows.joined_by_places),
    ):
        parts = apart(row, layout, 2, 3)
        assert [part[0].shape for part in parts] == [(2, 2, 9, 4), (1, 2, 5, 4), (1, 2, 2, 4)]
        assert not parts[0][1][:, :, 9:].any()
        together = joined([query * key + value for query, key, value in parts], layout)
        [gradient] = torch.autograd.grad(together.square().sum(), row)
        found.append([*(tensor for part in parts for tensor in part), together, gradient])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second)
    expected = torch.unbind(row.view(25, 3, 8), 1)
    torch.testing.assert_close(found[0][-2], expected[0] * expected[1] + expected[2])
