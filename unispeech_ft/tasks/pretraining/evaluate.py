"""Scoring the CTC branch of a pre-training as the original does: part of the frames replaced by their latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from unispeech_ft.data.audio import Waveform, normalise_waveform
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.row import Row, lay_out
from unispeech_ft.models.decoding import Autocast, Logits, LogitsOf
from unispeech_ft.models.families import backbone, num_frames
from unispeech_ft.models.forward import encode
from unispeech_ft.randomness import Stream, generator
from unispeech_ft.tasks.ctc_phoneme.evaluate import Evaluation, evaluate_split
from unispeech_ft.tasks.pretraining.batches import pad_waveforms
from unispeech_ft.tasks.pretraining.forward import convolve, ctc_branch, end_to_end, project_up, quantise
from unispeech_ft.tasks.pretraining.model import PretrainingModel

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


def ctc_branch_logits(share: float, seed: int) -> LogitsOf:
    """What the CTC branch says of some waveforms; the best codes are chosen.

    Args:
        share: of the frames that are replaced by their quantised latents.
    """

    @torch.no_grad()
    def logits_of(model: PreTrainedModel, clips: Sequence[Waveform], autocast: Autocast) -> Logits:
        frames = [num_frames(model.config, len(clip)) for clip in clips]
        with autocast():
            layout = lay_out(frames).to(model.device)
            features = end_to_end(convolve(model, pad_waveforms(clips).to(model.device), 0.0), layout)
            hidden = encode(model, Row(features, layout))
            random = generator(seed, Stream.EVALUATION_REPLACEMENT, len(clips), sum(frames))
            replaced = torch.from_numpy(random.random(len(hidden)) < share).to(model.device)
            projected = None
            if share > 0:
                latents = backbone(model).feature_projection.layer_norm(features)
                projected = project_up(model, quantise(model, latents, None, 1.0).vectors)
            logits = ctc_branch(model, hidden, projected, replaced)
        return Logits(logits, tuple(frames))

    return logits_of


@dataclass(frozen=True)
class SplitWaveforms:
    """The clips of a split as the network reads them."""

    labelled: LabelledSplit
    built: PretrainingModel

    @property
    def num_frames(self) -> npt.NDArray[np.int64]:
        config = self.built.network.config
        return np.array([num_frames(config, count) for count in self.labelled.num_samples.tolist()])

    def clip(self, index: int) -> Waveform:
        """`[S]` of a clip."""
        waveform = self.labelled.audio.waveform(self.labelled.rows[index])
        return normalise_waveform(waveform, self.built.eps) if self.built.normalize else waveform


def score_languages(
    built: PretrainingModel,
    validation: Mapping[str, LabelledSplit],
    replacement: float,
    seed: int,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """PER of the CTC branch over all languages, and of each where there are several.

    Args:
        validation: by language.
        replacement: see `ctc_branch_logits`.
    """
    if built.tokenizer is None:
        raise ValueError("the CTC branch has no tokenizer")
    evaluations = {
        language: evaluate_split(
            built.network,
            built.tokenizer,
            split,
            SplitWaveforms(split, built),
            accelerator,
            logits_of=ctc_branch_logits(replacement, seed),
            timed=False,
        )
        for language, split in validation.items()
    }
    scores = [item for evaluation in evaluations.values() for item in evaluation.scores]
    blanks = [evaluation.blank_share or 0.0 for evaluation in evaluations.values()]
    seconds = sum(evaluation.seconds for evaluation in evaluations.values())
    values = {"per": Evaluation(scores, None, 0.0).per, "blank_share": float(np.mean(blanks)), "seconds": seconds}
    if len(evaluations) > 1:
        values |= {f"per_{language}": evaluation.per for language, evaluation in evaluations.items()}
    return values
