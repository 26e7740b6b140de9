"""Self-attention as plain matrix products, and WavLM's with its gated position bias computed once a pass.

`B` clips, `H` heads, `T` frames, `D` channels a head, `C = H · D`. On a CPU two matrix products and a softmax beat
torch's scaled_dot_product_attention as soon as there is dropout; on a GPU the fused kernels win. Stock WavLM knows
neither: it averages weights that nobody reads, and repeats the bias for each clip.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from unispeech_ft.kernels.dropout import dropout
from unispeech_ft.kernels.linear import autocast_dtype

MATMUL = "unispeech_ft_matmul"
Kernel = Literal["matmul", "sdpa"]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    bias: Tensor | None = None,
    gated: tuple[Tensor, Tensor] | None = None,
    p: float = 0.0,
) -> Tensor:
    """`softmax(scale · q kᵀ + bias + gate · position) v`, all of it in the precision of the inputs.

    Args:
        query, key, value: `[B, H, T, D]`.
        bias: added to the scores, `[B, 1 or H, 1 or T, T]`.
        gated: gate `[B, H, T, 1]` and position bias `[H, T, T]`.
        p: dropout of the weights.

    Returns:
        `[B, H, T, D]`.
    """
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
        if gated is not None:
            scores.addcmul_(*(factor.to(scores.dtype) for factor in gated))
        if bias is not None:
            scores += bias.to(scores.dtype)
        return torch.matmul(dropout(torch.softmax(scores, dim=-1), p), value)


def padding_bias(num_frames_exist: Tensor, dtype: torch.dtype) -> Tensor:
    """`[B, T]`, true where a frame exists → `[B, 1, 1, T]`, 0 there and very negative elsewhere."""
    bias = torch.zeros(num_frames_exist.shape, dtype=dtype, device=num_frames_exist.device)
    return bias.masked_fill_(~num_frames_exist, torch.finfo(dtype).min)[:, None, None, :]


def _mask(attention_mask: Tensor | None = None, dtype: torch.dtype = torch.float32, **_: Any) -> Tensor | None:
    return None if attention_mask is None else padding_bias(attention_mask.bool(), dtype)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    given = [bias for bias in (position_bias, attention_mask) if bias is not None]
    bias = sum(given[1:], given[0]) if given else None
    return attend(query, key, value, scale=scaling, bias=bias, p=dropout).transpose(1, 2), None


AttentionInterface.register(MATMUL, _attention)
AttentionMaskInterface.register(MATMUL, _mask)


class GatedBiasAttention(WavLMAttention):
    """WavLM's attention (Chen et al. 2022, section 3.1) with the stock parameters, and without averaged weights."""

    kernel: Kernel

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        index: int = 0,
        **_: Any,
    ) -> tuple[Tensor, None, Tensor]:
        """Hidden states `[B, T, C]` → outputs `[B, T, C]`; layers hand on the position bias `[H, T, T]`."""
        clips, frames, _channels = hidden_states.shape
        hidden_states = hidden_states.to(autocast_dtype(hidden_states))  # once instead of for each projection
        heads = (clips, frames, self.num_heads, self.head_dim)
        query, key, value = (
            project(hidden_states).view(heads).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if position_bias is None:
            position_bias = self.compute_bias(frames, frames).to(query.dtype)
        gate = self._gate(hidden_states.view(heads).transpose(1, 2)).to(query.dtype)
        padding = None if attention_mask is None else padding_bias(attention_mask.bool(), query.dtype)
        p = self.dropout if self.training else 0.0
        if self.kernel == "sdpa":
            bias = gate * position_bias if padding is None else gate * position_bias + padding
            attended = nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, dropout_p=p, scale=self.scaling
            )
        else:
            gated = (gate, position_bias)
            attended = attend(query, key, value, scale=self.scaling, bias=padding, gated=gated, p=p)
        return self.out_proj(attended.transpose(1, 2).reshape(hidden_states.shape)), None, position_bias

    def _gate(self, hidden: Tensor) -> Tensor:
        """`[B, H, T, D]` → `[B, H, T, 1]`."""
        projected = self.gru_rel_pos_linear(hidden)
        gates = torch.sigmoid(projected.unflatten(-1, (2, 4)).sum(-1))
        return gates[..., :1] * (gates[..., 1:] * self.gru_rel_pos_const - 1.0) + 2.0


def gates_position_bias(model: nn.Module) -> bool:
    """Whether attention is WavLM's."""
    return any(isinstance(module, WavLMAttention) for module in model.modules())


def use_attention(model: PreTrainedModel, kernel: Kernel) -> None:
    """Computes all attention of a model by one of the kernels; parameters and their names stay."""
    for module in model.modules():
        if isinstance(module, WavLMAttention):
            module.__class__, module.kernel = GatedBiasAttention, kernel
    if model._can_set_attn_implementation():
        model.set_attn_implementation(MATMUL if kernel == "matmul" else kernel)
