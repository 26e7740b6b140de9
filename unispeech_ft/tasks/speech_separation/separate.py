"""Recordings of any length → each speaker alone: chunks that overlap, by which the speakers are known again.

`S` samples, `P` speakers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.data.row import row_of
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.models.loader import small_files
from unispeech_ft.models.saved import saved_front_end
from unispeech_ft.tasks.speech_separation.model import load_separation, separated

# torch's own, as in training.
EPS = 1e-5
Sounds = npt.NDArray[np.float32]


def join(chunks: Iterable[Sounds], overlap: int) -> Sounds:
    """Chunks `[P, S]`, each of which begins `overlap` samples before the end of the one before, as one: `[P, S]`.

    The speakers of a chunk are put in the order in which they resemble those before in the overlap, and cross-faded.
    """
    whole: list[Sounds] = []
    rising = np.linspace(0, 1, overlap, dtype=np.float32)
    for chunk in chunks:
        if whole and overlap:
            before = whole[-1][:, -overlap:]
            _, order = linear_sum_assignment(before @ chunk[:, :overlap].T, maximize=True)
            chunk = chunk[order]
            faded = before * (1 - rising) + chunk[:, :overlap] * rising
            whole[-1] = whole[-1][:, :-overlap]
            chunk = np.concatenate([faded, chunk[:, overlap:]], axis=1)
        whole.append(chunk)
    return np.concatenate(whole, axis=1)


def separate(network: Any, front_end: FrontEnd, samples: Waveform) -> Sounds:
    """A recording `[S]` → each speaker alone, as loud as there: `[P, S]`.

    Args:
        network: in evaluation mode.
    """
    said = network.config.head
    length, overlap = (round(said[key] * SAMPLE_RATE_HZ) for key in ("chunk_s", "overlap_s"))
    chunks = []
    for start in range(0, max(1, len(samples) - overlap), length - overlap):
        piece = samples[start : start + length]
        # What is too short for a frame is heard as if silence followed.
        missing = next(n for n in range(0, SAMPLE_RATE_HZ, 160) if front_end.num_frames(len(piece) + n) > 0)
        heard = np.pad(piece, (0, missing))
        row = row_of([front_end(heard).cpu().numpy()]).to(network.device)
        found = separated(network, row, torch.from_numpy(heard)[None].to(network.device))[0]
        chunks.append(found.cpu().numpy()[:, : len(piece)])
    return join(chunks, overlap)


def load_separator(name: str) -> tuple[Any, FrontEnd]:
    """The network of a model folder and its front end.

    Raises:
        UserError: it is no folder of this task.
    """
    network = load_separation(name)
    return network, saved_front_end(name, small_files(name), network, EPS)
