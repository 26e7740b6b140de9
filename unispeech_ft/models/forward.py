"""From features to logits over a row of frames, the same way for training, evaluation and transcription.

`N` frames of the row, `B` clips, `T` frames of a clip, `F` feature channels, `C` hidden channels, `H` heads, `V` rows
of the head. The stock modules of Transformers hold the parameters; the functions here and in `conformer` compute what
those modules compute for each clip alone, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from unispeech_ft.data.row import Layout, Row
from unispeech_ft.kernels.attention import attend, bias_gate, by_query_and_key, position_bias
from unispeech_ft.kernels.linear import autocast_dtype, linear
from unispeech_ft.kernels.positions import convolve_positions
from unispeech_ft.kernels.rows import spread
from unispeech_ft.kernels.triton_there import runs_triton
from unispeech_ft.models.conformer import conformer
from unispeech_ft.models.families import backbone, reads_waveforms, shares_position_bias
from unispeech_ft.models.fused_layers import can_fuse, copies_of, fused_layer
from unispeech_ft.models.layer_graphs import graphs_for
from unispeech_ft.models.layer_sum import LayerSumHead
from unispeech_ft.models.parts import apply, checkpointed, drop, feed_forward, joined

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# oneDNN makes a kernel for each new number of frames, which takes as long as its product: on a CPU a row ends in zeros.
CPU_ROW_STEP = 32
# The gradient's kernel holds a row of the head for each of some states.
WIDEST_CTC_HEAD = 256


def _project(projection: Any, features: Tensor) -> Tensor:
    """Features `[N, F]` → `[N, C]`."""
    norm = getattr(projection, "layer_norm", None)
    hidden = features if norm is None else norm(features)
    return drop(projection.dropout, apply(projection.projection, hidden))


def _masked(base: Any, hidden: Tensor, row: Row) -> Tensor:
    if row.time_mask is not None:
        hidden = torch.where(row.time_mask[:, None], base.masked_spec_embed.to(hidden.dtype), hidden)
    if row.channel_mask is not None:
        hidden = hidden.masked_fill(row.channel_mask.index_select(0, row.layout.clips), 0)
    return hidden


def normed_weight(conv: Any) -> Tensor:
    """The weight of a convolution; CUDA's kernel for weight norm takes ten times as long as these few sums."""
    norms: Any = conv.parametrizations.weight if parametrize.is_parametrized(conv, "weight") else ()
    if len(norms) != 1 or type(norms[0]) is not parametrizations._WeightNorm or norms[0].dim != 2:
        weight: Tensor = conv.weight
        return weight
    length, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
    weight = direction * (length / torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True))
    return weight


def _positions(embedding: Any, hidden: Tensor, layout: Layout) -> Tensor:
    """The positional embedding `[N, C]`; its convolution sees silence around each clip."""
    if getattr(embedding, "batch_norm", None) is not None:
        hidden = embedding.batch_norm(hidden)
    conv = embedding.conv
    weight = normed_weight(conv) if hidden.device.type == "cuda" else conv.weight
    convolved: Tensor = embedding.activation(convolve_positions(hidden, layout, weight, conv.bias, conv.groups))
    return convolved


def _before_attention(layer: Any, hidden: Tensor, norm_first: bool, gated: bool) -> tuple[Tensor, Tensor | None]:
    """Queries, keys and values `[N, 3 · C]` of one encoder layer, and WavLM's gates `[N, H]`."""
    attention = layer.attention
    hidden = layer.layer_norm(hidden) if norm_first else hidden
    hidden = hidden.to(autocast_dtype(hidden))  # once instead of for each projection
    weight, offsets = joined((attention.q_proj, attention.k_proj, attention.v_proj), hidden.dtype)
    return linear(hidden, weight, offsets), bias_gate(attention, hidden) if gated else None


def _after_attention(layer: Any, hidden: Tensor, attended: Tensor, norm_first: bool) -> Tensor:
    """The rest of one encoder layer, from its inputs and what attention found, `[N, C]` both."""
    hidden = hidden + drop(layer.dropout, apply(layer.attention.out_proj, attended))
    if not norm_first:
        hidden = layer.layer_norm(hidden)
        normed: Tensor = layer.final_layer_norm(hidden + feed_forward(layer.feed_forward, hidden))
        return normed
    hidden = hidden + feed_forward(layer.feed_forward, layer.final_layer_norm(hidden))
    adapter = getattr(layer, "adapter_layer", None)
    return hidden if adapter is None else hidden + adapter(hidden)


