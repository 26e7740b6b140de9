"""Triton's kernels against the stock sums: on a CUDA device in 16 bits, elsewhere in Triton's interpreter in 32."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unispeech_ft.data.row import lay_out
from unispeech_ft.kernels.attention import attend, bias_gate, by_query_and_key

pytest.importorskip("triton")
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
PRECISIONS = [torch.bfloat16, torch.float16] if ON_GPU else [torch.float32]
TOLERANCE = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float32: 1e-5}
LENGTHS = (70, 5, 130, 1)


# Whether kernels are interpreted is decided when Triton is first imported.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
runs_kernels = pytest.mark.skipif(not (ON_GPU or INTERPRETED), reason="see the first test")


@pytest.mark.long
@pytest.mark.skipif(ON_GPU or INTERPRETED, reason="the others run here")
def test_all_of_these_in_tritons_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.fixture(scope="module")
def kernels() -> SimpleNamespace:
    """The modules of kernels."""
    from unispeech_ft.kernels import ctc, fused, gate, gated_attention, grouped_conv

    return SimpleNamespace(ctc=ctc, fused=fused, gate=gate, attention=gated_attention, conv=grouped_conv)


def values(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype).requires_grad_()


def assert_close(found: Any, expected: Any, inputs: tuple[Tensor, ...], tolerance: float) -> None:
    """Outputs and gradients, relative to their norms."""
    outer = torch.randn_like(expected)
    pairs = [(found, expected)]
    gradients = [torch.autograd.grad((side.double() * outer).sum(), inputs) for side in (found, expected)]
    for mine, other in pairs + list(zip(*gradients, strict=True)):
        mine, other = mine.detach().double(), other.detach().double()
        assert float((mine - other).norm()) <= tolerance * float(other.norm()) + 1e-6


@runs_kernels
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_residual_norm_and_gelu(kernels: SimpleNamespace, dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    frames, channels = 37, 130
    norm = nn.LayerNorm(channels, device=DEVICE)
    inner, hidden, bias = values(frames, channels, dtype=dtype), values(frames, channels, dtype=dtype), values(channels)

    def mask(run: Any) -> Tensor:
        torch.manual_seed(1)
        with torch.no_grad():
            return (run() != 0).double() / (1 - p)

    ones, zeros = torch.ones_like(inner), torch.zeros_like(inner)
    kept = mask(lambda: kernels.fused.add_norm(ones, torch.zeros_like(bias), zeros, norm, p)[0])
    assert float((kept == 0).double().mean()) == pytest.approx(p, abs=0.03)
    inputs = (inner, bias, hidden, norm.weight, norm.bias)
    total = hidden.double() + (inner.double() + bias) * kept
    torch.manual_seed(1)
    summed, normed = kernels.fused.add_norm(inner, bias, hidden, norm, p)
    expected = nn.functional.layer_norm(total, (channels,), norm.weight.double(), norm.bias.double())
    assert_close(summed.double() + normed.double(), total + expected, inputs, TOLERANCE[dtype])
    kept = mask(lambda: kernels.fused.gelu(9 * ones, torch.zeros_like(bias), p))
    torch.manual_seed(1)
    found = kernels.fused.gelu(inner, bias, p)
    expected = nn.functional.gelu(inner.double() + bias) * kept
    assert_close(found, expected, (inner, bias), TOLERANCE[dtype])


@runs_kernels
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(("heads", "width"), [(2, 16), (3, 24)])
def test_gated_attention(kernels: SimpleNamespace, dtype: torch.dtype, heads: int, width: int) -> None:
    torch.manual_seed(0)
    layout, longest = lay_out(LENGTHS).to(DEVICE), max(LENGTHS)
    qkv = values(sum(LENGTHS), 3 * heads * width, dtype=dtype)
    gates, table = values(sum(LENGTHS), heads), values(heads, 2 * longest - 1)
    found = kernels.attention.gated_attention(qkv, layout, gates, table)
    bias = by_query_and_key(table)
    expected = attend(qkv.float(), layout, heads, gate=gates, position_bias=bias, kernel="matmul")
    assert_close(found, expected, (qkv, gates, table), TOLERANCE[dtype])


@runs_kernels
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_dropped_attention_weights_are_the_same_in_both_passes(kernels: SimpleNamespace, dtype: torch.dtype) -> None:
    """With one-hot values the output is the dropped weights themselves; its gradient must be that of these weights."""
    torch.manual_seed(0)
    heads, width, frames = 1, 64, 50
    layout = lay_out([frames]).to(DEVICE)
    query_key = values(frames, 2 * width, dtype=dtype)
    value = torch.eye(frames, width, device=DEVICE, dtype=dtype)
    gates, table = values(frames, heads), values(heads, 2 * frames - 1)

    def run(p: float) -> Tensor:
        torch.manual_seed(1)
        found: Tensor = kernels.attention.gated_attention(torch.cat([query_key, value], 1), layout, gates, table, p)
        return found

    whole, dropped = run(0.0), run(0.25)
    kept = (dropped.detach() != 0).double() / 0.75
    assert float((kept[:, :frames] == 0).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert_close(dropped, whole.double() * kept, (query_key, gates, table), 2 * TOLERANCE[dtype])
    assert torch.equal(run(0.25), dropped)


@runs_kernels
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_gate_of_the_position_bias(kernels: SimpleNamespace, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    heads, width = 3, 24
    linear, constants = nn.Linear(width, 8, device=DEVICE), values(1, heads, 1, 1)
    hidden = values(17, heads * width, dtype=dtype)
    stock = SimpleNamespace(num_heads=heads, head_dim=width, gru_rel_pos_linear=linear, gru_rel_pos_const=constants)
    found = kernels.gate.fused_bias_gate(hidden, linear.weight, linear.bias, constants)
    inputs = (hidden, linear.weight, linear.bias, constants)
    assert_close(found, bias_gate(stock, hidden.float()), inputs, TOLERANCE[dtype])


@runs_kernels
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(("channels", "groups", "taps"), [(32, 2, 16), (24, 2, 7), (96, 2, 19)])
def test_grouped_convolution(
    kernels: SimpleNamespace, dtype: torch.dtype, channels: int, groups: int, taps: int
) -> None:
    torch.manual_seed(0)
    layout = lay_out(LENGTHS).to(DEVICE)
    row, weight = values(sum(LENGTHS), channels, dtype=dtype), values(channels, channels // groups, taps, dtype=dtype)
    found = kernels.conv.grouped_conv(row, layout, weight, groups)
    expected = [
        nn.functional.conv1d(clip.T[None].double(), weight.double(), padding=taps // 2, groups=groups)[0].T[: len(clip)]
        for clip in row.split(list(LENGTHS))
    ]
    assert_close(found, torch.cat(expected), (row, weight), TOLERANCE[dtype])


@runs_kernels
def test_ctc_with_infeasible_repeated_and_missing_labels(kernels: SimpleNamespace) -> None:
    torch.manual_seed(0)
    lengths, num_labels, rows = (40, 7, 1, 12, 33, 5), (9, 3, 1, 8, 0, 5), 11
    labels = torch.randint(1, rows, (sum(num_labels),), device=DEVICE)
    labels[13:21] = 4  # eight equal ones need fifteen frames, and have twelve
    labels[2] = labels[1]
    logits, layout = values(sum(lengths), rows), lay_out(lengths).to(DEVICE)
    padded = torch.nn.utils.rnn.pad_sequence(logits.double().log_softmax(-1).split(list(lengths)))
    expected = nn.functional.ctc_loss(
        padded, labels, torch.tensor(lengths), torch.tensor(num_labels), reduction="sum", zero_infinity=True
    )
    found = kernels.ctc.ctc_of_a_row(logits, layout, labels, num_labels, 0)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    mine, other = (torch.autograd.grad(side, logits)[0] for side in (found, expected))
    torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)
    assert not mine[48:60].any()


@runs_kernels
@pytest.mark.parametrize("kind", ["unispeech", "wavlm"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_layers_in_tritons_kernels(
    kernels: SimpleNamespace, kind: str, norm_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CUDA device against 32 bits, as close as stock layers under autocast; else equal to rounding."""
    from transformers import AutoConfig, AutoModelForCTC

    from unispeech_ft.data.row import Row
    from unispeech_ft.kernels import attention
    from unispeech_ft.models import forward

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "conv_dim": [24] * 7}
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
    config = AutoConfig.for_model(
        kind, **sizes, **positions, **dict.fromkeys(dropouts, 0.0), do_stable_layer_norm=norm_first, vocab_size=11,
        feat_extract_norm="layer", conv_bias=True,
    )  # fmt: skip
    model = AutoModelForCTC.from_config(config).to(DEVICE).train()
    row = Row(torch.randn(sum(LENGTHS), 24), lay_out(LENGTHS)).to(DEVICE)

    def run(fused: bool, in_16_bits: bool) -> tuple[Tensor, dict[str, Tensor]]:
        with monkeypatch.context() as patch:
            patch.setattr(forward, "can_fuse", lambda *_: fused)
            if fused and not ON_GPU:
                patch.setattr(attention, "attention_of", lambda *_, gated: "triton" if gated else "matmul")
            model.zero_grad()
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=in_16_bits):
                found = forward.encode(model, row, layers=[0, 2])
            (found.float() * torch.linspace(-1, 1, found.numel(), device=DEVICE).view_as(found)).sum().backward()
        return found.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    exact, exact_gradients = run(False, False)
    found, gradients = run(True, ON_GPU)
    assert gradients.keys() == exact_gradients.keys()
    limit = 0.03 if ON_GPU else 1e-5
    assert float((found - exact).norm() / exact.norm()) < limit
    largest = max(float(gradient.norm()) for gradient in exact_gradients.values())
    for name, gradient in gradients.items():
        difference = float((gradient - exact_gradients[name]).norm())
        assert difference < 10 * limit * float(exact_gradients[name].norm()) + limit / 5 * largest, name
