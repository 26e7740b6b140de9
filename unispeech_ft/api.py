"""The toolkit from Python; each function imports what it needs when it is called.

import unispeech_ft

result = unispeech_ft.train("configs/ctc_phoneme/demo.yaml", {"schedule.updates": 100})
for transcript in unispeech_ft.transcribe(result.model_dir, "clip.wav"):
    print([item.phone for item in transcript.phones])
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.errors import UserError, raise_all

if TYPE_CHECKING:
    from unispeech_ft.config.sections import Config, PhonemesConfig
    from unispeech_ft.models.saved import SavedModel
    from unispeech_ft.scoring import Summary
    from unispeech_ft.tasks.ctc_phoneme.task import SpeechData
    from unispeech_ft.transcription.transcripts import Transcript

    ConfigSource = Config | str | Path


@dataclass(frozen=True)
class RunResult:
    """What a training run left behind.

    Attributes:
        output_dir: the run directory.
        model_dir: the model folder in it, for `transcribe` and plain transformers.
        summaries: of validation and test where the data has them; on other processes than the first, none.
    """

    output_dir: Path
    model_dir: Path
    summaries: list[Summary]


def _resolve(config: ConfigSource, overrides: Mapping[str, object] | None) -> Config:
    from unispeech_ft.config.reading import load_config
    from unispeech_ft.config.sections import Config, cross_field_errors

    if isinstance(config, Config):
        if overrides:
            raise TypeError("overrides go with a YAML file; change a Config with its model_copy")
        raise_all(cross_field_errors(config))
        return config
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (overrides or {}).items()}
    return load_config(["--config", str(config), *(f"--{key}={text}" for key, text in texts.items())])


def phonemize(sentences: Sequence[str], language: str, rule: PhonemesConfig | None = None) -> list[list[str]]:
    """Phones of each sentence as in training; none for a sentence that cannot be pronounced.

    Args:
        sentences: raw text.
        language: Common Voice code or espeak-ng's name.
        rule: lexicon, stress, punctuation, map; by default espeak-ng alone, without stress and punctuation.

    Raises:
        UserError: espeak-ng lacks the language, or a file of the rule is missing or malformed.
    """
    from unispeech_ft.config.sections import PhonemesConfig
    from unispeech_ft.phonemes.g2p import G2P, pronounce

    return [item.phones for item in pronounce(sentences, G2P.from_config(rule or PhonemesConfig(), language))]


def prepare(config: ConfigSource, overrides: Mapping[str, object] | None = None) -> SpeechData:
    """Lists, decodes and labels the speech of a configuration, or finds it in the cache.

    Args:
        config: a configuration, or the path of its YAML.
        overrides: by dotted key, such as `{"data.root": "cv-corpus/ky"}`; only with a YAML.

    Raises:
        UserError: a fault of the configuration or the data.
    """
    from unispeech_ft.tasks.ctc_phoneme import task as ctc

    resolved = _resolve(config, overrides)
    return ctc.open_data(resolved, ctc.start(resolved), ctc.model_frames(resolved))


def train(config: ConfigSource, overrides: Mapping[str, object] | None = None) -> RunResult:
    """Fine-tunes a phone recogniser as `recipes/ctc_phoneme.py` does, and scores and exports it.

    Args:
        config: a configuration, or the path of its YAML.
        overrides: by dotted key, such as `{"schedule.updates": 100}`; only with a YAML.

    Raises:
        UserError: a fault of the configuration, the data or the base model; or, with the run complete on disk, of the
            push that `hub.push` asks for.
    """
    from unispeech_ft.hub.push import check_hub, push_if_asked
    from unispeech_ft.kernels.install import place
    from unispeech_ft.models.build import build_model
    from unispeech_ft.runs.directory import describe_data, open_output, score_and_export
    from unispeech_ft.tasks.ctc_phoneme import task as ctc
    from unispeech_ft.training.loop import train as run_updates

    resolved = _resolve(config, overrides)
    if resolved.dry_run:
        raise UserError("dry_run is true, and train trains", remedy="set it false, or run the recipe for a dry run")
    check_hub(resolved)
    accelerator = ctc.start(resolved)
    data = ctc.open_data(resolved, accelerator, ctc.model_frames(resolved))
    tokenizer = ctc.head_for(data, resolved)
    describe_data(data, tokenizer, accelerator)
    built = build_model(resolved.model, resolved.mask, resolved.data, tokenizer, resolved.seed)
    place(built.model, accelerator.device, resolved.model, resolved.training)
    open_output(resolved, data, accelerator)
    features = ctc.all_features(data, built.front_end, resolved, accelerator)
    task = ctc.ctc_task(resolved, built, tokenizer, features, accelerator)
    run_updates(task, resolved, accelerator)
    summaries = score_and_export(resolved, data, built, tokenizer, features, accelerator)
    accelerator.end_training()
    push_if_asked(resolved, accelerator.is_main_process)
    output = Path(resolved.output_dir)
    return RunResult(output, output / "model", summaries)


def score(references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, Sequence[str]]) -> Summary:
    """Phone error rate with its 95 % interval, from utterance id → phones on either side.

    Raises:
        UserError: the ids differ.
    """
    from unispeech_ft.scoring import score as score_utterances
    from unispeech_ft.scoring import summarize

    return summarize(score_utterances(references, hypotheses))


def transcribe(model: SavedModel | str | Path, *paths: str | Path, device: str = "cpu") -> list[Transcript]:
    """Phones with times of audio files of any format and length, folders searched.

    Args:
        model: a model folder or Hub id, or one that `models.saved.load_saved` has loaded.
        paths: audio files, or folders with audio files below them.
        device: where a model that is still to be loaded computes.

    Raises:
        UserError: the model cannot be used, or files cannot be read (all of them are named);
            `transcription.transcripts.transcribe_files` goes on with the others.
    """
    from unispeech_ft.models.saved import SavedModel, load_saved
    from unispeech_ft.transcription.transcripts import audio_files, transcribe_files

    files, faults = audio_files(paths)
    saved = model if isinstance(model, SavedModel) else load_saved(model, device)
    transcripts: list[Transcript] = []
    for result in transcribe_files(saved, files):
        if isinstance(result, UserError):
            faults.append(result)
        else:
            transcripts.append(result)
    raise_all(faults)
    return transcripts


def align(model: SavedModel | str | Path, path: str | Path, phones: Sequence[str]) -> Transcript:
    """When each of the given phones was said in a recording, by torchaudio's forced alignment.

    Raises:
        UserError: the model or the recording cannot be used, or the phones do not fit them.
    """
    from unispeech_ft.models.saved import SavedModel, load_saved
    from unispeech_ft.transcription.alignment import align_file

    return align_file(model if isinstance(model, SavedModel) else load_saved(model), path, phones)
