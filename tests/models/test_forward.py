"""The forward against Transformers' own, clip by clip: values and gradients of all families, masks, layers left
out, company, precision, gradient checkpointing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCTC, PreTrainedModel

import unispeech_ft.models.ils  # noqa: F401  registers the ILS classes
from unispeech_ft.data.row import Row, lay_out, row_of
from unispeech_ft.models import forward
from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM, backbone

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "vocab_size": 9,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
    "mask_time_prob": 0.5,
}
WAVEFORMS: dict[str, Any] = {
    "conv_dim": [16, 16],
    "conv_kernel": [10, 8],
    "conv_stride": [20, 16],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
BASE = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
FILTER_BANKS = {"feature_projection_input_dim": 16, "conformer_conv_dropout": 0.0, "left_max_position_embeddings": 9}
PLACES = ("relative", "rotary", None)
FAMILIES = ("unispeech", "unispeech-sat", "wavlm", "wav2vec2", "hubert")
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{family}-large": (family, {**WAVEFORMS, **LARGE}) for family in FAMILIES},
    **{f"{family}-base": (family, {**WAVEFORMS, **BASE}) for family in FAMILIES},
    "ils-hubert": (ILS_HUBERT, {**WAVEFORMS, **LARGE}),
    "ils-wavlm": (ILS_WAVLM, {**WAVEFORMS, **LARGE}),
    "odd-kernel": ("unispeech", {**WAVEFORMS, **LARGE, "num_conv_pos_embeddings": 7}),
    "hubert-without-norm": ("hubert", {**WAVEFORMS, **BASE, "feat_proj_layer_norm": False}),
    "adapters": ("wav2vec2", {**WAVEFORMS, **LARGE, "adapter_attn_dim": 8}),
    "wav2vec2-bert": ("wav2vec2-bert", FILTER_BANKS),
    **{
        f"wav2vec2-bert-{kind}": ("wav2vec2-bert", {**FILTER_BANKS, "position_embeddings_type": kind})
        for kind in PLACES
    },
}
LENGTHS = (40, 3, 38, 1, 21)


def network(kind: str, **settings: Any) -> PreTrainedModel:
    family, shape = KINDS[kind]
    torch.manual_seed(3)
    model = AutoModelForCTC.from_config(AutoConfig.for_model(family, **{**SMALL, **shape, **settings}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
            # Gates and biases start at values that would hide a fault.
            if "gru_rel_pos" in name or "rel_attn_embed" in name:
                parameter.normal_()
    return model.train()


def clips(lengths: tuple[int, ...] = LENGTHS, width: int = 16) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(size=(length, width)).astype(np.float32) for length in lengths]


def masks(lengths: tuple[int, ...] = LENGTHS, channels: int = 32) -> tuple[Tensor, Tensor]:
    """A time mask `[N]` and a channel mask `[B, C]`."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(sum(lengths), generator=generator) < 0.3, torch.rand(
        len(lengths), channels, generator=generator
    ) < 0.2


@contextlib.contextmanager
def kept_layers(encoder: Any, kept: list[int] | None) -> Iterator[None]:
    """The encoder with only some of its layers, None for all."""
    layers = encoder.layers
    if kept is not None:
        encoder.layers = torch.nn.ModuleList([layers[place] for place in kept])
    yield
    encoder.layers = layers


def stock(model: PreTrainedModel, row: Row, layers: list[int] | None = None) -> Tensor:
    """`[N, C]` from Transformers' own modules, clip by clip and without padding."""
    base, found = backbone(model), []
    for clip, (first, length) in enumerate(zip(row.layout.first_frames, row.num_frames, strict=True)):
        span = slice(first, first + length)
        projected = base.feature_projection(row.features[None, span])
        hidden = projected[0] if isinstance(projected, tuple) else projected
        if row.time_mask is not None:
            hidden = torch.where(row.time_mask[None, span, None], base.masked_spec_embed, hidden)
        if row.channel_mask is not None:
            hidden = hidden.masked_fill(row.channel_mask[clip][None, None, :], 0)
        with kept_layers(base.encoder, layers):
            there = torch.ones(1, length, dtype=torch.bool)
            hidden = base.encoder(hidden, attention_mask=there).last_hidden_state
        found.append(hidden[0])
    return torch.cat(found)