def _layer(layer: Any, hidden: Tensor, layout: Layout, bias: Tensor | None, norm_first: bool) -> Tensor:
    """One encoder layer, with its norms before or after attention and feed-forward block."""
    attention = layer.attention
    qkv, gate = _before_attention(layer, hidden, norm_first, bias is not None)
    p = attention.dropout if attention.training else 0.0
    attended = attend(qkv, layout, attention.num_heads, p=p, gate=gate, position_bias=bias)
    return _after_attention(layer, hidden, attended, norm_first)


def _layers(
    model: PreTrainedModel, hidden: Tensor, layout: Layout, indices: Sequence[int], inputs: list[Tensor] | None
) -> Tensor:
    """Some encoder layers in stock kernels, and the norm behind the last where layers begin with theirs.

    Args:
        inputs: takes what enters each layer, and what leaves the last before the encoder's own norm; behind a
            self-conditioned layer what leaves it, before it is conditioned.
    """
    encoder: Any = backbone(model).encoder
    norm_first = bool(model.config.do_stable_layer_norm)
    on_head: Any = model
    conditioned = {layer - 1 for layer in getattr(model.config, "conditioned_layers", ())}
    bias = None
    if indices and shares_position_bias(model.config):
        table = position_bias(encoder.layers[0].attention, layout.longest).to(autocast_dtype(hidden))
        bias = by_query_and_key(table) if hidden.device.type == "cpu" else table
    before = None
    for index in (*indices, None):
        if inputs is not None:
            inputs.append(hidden)
        if before in conditioned:
            hidden = on_head.conditioned(hidden)
        if index is not None:
            hidden = checkpointed(encoder.layers[index], _layer, hidden, layout, bias, norm_first)
        before = index
    return encoder.layer_norm(hidden) if norm_first else hidden


def _fused_layers(
    model: PreTrainedModel, hidden: Tensor, layout: Layout, indices: Sequence[int], inputs: list[Tensor] | None
) -> Tensor:
    """`_layers` in Triton's kernels."""
    encoder: Any = backbone(model).encoder
    layers = [encoder.layers[index] for index in indices]
    norm_first = bool(model.config.do_stable_layer_norm)
    dtype = autocast_dtype(hidden)
    norms = [layer.layer_norm for layer in layers] + [encoder.layer_norm]
    normed = norms[0](hidden) if norm_first else hidden
    hidden, normed = hidden.to(dtype), normed.to(dtype)
    held = None if inputs is not None else graphs_for(model, layout, indices, dtype)
    if held is not None:
        graphs, starts = held
        return graphs(hidden, normed, indices, starts)
    table = position_bias(encoder.layers[0].attention, layout.longest) if shares_position_bias(model.config) else None
    for layer, copies, next_norm in zip(layers, copies_of(layers, dtype), norms[1:], strict=True):
        norm = next_norm if norm_first else None
        if inputs is not None:
            inputs.append(hidden)
        hidden, normed = checkpointed(layer, fused_layer, copies, hidden, normed, layout, table, norm)
    if inputs is not None:
        inputs.append(hidden)
    return normed


def _encoder(
    model: PreTrainedModel, hidden: Tensor, layout: Layout, layers: Sequence[int] | None, inputs: list[Tensor] | None
) -> Tensor:
    encoder: Any = backbone(model).encoder
    norm_first = bool(model.config.do_stable_layer_norm)
    hidden = hidden + _positions(encoder.pos_conv_embed, hidden, layout)
    hidden = drop(encoder.dropout, hidden if norm_first else encoder.layer_norm(hidden))
    indices = range(len(encoder.layers)) if layers is None else layers
    run = _fused_layers if indices and can_fuse(model, hidden) else _layers
    return run(model, hidden, layout, indices, inputs)


def encode(model: PreTrainedModel, row: Row, *, layers: Sequence[int] | None = None) -> Tensor:
    """A row of features → hidden states `[N, C]`; no clip has any influence on another.

    Args:
        row: on the model's device.
        layers: indices of the encoder layers that run; None for all.
    """
    return _encode(model, row, layers, None)


