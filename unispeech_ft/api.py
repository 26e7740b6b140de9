"""The toolkit from Python; each function imports what it needs when it is called.

import unispeech_ft

result = unispeech_ft.train("configs/ctc_phoneme/demo.yaml", {"schedule.updates": 100})
for transcript in unispeech_ft.transcribe(result.model_dir, "clip.wav"):
    print([item.phone for item in transcript.phones])
summary = unispeech_ft.evaluate(result.model_dir, "configs/ctc_phoneme/demo.yaml", "test")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.errors import UserError, raise_all

if TYPE_CHECKING:
    from unispeech_ft.config.sections import PhonemesConfig
    from unispeech_ft.data.speech import Speech
    from unispeech_ft.data.utterances import Split
    from unispeech_ft.models.saved import SavedModel
    from unispeech_ft.scoring import Summary
    from unispeech_ft.scoring.compare import Comparison
    from unispeech_ft.scoring.task_compare import TaskComparison
    from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
    from unispeech_ft.transcription.pronunciation import Pronunciation
    from unispeech_ft.transcription.timed import Transcript

    ConfigSource = CtcPhonemeConfig | str | Path


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

    def __repr__(self) -> str:
        return f"RunResult({str(self.output_dir)!r}, {self.summaries})"


def _resolve(config: ConfigSource, overrides: Mapping[str, object] | None) -> CtcPhonemeConfig:
    from unispeech_ft.config.reading import cross_field_errors
    from unispeech_ft.runs.shipped import config_file
    from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig, load_config

    if isinstance(config, CtcPhonemeConfig):
        if overrides:
            raise TypeError("overrides go with a YAML file; change a configuration with its model_copy")
        raise_all(cross_field_errors(config))
        return config
    return load_config(config_file(config), overrides)


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


def prepare(config: ConfigSource, overrides: Mapping[str, object] | None = None) -> Speech:
    """Lists, decodes and labels the speech of a configuration, or finds it in the cache.

    Args:
        config: a configuration, its YAML, or the name of one of the package.
        overrides: by dotted key, such as `{"data.root": "cv-corpus/ky"}`; only with a YAML.

    Raises:
        UserError: a fault of the configuration or the data.
    """
    from unispeech_ft.data.speech import open_speech
    from unispeech_ft.models.build import frame_counter

    resolved = _resolve(config, overrides)
    num_frames = frame_counter(resolved.model, dry_run=resolved.dry_run)
    return open_speech(resolved.data, resolved.phonemes, num_frames=num_frames)


def train(config: ConfigSource, overrides: Mapping[str, object] | None = None) -> RunResult:
    """Fine-tunes a phone recogniser as `recipes/ctc_phoneme.py` does, and scores and exports it.

    Args:
        config: a configuration, its YAML, or the name of one of the package.
        overrides: by dotted key, such as `{"schedule.updates": 100}`; only with a YAML.

    Raises:
        UserError: a fault of the configuration, the data or the base model; or, with the run complete on disk, of the
            push that `hub.push` asks for.
    """
    from unispeech_ft.hub.push import check_hub
    from unispeech_ft.recipes import ctc_phoneme

    resolved = _resolve(config, overrides)
    if resolved.dry_run:
        raise UserError("dry_run is true, and train trains", remedy="set it false, or run the recipe for a dry run")
    check_hub(resolved.hub)
    summaries = ctc_phoneme.run(resolved)
    output = Path(resolved.output_dir)
    return RunResult(output, output / "model", summaries)


def evaluate(
    model: str | Path,
    config: ConfigSource,
    split: Split = "test",
    overrides: Mapping[str, object] | None = None,
    *,
    output: str | Path | None = None,
    beam: str | Path | None = None,
) -> Summary:
    """Scores a saved model on a split of a configuration and writes the results, as `unispeech-ft evaluate` does.

    Args:
        model: a model folder or Hub id.
        config: a configuration, its YAML, or the name of one of the package; what it says on the model
            counts for nothing.
        split: train, validation or test.
        overrides: by dotted key; only with a YAML.
        output: folder of the results; see `tasks.ctc_phoneme.results.default_output`.
        beam: folder of an n-gram (`unispeech-ft ngram`) to decode with.

    Raises:
        UserError: a fault of the model, the configuration, the data or the output folder.
    """
    from unispeech_ft.config.sections import ModelConfig
    from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
    from unispeech_ft.tasks.ctc_phoneme.results import evaluate_saved

    scored = {"model.base": str(model), "dry_run": False}
    if isinstance(config, CtcPhonemeConfig):
        config = config.model_copy(update={"model": ModelConfig(base=str(model)), "dry_run": False})
    resolved = _resolve(config, overrides if isinstance(config, CtcPhonemeConfig) else {**scored, **(overrides or {})})
    into, search = (None if folder is None else Path(folder) for folder in (output, beam))
    summary = evaluate_saved(str(model), resolved, split, into, search)
    assert summary is not None, "a notebook is the first process"
    return summary


def compare(run_a: str | Path, run_b: str | Path, split: Split = "test") -> Comparison | TaskComparison:
    """Tells whether one run is better than another, as `unispeech-ft compare` does.

    Args:
        run_a, run_b: run directories or their model folders, folders of results, or `hypotheses.jsonl`.
        split: whose results, where a run directory is given.

    Raises:
        UserError: results are missing or cannot be read, or their references differ.
    """
    from unispeech_ft.runs.compare import compare_runs, compare_task_runs

    of_task = compare_task_runs(Path(run_a), Path(run_b), split)
    return compare_runs(Path(run_a), Path(run_b), split)[0] if of_task is None else of_task


def score(references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, Sequence[str]]) -> Summary:
    """Phone error rate with its 95 % interval, from utterance id → phones on either side.

    Raises:
        UserError: the ids differ.
    """
    from unispeech_ft.scoring import score as score_utterances
    from unispeech_ft.scoring import summarize

    return summarize(score_utterances(references, hypotheses))


def transcribe(
    model: SavedModel | str | Path,
    *paths: str | Path,
    device: str = "cpu",
    channel: int | None = None,
    lexicon: str | Path | None = None,
    alternatives: int = 0,
) -> Iterator[Transcript]:
    """Phones with times of audio files of any format and length, folders searched; each as soon as it is there.

    Args:
        model: a model folder or Hub id, or one that `models.saved.load_saved` has loaded.
        paths: audio files, or folders with audio files below them.
        device: where a model that is still to be loaded computes.
        channel: of recordings with several, from 0; None for the mean of all.
        lexicon: pronunciations of the words that are looked for; None looks for phones alone.
        alternatives: so many other phones are given with each.

    Raises:
        UserError: at once, the model or lexicon cannot be used; behind the last transcript, files cannot be read (all
            of them are named). `transcription.transcripts.transcribe_files` goes on with the others.
    """
    from unispeech_ft.models.saved import SavedModel, load_saved
    from unispeech_ft.transcription.decoding import Decoding
    from unispeech_ft.transcription.lexicon_words import load_words
    from unispeech_ft.transcription.transcripts import audio_files, transcribe_files

    files, faults = audio_files(paths)
    saved = model if isinstance(model, SavedModel) else load_saved(model, device)
    words = load_words(Path(lexicon), saved.tokenizer) if lexicon else None
    decoding = Decoding(words=words, alternatives=alternatives)

    def transcripts() -> Iterator[Transcript]:
        for result in transcribe_files(saved, files, decoding=decoding, channel=channel):
            if isinstance(result, UserError):
                faults.append(result)
            else:
                yield result
        raise_all(faults)

    return transcripts()


def pronounce(
    model: SavedModel | str | Path, path: str | Path, phones: Sequence[str], channel: int | None = None
) -> Pronunciation:
    """How well each of the given phones was said in a recording, and what was said instead or besides.

    Raises:
        UserError: the model or the recording cannot be used, or the phones do not fit them.
    """
    from unispeech_ft.models.saved import SavedModel, load_saved
    from unispeech_ft.transcription.pronunciation import pronounce_file

    saved = model if isinstance(model, SavedModel) else load_saved(model)
    return pronounce_file(saved, path, [("", [phones])], channel)


def align(
    model: SavedModel | str | Path, path: str | Path, phones: Sequence[str], channel: int | None = None
) -> Transcript:
    """When each of the given phones was said in a recording, by forced alignment.

    Raises:
        UserError: the model or the recording cannot be used, or the phones do not fit them.
    """
    from unispeech_ft.models.saved import SavedModel, load_saved
    from unispeech_ft.transcription.alignment import align_file

    return align_file(model if isinstance(model, SavedModel) else load_saved(model), path, phones, channel)
