"""Wav2Vec2-BERT's conformer over a row of frames: what its stock modules compute for each clip alone.

`N` frames of the row, `B` clips of a group, `H` heads, `T` frames of a clip, `L` of the longest, `D` channels a head,
`C = H · D`, `K` taps.
Sources: Wav2Vec2BertEncoder of Transformers; Gulati et al. 2020 (conformer), Shaw et al. 2018 (relative keys), Dai et
al. 2019, appendix B (relative positions), Su et al. 2021 (rotary positions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.attention import attend
from unispeech_ft.kernels.linear import autocast_dtype, linear
from unispeech_ft.kernels.positions import convolve_before
from unispeech_ft.models.parts import apply, checkpointed, drop, feed_forward, joined


class Places(NamedTuple):
    """What the layers of an encoder know of the places of frames.

    Attributes:
        angles: cosines and sines of rotary positions, `[N, 1, D]` each; None for another kind.
        distances: sinusoids of relative positions, `[2 · L − 1, C]`, from the earliest key on; None for another kind.
        keys: rows of the embedding of relative keys, `[2 · L − 1]`, in that order; None for another kind.
    """

    angles: tuple[Tensor, Tensor] | None = None
    distances: Tensor | None = None
    keys: Tensor | None = None


def _places(encoder: Any, hidden: Tensor, layout: Layout) -> Places:
    kind = encoder.config.position_embeddings_type
    if kind == "relative":
        longest = hidden.new_empty(1, layout.longest, hidden.shape[1])
        return Places(distances=encoder.embed_positions(longest)[0])
    if kind == "relative_key":
        left, right = encoder.config.left_max_position_embeddings, encoder.config.right_max_position_embeddings
        apart = torch.arange(1 - layout.longest, layout.longest, device=hidden.device)
        return Places(keys=apart.clamp(-left, right) + left)
    if kind != "rotary":
        return Places()
    # Zeros behind the last clip count on from it, and nobody hears them.
    frames = torch.arange(len(hidden), device=hidden.device)
    frames[: len(layout.clips)] -= layout.starts.long()[layout.clips]
    turned = frames[:, None] * encoder.embed_positions.inv_freq
    angles = torch.cat([turned, turned], dim=-1)[:, None]
    return Places(angles=(angles.cos(), angles.sin()))


def _rotated(hidden: Tensor, angles: tuple[Tensor, Tensor], heads: int) -> Tensor:
    apart = hidden.view(len(hidden), heads, -1)
    first, second = apart.chunk(2, dim=-1)
    cosines, sines = (values.to(hidden.dtype) for values in angles)
    return (apart * cosines + torch.cat([-second, first], dim=-1) * sines).flatten(1)


def by_distance(query: Tensor, table: Tensor) -> Tensor:
    """The products of queries with the vector of each key's distance.

    Args:
        query: `[B, H, T, D]`.
        table: `[1 or H, 2 · L − 1, D]`, L at least T; the first vector belongs to a key L − 1 frames earlier.

    Returns:
        `[B, H, T, T]`, a view.
    """
    width, middle = query.shape[2], table.shape[1] // 2
    near = table[:, middle - width + 1 : middle + width]
    # With one column more than distances, each row of scores begins one place further left in memory.
    near = nn.functional.pad(near, (0, 0, 0, 1))
    if len(near) == 1:
        scores = linear(query.flatten(0, 2), near[0]).view(*query.shape[:3], -1)
    else:
        scores = query @ near.transpose(1, 2)
    moved = scores.flatten(2)[..., width - 1 : width - 1 + width * (2 * width - 1)]
    return moved.view(*query.shape[:3], 2 * width - 1)[..., :width]


def _position_scores(attention: Any, places: Places) -> Callable[[Tensor], Tensor] | None:
    """What positions add to the scores of queries; None where they add nothing."""
    if places.distances is not None:
        table = apply(attention.linear_pos, places.distances).view(-1, attention.num_heads, attention.head_size)
        between = (attention.pos_bias_v - attention.pos_bias_u)[:, None].to(table.dtype)
        return lambda query: attention.scaling * by_distance(query + between, table.transpose(0, 1))
    if places.keys is None:
        return None
    table = attention.distance_embedding(places.keys)[None]
    return lambda query: attention.scaling * by_distance(query, table.to(query.dtype))


def _attended(layer: Any, hidden: Tensor, layout: Layout, places: Places) -> Tensor:
    attention = layer.self_attn
    hidden = layer.self_attn_layer_norm(hidden)
    hidden = hidden.to(autocast_dtype(hidden))  # once instead of for each projection
    projections = (attention.linear_q, attention.linear_k, attention.linear_v)
    if places.angles is not None:
        turned = _rotated(hidden, places.angles, attention.num_heads)
        of_each = zip(projections, (turned, turned, hidden), strict=True)
        qkv = torch.cat([apply(projection, given) for projection, given in of_each], dim=1)
    else:
        weight, offsets = joined(projections, hidden.dtype)
        if places.distances is not None:
            content = attention.pos_bias_u.flatten().to(hidden.dtype)
            offsets = offsets + nn.functional.pad(content, (0, 2 * len(content)))
        qkv = linear(hidden, weight, offsets)
    scores = _position_scores(attention, places)
    p = attention.dropout.p if attention.training else 0.0
    attended = attend(qkv, layout, attention.num_heads, p=p, position_scores=scores)
    return drop(layer.self_attn_dropout, apply(attention.linear_out, attended))


def _convolved(module: Any, hidden: Tensor, layout: Layout) -> Tensor:
    hidden = linear(module.layer_norm(hidden), module.pointwise_conv1.weight[:, :, 0])
    hidden = convolve_before(nn.functional.glu(hidden), layout, module.depthwise_conv.weight)
    hidden = module.activation(module.depthwise_layer_norm(hidden))
    return drop(module.dropout, linear(hidden, module.pointwise_conv2.weight[:, :, 0]))


def _layer(layer: Any, hidden: Tensor, layout: Layout, places: Places) -> Tensor:
    hidden = hidden + 0.5 * feed_forward(layer.ffn1, layer.ffn1_layer_norm(hidden))
    hidden = hidden + _attended(layer, hidden, layout, places)
    hidden = hidden + _convolved(layer.conv_module, hidden, layout)
    hidden = hidden + 0.5 * feed_forward(layer.ffn2, layer.ffn2_layer_norm(hidden))
    normed: Tensor = layer.final_layer_norm(hidden)
    return normed


def conformer(
    encoder: Any, hidden: Tensor, layout: Layout, layers: Sequence[int] | None, inputs: list[Tensor] | None
) -> Tensor:
    """A stock encoder: `[N, C]` → `[N, C]`.

    Args:
        layers: indices of the layers that run; None for all.
        inputs: takes what enters each layer, and what leaves the last.
    """
    hidden = drop(encoder.dropout, hidden)
    places = _places(encoder, hidden, layout)
    for index in range(len(encoder.layers)) if layers is None else layers:
        if inputs is not None:
            inputs.append(hidden)
        hidden = checkpointed(encoder.layers[index], _layer, hidden, layout, places)
    if inputs is not None:
        inputs.append(hidden)
    return hidden