def encode_layers(model: PreTrainedModel, row: Row) -> list[Tensor]:
    """A row of features → what enters each encoder layer and what the encoder gives, `layers + 1` times `[N, C]`.

    Transformers calls them `hidden_states`; 5 takes the last before the norm behind the last layer, unless
    `tie_last_hidden_states` stands in the configuration.
    """
    inputs: list[Tensor] = []
    last = _encode(model, row, None, inputs)
    return [*inputs[:-1], last]


def encode_blocks(
    model: PreTrainedModel, row: Row, blocks: Sequence[int], *, layers: Sequence[int] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """`encode`, and beside its result what leaves some of the encoder's layers, `[N, C]` each, with no norm behind it.

    Args:
        blocks: layers counted from 1; one that is left out gives what the layers before it gave.
        layers: indices, from 0, of the encoder layers that run; None for all.
    """
    inputs: list[Tensor] = []
    last = _encode(model, row, layers, inputs)
    ran = range(len(backbone(model).encoder.layers)) if layers is None else layers
    return last, [inputs[sum(index < block for index in ran)] for block in blocks]


def _encode(model: PreTrainedModel, row: Row, layers: Sequence[int] | None, inputs: list[Tensor] | None) -> Tensor:
    base: Any = backbone(model)
    hidden = _masked(base, _project(base.feature_projection, row.features), row)
    frames = len(hidden)
    behind = -frames % CPU_ROW_STEP if hidden.device.type == "cpu" and not can_fuse(model, hidden) else 0
    hidden = nn.functional.pad(hidden, (0, 0, 0, behind))
    if reads_waveforms(model.config):
        encoded = _encoder(model, hidden, row.layout, layers, inputs)
    else:
        encoded = conformer(base.encoder, hidden, row.layout, layers, inputs)
    if inputs is not None:
        inputs[:] = [states[:frames] for states in inputs]
    return encoded[:frames]


def head(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Hidden states `[N, C]` → logits `[N, V]`, in float32 at least."""
    logits = apply(model.lm_head, drop(model.dropout, hidden))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def ctc_logits(
    model: PreTrainedModel, row: Row, *, layers: Sequence[int] | None = None, encoder_trains: bool = False
) -> Tensor:
    """A row of features → logits `[N, V]` of the model's CTC head, in float32 at least.

    Args:
        layers: indices of the encoder layers that run; None for all, as a probe always has them.
        encoder_trains: keep what a backward pass through the encoder needs.
    """
    probe: Any = model.lm_head
    if isinstance(probe, LayerSumHead):
        backbone(model).eval()
        with torch.no_grad():
            states = encode_layers(model, row)
        logits: Tensor = probe(states)
        return logits
    with torch.set_grad_enabled(encoder_trains and torch.is_grad_enabled()):
        hidden = encode(model, row, layers=layers)
    return head(model, hidden)


def has_kernel_for(logits: Tensor) -> bool:
    """Whether the CTC loss of these logits has a kernel of its own."""
    fits = logits.dtype == torch.float32 and logits.shape[1] <= WIDEST_CTC_HEAD
    return fits and runs_triton(logits.device)


def ctc_loss_sum(logits: Tensor, layout: Layout, labels: Tensor, num_labels: Sequence[int], blank: int) -> Tensor:
    """Σ over the clips of −log p(labels | logits); an infeasible clip counts 0, gradient included.

    Args:
        logits: `[N, V]`, float32 at least.
        layout: of the row.
        labels: the clips' labels one after another, `[Σ num_labels]`.
        num_labels: of each clip; on the host, since CUDA's kernel would wait for them.
        blank: row of the CTC blank.
    """
    if has_kernel_for(logits):
        from unispeech_ft.kernels.ctc import ctc_of_a_row

        return ctc_of_a_row(logits, layout, labels, num_labels, blank)
    # In 32 bits a path's log probability of −1,000 is known to 6e-5, and so is every gradient.
    precision = torch.float32 if logits.device.type == "mps" else torch.float64
    log_probs = torch.log_softmax(logits, dim=-1, dtype=precision)
    clips, width = len(layout.num_frames), layout.longest
    padded = spread(log_probs, layout.padded_places, clips * width).view(clips, width, -1)
    lengths = torch.tensor(layout.num_frames), torch.tensor(num_labels)
    loss = nn.functional.ctc_loss(
        padded.transpose(0, 1), labels, *lengths, blank=blank, reduction="sum", zero_infinity=True
    )
    return loss.float()
