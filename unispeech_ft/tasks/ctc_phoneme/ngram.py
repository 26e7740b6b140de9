"""A phone n-gram for beam search: made from the training labels, its weights tuned on the validation split alone."""

from __future__ import annotations

from pathlib import Path

from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.speech import open_speech
from unispeech_ft.errors import UserError
from unispeech_ft.models.decoding import frame_outputs
from unispeech_ft.models.saved import SavedModel, load_saved
from unispeech_ft.scoring.beam import (
    ARPA,
    BeamSettings,
    LogPosteriors,
    check_library,
    make_search,
    tune,
    write_settings,
)
from unispeech_ft.scoring.ngram import arpa
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.training import launch


def make_ngram(
    model: str, config: CtcPhonemeConfig, output: Path, order: int, revision: str | None = None
) -> list[tuple[BeamSettings, float]]:
    """Writes `phones.arpa` and `beam.json`.

    Args:
        model: folder or Hub id, whose posteriors the weights are tuned for.
        output: folder, made if missing.
        order: of the n-gram.
        revision: of a Hub id.

    Returns:
        The validation PER of every trial, the best first; weight and penalty 0 are a search without an n-gram.

    Raises:
        UserError: a fault of model or data, no validation split, or flashlight-text is not installed.
    """
    check_library()
    accelerator = launch.start()
    saved = load_saved(model, accelerator.device, revision=revision)
    turns = launch.turns_of(accelerator)
    speech = open_speech(config.data, config.phonemes, wanted=("train", "validation"), turns=turns)
    if "validation" not in speech.splits:
        raise UserError("there is no validation split to tune the weights on", remedy="name one (data.validation)")
    output.mkdir(parents=True, exist_ok=True)
    (output / ARPA).write_text(arpa(speech.splits["train"].phones, order), encoding="utf-8")
    tokenizer = saved.tokenizer
    best, trials = tune(
        lambda settings: make_search(
            output / ARPA, settings, tokenizer.tokens, tokenizer.blank_id, tokenizer.special_ids
        ),
        _clips(saved, speech.splits["validation"]),
        order,
    )
    write_settings(output, best)
    return sorted(trials, key=lambda trial: (trial[0] != best, trial[1]))


def _clips(saved: SavedModel, labelled: LabelledSplit) -> list[tuple[LogPosteriors, list[int]]]:
    built = saved.built
    known = saved.tokenizer.ids  # a phone that the model lacks is -1, an error however it is decoded
    clips = []
    for name, phones in zip(labelled.ids, labelled.phones, strict=True):
        features = built.front_end(labelled.waveform(name)).cpu().numpy()
        (outputs,) = frame_outputs(built.model, [features])
        clips.append((outputs.log_posteriors, [known.get(phone, -1) for phone in phones]))
    return clips
