"""Scoring a split with a model: greedy decoding of unpadded frames, every process a part of the batches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from unispeech_ft.data.collate import pad_features
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.plan import evaluation_batches
from unispeech_ft.models.forward import encode, head
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring import UtteranceScore, blank_share, collapse, score

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

# Padded seconds of a batch; the hypotheses do not depend on it.
BATCH_S = 60.0
# A phone that the references hold this often and the model never emits is worth a word.
COMMON_PHONE = 20

# (model, the arrays of some clips, autocast) → the best row of the head in each of a clip's own frames.
BestRows = Callable[[Any, Sequence[npt.NDArray[Any]], Any], list[npt.NDArray[np.int64]]]


@dataclass(frozen=True)
class Evaluation:
    """A scored split.

    Attributes:
        scores: one for each utterance, in the order of the split.
        blank_share: part of all frames whose best row is the blank.
        seconds: wall time.
    """

    scores: list[UtteranceScore]
    blank_share: float | None
    seconds: float

    @property
    def per(self) -> float:
        """Σ errors ÷ Σ reference phones."""
        errors = sum(item.substitutions + item.deletions + item.insertions for item in self.scores)
        return errors / max(1, sum(len(item.reference) for item in self.scores))


@torch.no_grad()
def best_rows(model: PreTrainedModel, clips: Sequence[npt.NDArray[Any]], autocast: Any) -> list[npt.NDArray[np.int64]]:
    """Features of some clips → the best row of the head in each of their own frames."""
    features, num_frames = pad_features(clips)
    with autocast:
        hidden = encode(model, features.to(model.device), num_frames.to(model.device))
        logits = head(model, hidden)
    rows = logits.argmax(dim=-1).cpu().numpy()
    return [rows[place, : len(clip)] for place, clip in enumerate(clips)]


def decode_split(
    model: PreTrainedModel,
    tokenizer: PhoneTokenizer,
    clip_features: Callable[[int], npt.NDArray[Any]],
    num_samples: Sequence[int],
    accelerator: Accelerator,
    batch_s: float = BATCH_S,
    best: BestRows | None = None,
) -> dict[int, tuple[list[str], float]]:
    """Hypothesis and share of blank frames of every clip, by its place, gathered from all processes."""
    was_training = model.training
    model.eval()
    longest_s = max(num_samples) / 16_000
    batches = evaluation_batches(num_samples, max(batch_s, longest_s))
    mine: list[tuple[int, list[str], float]] = []
    for places in batches[accelerator.process_index :: accelerator.num_processes]:
        # Longest first, so that the memory is there from the first batch on.
        rows = (best or best_rows)(model, [clip_features(place) for place in places], accelerator.autocast())
        for place, frames in zip(places, rows, strict=True):
            labels = collapse(frames, tokenizer.blank_id, tokenizer.special_ids)
            mine.append((place, tokenizer.decode(labels), blank_share([frames], tokenizer.blank_id) or 0.0))
    model.train(was_training)
    gathered = mine
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        gathered = gather_object(mine)
    return {place: (phones, blanks) for place, phones, blanks in gathered}


def evaluate_split(
    model: PreTrainedModel,
    tokenizer: PhoneTokenizer,
    labelled: LabelledSplit,
    clip_features: Callable[[int], npt.NDArray[Any]],
    num_frames: npt.NDArray[np.int64],
    accelerator: Accelerator,
    best: BestRows | None = None,
) -> Evaluation:
    """Scores a labelled split.

    Args:
        clip_features: place in the split → `[T, F]`.
        num_frames: of each clip, to weigh the share of blank frames.
        best: what finds the best rows of a batch, `best_rows` where none is named.
    """
    started = time.perf_counter()
    decoded = decode_split(model, tokenizer, clip_features, labelled.num_samples.tolist(), accelerator, best=best)
    hypotheses = {name: decoded[place][0] for place, name in enumerate(labelled.ids)}
    speakers = {name: speaker for name, speaker in zip(labelled.ids, labelled.speakers, strict=True) if speaker}
    scores = score(labelled.references, hypotheses, durations_s=labelled.durations_s, speakers=speakers)
    blanks = sum(decoded[place][1] * int(num_frames[place]) for place in range(len(labelled)))
    return Evaluation(scores, blanks / max(1, int(num_frames.sum())), time.perf_counter() - started)


def warnings_about(evaluation: Evaluation, inventory: Sequence[str]) -> list[str]:
    """Plain words on a model that has collapsed, or that never says some phone."""
    emitted = Counter(phone for item in evaluation.scores for phone in item.hypothesis)
    expected = Counter(phone for item in evaluation.scores for phone in item.reference)
    if not emitted:
        return [
            "the model emits only blanks. Early in training that is usual; if it lasts, raise optimizer.lr or"
            " schedule.updates, lower the masks, and check that the labels fit the audio"
        ]
    silent = [phone for phone in inventory if expected[phone] >= COMMON_PHONE and not emitted[phone]]
    if silent:
        shown = ", ".join(f"{phone} ({expected[phone]} in the references)" for phone in silent[:8])
        return [f"the model never emits {shown}{' …' if len(silent) > 8 else ''}"]
    return []
