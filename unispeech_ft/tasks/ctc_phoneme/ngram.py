"""A phone n-gram for beam search: made from the training labels, its weights tuned on the validation split alone."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from unispeech_ft.config.sections import Config, TrackingConfig
from unispeech_ft.errors import UserError
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
from unispeech_ft.tasks.ctc_phoneme import task as ctc
from unispeech_ft.tasks.ctc_phoneme.evaluate import frame_outputs


def make_ngram(model: str, config: Config, output: Path, order: int) -> list[tuple[BeamSettings, float]]:
    """Writes `phones.arpa` and `beam.json`.

    Args:
        model: folder or Hub id, whose posteriors the weights are tuned for.
        output: folder, made if missing.
        order: of the n-gram.

    Returns:
        The validation PER of every trial, the best first; weight and penalty 0 are a search without an n-gram.

    Raises:
        UserError: a fault of model or data, no validation split, or flashlight-text is not installed.
    """
    check_library()
    accelerator = ctc.start(config.model_copy(update={"tracking": TrackingConfig(trackers=[]), "dry_run": False}))
    saved = load_saved(model, accelerator.device)
    data = ctc.open_data(config, accelerator, None, ("train", "validation"))
    if "validation" not in data.splits:
        raise UserError("there is no validation split to tune the weights on", remedy="name one (data.validation)")
    output.mkdir(parents=True, exist_ok=True)
    (output / ARPA).write_text(arpa(data.splits["train"].phones, order), encoding="utf-8")
    tokenizer = saved.tokenizer
    best, trials = tune(
        lambda settings: make_search(
            output / ARPA, settings, tokenizer.tokens, tokenizer.blank_id, tokenizer.special_ids
        ),
        _clips(saved, data),
        order,
    )
    write_settings(output, best)
    return sorted(trials, key=lambda trial: (trial[0] != best, trial[1]))


def _clips(saved: SavedModel, data: ctc.SpeechData) -> list[tuple[LogPosteriors, list[int]]]:
    labelled, built = data.splits["validation"], saved.built
    known = saved.tokenizer.ids  # a phone that the model lacks is -1, an error however it is decoded
    clips = []
    for name, phones in zip(labelled.ids, labelled.phones, strict=True):
        features = built.front_end(labelled.waveform(name)).cpu().numpy()
        (outputs,) = frame_outputs(built.model, [features], nullcontext())
        clips.append((outputs.log_posteriors, [known.get(phone, -1) for phone in phones]))
    return clips
