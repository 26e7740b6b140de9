"""Small checkpoints in the original formats, made here from random numbers; and files that mean harm."""

from __future__ import annotations

import contextlib
import io
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

PHONES = ("a", "tʃ", "o:")
DICTIONARY = (*PHONES, "<s>", "<pad>", "</s>", "<unk>")
CONVOLUTIONS = "[(8, 10, 10)] + [(8, 3, 4)] * 2"


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def encoder_shapes(
    *, hidden: int = 16, width: int = 24, layers: int = 2, channels: int = 8, kernels: tuple[int, ...] = (10, 3, 3)
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a layer-norm, pre-norm encoder without conv bias (`position_kernel` 8 in 4 groups)."""
    shapes: dict[str, tuple[int, ...]] = {"mask_emb": (hidden,)}
    for place, kernel in enumerate(kernels):
        shapes[f"feature_extractor.conv_layers.{place}.0.weight"] = (channels, channels if place else 1, kernel)
        shapes |= _norm(f"feature_extractor.conv_layers.{place}.2.1", channels)
    if channels != hidden:
        shapes |= _linear("post_extract_proj", hidden, channels)
    shapes |= {"encoder.pos_conv.0.bias": (hidden,), "encoder.pos_conv.0.weight_g": (1, 1, 8)}
    shapes["encoder.pos_conv.0.weight_v"] = (hidden, hidden // 4, 8)
    for place in range(layers):
        name = f"encoder.layers.{place}"
        for part in "kvq":
            shapes |= _linear(f"{name}.self_attn.{part}_proj", hidden, hidden)
        shapes |= _linear(f"{name}.self_attn.out_proj", hidden, hidden)
        shapes |= _norm(f"{name}.self_attn_layer_norm", hidden) | _norm(f"{name}.final_layer_norm", hidden)
        shapes |= _linear(f"{name}.fc1", width, hidden) | _linear(f"{name}.fc2", hidden, width)
    return shapes | _norm("encoder.layer_norm", hidden) | _norm("layer_norm", channels)


def settings(name: str = "unispeech", **changes: Any) -> dict[str, Any]:
    """fairseq's settings of `encoder_shapes`."""
    return {
        "_name": name,
        "extractor_mode": "layer_norm",
        "encoder_layers": 2,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 24,
        "encoder_attention_heads": 2,
        "activation_fn": "gelu",
        "layer_norm_first": True,
        "conv_feature_layers": CONVOLUTIONS,
        "conv_bias": False,
        "conv_pos": 8,
        "conv_pos_groups": 4,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "dropout_input": 0.1,
        "final_dropout": 0.0,
        "encoder_layerdrop": 0.05,
        "mask_prob": 0.65,
        "mask_length": 10,
        "mask_channel_prob": 0.0,
        "mask_channel_length": 10,
        **changes,
    }


def random_tensors(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> OrderedDict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return OrderedDict(
        (name, (0.1 * torch.randn(shape, generator=generator)).to(dtype)) for name, shape in shapes.items()
    )


def pretrained(name: str = "unispeech", **changes: Any) -> dict[str, Any]:
    """A checkpoint of a bare encoder; `changes` are settings."""
    cfg = {"model": settings(name, **changes), "task": {"normalize": True}}
    return {"args": None, "cfg": cfg, "model": random_tensors(encoder_shapes())}


def fine_tuned(rows: int = len(DICTIONARY), name: str = "unispeech") -> dict[str, Any]:
    """A checkpoint of a CTC fine-tuning, without a dictionary."""
    shapes = {f"w2v_encoder.w2v_model.{key}": shape for key, shape in encoder_shapes().items()}
    inner = {"model": settings(name), "task": {"normalize": True}}
    outer = {"_name": "wav2vec_ctc", "w2v_args": inner, "mask_prob": 0.75, "layerdrop": 0.1, "final_dropout": 0.2}
    cfg = {"model": outer, "task": {"normalize": True}, "criterion": {"zero_infinity": True}}
    return {"args": None, "cfg": cfg, "model": random_tensors(shapes | _linear("w2v_encoder.proj", rows, 16))}


@contextlib.contextmanager
def foreign_class(path: str) -> Iterator[type]:
    """A class `package.module.Name` that only pickling needs to find; its package is forgotten afterwards."""
    module_name, _, name = path.rpartition(".")
    parts = module_name.split(".")
    names = [".".join(parts[: place + 1]) for place in range(len(parts))]
    fake = [part for part in names if part not in sys.modules]
    for part in fake:
        sys.modules[part] = types.ModuleType(part)
    found = type(name, (), {"__module__": module_name, "__qualname__": name})
    setattr(sys.modules[module_name], name, found)
    try:
        yield found
    finally:
        for part in fake:
            del sys.modules[part]


def save(content: Any, path: Path, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def zip_around(pickled: bytes, path: Path, *, compression: int = zipfile.ZIP_STORED, data: bytes = b"") -> Path:
    """A zip archive as torch.save writes it, around a given pickle and one storage."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", data)
    return path


def one_tensor(count: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The pickle of `{"model": {"mask_emb": tensor}}`, with whatever the tensor claims."""
    text = io.StringIO()
    text.write("\x80\x02}X\x05\x00\x00\x00model}X\x08\x00\x00\x00mask_embctorch._utils\n_rebuild_tensor_v2\n(")
    text.write("(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu")
    text.write(f"I{count}\ntQI0\n(" + "".join(f"I{part}\n" for part in shape) + "t(")
    text.write("".join(f"I{part}\n" for part in stride) + "tI00\nNtRss.")
    return text.getvalue().encode("latin-1")
