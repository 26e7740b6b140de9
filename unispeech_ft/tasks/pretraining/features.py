"""The features of frames that are clustered: MFCC, or what leaves a layer of a model.

`S` samples, `T` frames, `D` channels of a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unispeech_ft.config.sections import ModelConfig, TrainingConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.data.row import Row, lay_out
from unispeech_ft.errors import UserError
from unispeech_ft.extras import optional
from unispeech_ft.kernels.install import place
from unispeech_ft.models.families import check_family, check_plain, frame_s
from unispeech_ft.models.forward import encode_blocks
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.models.loader import load_network, read_config, small_files
from unispeech_ft.models.saved import STOCK_EPS, saved_front_end, weights_digest

Frames = npt.NDArray[np.float32]
MFCC_RATE_HZ, NUM_CEPSTRA = 50.0, 13
# What a frame sees, of MFCC and of the conv extractors alike.
WINDOW_S = 0.025


@dataclass(frozen=True)
class Features:
    """Waveform `[S]` → frames `[T, D]`, so many a second."""

    of: Callable[[Waveform], Frames]
    rate_hz: float


def _mfcc(waveform: Waveform) -> Frames:
    """13 cepstra with first and second differences, every second of 100 frames a second."""
    from torchaudio.compliance.kaldi import mfcc
    from torchaudio.functional import compute_deltas

    if len(waveform) < WINDOW_S * SAMPLE_RATE_HZ:
        return np.zeros((0, 3 * NUM_CEPSTRA), dtype=np.float32)
    samples = torch.from_numpy(waveform)[None]
    cepstra = mfcc(samples, sample_frequency=SAMPLE_RATE_HZ, use_energy=False, num_ceps=NUM_CEPSTRA, dither=0.0).T
    first = compute_deltas(cepstra)
    frames: Frames = torch.cat([cepstra, first, compute_deltas(first)]).T[::2].contiguous().numpy()
    return frames


MFCC = Features(_mfcc, MFCC_RATE_HZ)


def layer_features(network: Any, front_end: FrontEnd, layer: int) -> Features:
    """What leaves a layer of an encoder in evaluation mode, without a norm behind it.

    Args:
        layer: from 1.
    """

    @torch.no_grad()
    def of(waveform: Waveform) -> Frames:
        frames = front_end(waveform)
        if not len(frames):
            return np.zeros((0, network.config.hidden_size), dtype=np.float32)
        row = Row(frames, lay_out([len(frames)]).to(frames.device))
        _, (found,) = encode_blocks(network, row, [layer], layers=range(layer))
        array: Frames = found.float().cpu().numpy()
        return array

    return Features(of, 1 / frame_s(network.config))


@lru_cache(maxsize=1)
def named_features(model: str | None, layer: int | None) -> tuple[Features, str]:
    """The features of a name, opened once in a process, and what they are in words.

    Args:
        model: folder, run, packaged:NAME or Hub id; None for MFCC.
        layer: of the model, from 1.

    Raises:
        UserError: there is no such model or layer, or no torchaudio for MFCC.
    """
    from transformers import AutoModel

    if model is None or layer is None:
        optional("torchaudio.compliance.kaldi", "torchaudio", "a target of MFCC")
        return MFCC, "MFCC with differences"
    try:
        folder = small_files(model)
        config = read_config(folder, model)
        check_family(config, model)
        check_plain(config, model)
    except UserError as error:
        raise UserError(f"--model: {error.what.removeprefix('model.base: ')}", remedy="check the name") from None
    if not 1 <= layer <= config.num_hidden_layers:
        raise UserError(f"{model} has layers 1 to {config.num_hidden_layers}", remedy="name one of them in --layer")
    network, _ = load_network(AutoModel, model, config, heads=())
    network.eval().requires_grad_(False)
    said = f"layer {layer} of {model} ({weights_digest(network)})"
    place(network, torch.device("cuda" if torch.cuda.is_available() else "cpu"), ModelConfig(), TrainingConfig())
    return layer_features(network, saved_front_end(model, folder, network, STOCK_EPS), layer), said