def gradients(model: PreTrainedModel, hidden: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(7))
    (hidden * weights).sum().backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def assert_equal_gradients(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, gradient in expected.items():
        scale = max(1.0, float(gradient.abs().max()))
        if name not in ours:
            assert not gradient.any(), name
        elif "k_proj.bias" not in name:  # its true gradient is zero
            assert float((ours[name] - gradient).abs().max()) <= 1e-5 * scale, name
    assert ours.keys() <= expected.keys()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_equal_transformers_clip_by_clip(kind: str, masked: bool) -> None:
    model = network(kind)
    time_mask, channel_mask = masks() if masked else (None, None)
    row = row_of(clips(), time_mask=time_mask, channel_mask=channel_mask)
    ours, expected = forward.encode(model, row), stock(model, row)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert_equal_gradients(gradients(model, ours), gradients(model, expected))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["unispeech-base", "wavlm-large", "wav2vec2-bert"])
def test_an_encoder_may_have_no_layers(kind: str) -> None:
    model, row = network(kind, num_hidden_layers=0).eval(), row_of(clips())
    (found,) = forward.encode_layers(model, row)
    torch.testing.assert_close(found, stock(model, row), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_what_enters_each_layer_is_what_enters_transformers_own(kind: str) -> None:
    model = network(kind).eval()
    row, entered = row_of(clips()), []
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, given, named: entered.append((given or (named["hidden_states"],))[0][0]), with_kwargs=True
        )
        for layer in backbone(model).encoder.layers
    ]
    last = stock(model, row)
    for hook in hooks:
        hook.remove()
    found = forward.encode_layers(model, row)
    assert len(found) == 3 + 1
    for layer, states in enumerate(found[:-1]):
        torch.testing.assert_close(states, torch.cat(entered[layer::3]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[-1], last, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[-1], forward.encode(model, row), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_a_layer_is_what_enters_the_next(kind: str) -> None:
    model = network(kind).eval()
    row = row_of(clips())
    entered = forward.encode_layers(model, row)
    last, (first, second, third) = forward.encode_blocks(model, row, [1, 2, 3])
    torch.testing.assert_close((last, first, second), (entered[3], entered[1], entered[2]), rtol=0, atol=0)
    norm = getattr(backbone(model).encoder, "layer_norm", None)
    if model.config.model_type != "wav2vec2-bert":
        normed = norm(third) if getattr(model.config, "do_stable_layer_norm", False) else third
        torch.testing.assert_close(normed, last, rtol=0, atol=0)
    _, (before, missing, after) = forward.encode_blocks(model, row, [1, 2, 3], layers=[0, 2])
    torch.testing.assert_close((before, missing), (first, first), rtol=0, atol=0)
    assert not torch.equal(after, third)


@pytest.mark.parametrize("kind", ["unispeech-large", "hubert-base", "wavlm-large", "wavlm-base", "wav2vec2-bert"])
def test_layers_left_out_do_not_run(kind: str) -> None:
    model = network(kind)
    row = row_of(clips())
    ours, expected = forward.encode(model, row, layers=[0, 2]), stock(model, row, layers=[0, 2])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    found = gradients(model, ours)
    assert not any("encoder.layers.1." in name for name in found)
    assert_equal_gradients(found, gradients(model, expected))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_company_changes_nothing(kind: str) -> None:
    model = network(kind).eval()
    together = forward.head(model, forward.encode(model, row_of(clips()))).split(LENGTHS)
    for clip, expected in zip(clips(), together, strict=True):
        alone = forward.head(model, forward.encode(model, row_of([clip])))
        torch.testing.assert_close(alone, expected, rtol=0, atol=1e-6 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_close(kind: str) -> None:
    model = network(kind)
    row = row_of(clips())
    expected = forward.encode(model, row)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = forward.encode(model, row)
        logits = forward.head(model, hidden)
    assert logits.dtype == torch.float32
    error = (hidden.detach().float() - expected.detach()).norm() / expected.detach().norm()
    assert float(error) < 2e-2
    assert all(torch.isfinite(value).all() for value in gradients(model, hidden.float()).values())


@pytest.mark.parametrize("kind", ["unispeech-large", "wavlm-base", "wav2vec2-bert"])
def test_gradient_checkpointing_changes_nothing(kind: str) -> None:
    model = network(kind, hidden_dropout=0.1, attention_dropout=0.1, activation_dropout=0.1)
    row = row_of(clips())

    def found() -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(5)
        hidden = forward.encode(model, row)
        return hidden.detach(), gradients(model, hidden)

    plain, expected = found()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again, ours = found()
    torch.testing.assert_close(again, plain, rtol=0, atol=0)
    assert_equal_gradients(ours, expected)


@pytest.mark.parametrize("name", ["hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"])
def test_each_dropout_drops_in_training_alone(name: str) -> None:
    model = network("unispeech-large", **{name: 0.5})
    row = row_of(clips())
    assert not torch.equal(forward.encode(model, row), forward.encode(model, row))
    model.eval()
    assert torch.equal(forward.encode(model, row), forward.encode(model, row))


def test_the_loss_is_that_of_each_clip() -> None:
    lengths, num_labels = (12, 5, 30), (8, 2, 7)
    layout = lay_out(lengths)
    logits = torch.randn(sum(lengths), 6, requires_grad=True)
    labels = torch.randint(1, 6, (sum(num_labels),), generator=torch.Generator().manual_seed(2))
    labels[:8] = 4  # twelve frames cannot hold eight equal labels
    loss = forward.ctc_loss_sum(logits, layout, labels, num_labels, blank=0)
    [gradient] = torch.autograd.grad(loss, logits)
    assert not gradient[:12].any()
    expected = torch.zeros(())
    for part, line in zip(logits.split(lengths)[1:], labels.split(num_labels)[1:], strict=True):
        frames, count = torch.tensor([len(part)]), torch.tensor([len(line)])
        log_probs = torch.log_softmax(part.double(), -1)[:, None]
        expected = expected + nn.functional.ctc_loss(log_probs, line[None], frames, count, reduction="sum").float()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_every_frame_has_its_place() -> None:
    layout = lay_out(LENGTHS)
    assert layout.first_frames == (0, 40, 43, 81, 82)
    assert [group.clips for group in layout.groups] == [(0, 2), (4,), (1,), (3,)]
    assert layout.clips.tolist() == [clip for clip, length in enumerate(LENGTHS) for _ in range(length)]
    assert len(set(layout.places.tolist())) == sum(LENGTHS)
    assert int(layout.places.max()) < layout.num_places == 2 * 40 + 21 + 3 + 1
    assert layout.padded_places.tolist() == [
        40 * clip + frame for clip, length in enumerate(LENGTHS) for frame in range(length)
    ]


@pytest.mark.parametrize("kind", ["unispeech-large", "wavlm-large"])
def test_attention_by_fused_kernels_and_by_products_agree(kind: str) -> None:
    from unispeech_ft.kernels import attention

    model = network(kind)
    row = row_of(clips())
    layer = backbone(model).encoder.layers[0].attention
    hidden = torch.randn(sum(LENGTHS), 96, requires_grad=True)
    bias = attention.position_bias(layer, 40) if kind.startswith("wavlm") else None
    gate = None if bias is None else torch.rand(sum(LENGTHS), 4)
    found = [
        attention.attend(hidden, row.layout, 4, gate=gate, position_bias=bias, kernel=kernel)
        for kernel in ("matmul", "sdpa")
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_a_row_in_half_precision_features_is_read_in_32_bits() -> None:
    row = row_of([clip.astype(np.float16) for clip in clips()])
    moved = row.to(torch.device("cpu"))
    assert moved.features.dtype == torch.float32
    assert moved.num_frames == LENGTHS


def test_a_batch_norm_before_the_positional_convolution() -> None:
    model = network("hubert-base", conv_pos_batch_norm=True)
    norm = backbone(model).encoder.pos_conv_embed.batch_norm
    norm.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    row = row_of(clips())
    model.eval()
    torch.testing.assert_close(forward.encode(model, row), stock(model, row), rtol=1e-5, atol=1e-5)
