"""Everything that can be known to spoil a run, before it uses a device.

Serious, so that `unispeech-ft audit` ends with 3: language flags or empty tokens among trained phones; one sound in
several notations; more than 0.5 % of a split's tokens unknown to training; more than 1 % of test's sentences in
training; a test speaker heard in training; more than 1 % of a split infeasible for CTC; more than 5 % of its clips
clipped, silent, or of a strange length; more unusable clips than `data.max_bad_fraction`; characters that espeak-ng
cannot read; a recording of training in test; no utterance to train on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from unispeech_ft.audit import labels, published, sound, splits, text
from unispeech_ft.audit.findings import Audit, Finding, by_level
from unispeech_ft.config.sections import PhonemesConfig
from unispeech_ft.data.labels import LabelledSplit, label_split, label_utterances, summarize_rejected
from unispeech_ft.data.sources.published import list_folder
from unispeech_ft.data.speech import list_corpus, open_audio
from unispeech_ft.data.utterances import FILTERED, SPLITS, Corpus, Rejected, Split
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import read_model_config
from unispeech_ft.models.families import num_frames
from unispeech_ft.phonemes.g2p import G2P
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

FOREIGN = "read in another language"


def audit(config: CtcPhonemeConfig, *, show_progress: bool = False) -> Audit:
    """Lists, decodes and labels the speech of a configuration, and looks for what would spoil a result.

    Args:
        config: with `data.root` null, published lists are audited without audio.

    Raises:
        UserError: a fault of source, language or lexicon.
    """
    corpus = list_corpus(config.data, config.phonemes)
    if not any(corpus.splits.values()) and not corpus.rejected:
        raise UserError("no clips found", remedy="check data.root, data.language and data.train")
    opened: dict[Split, LabelledSplit] = {}
    findings: list[Finding] = []
    for split in SPLITS:
        labelled, rejected = _open(corpus, split, config, show_progress)
        listed = len(corpus.splits[split]) + sum(item.split == split for item in corpus.rejected)
        bad = [item for item in rejected if not item.reason.startswith(FILTERED)]
        lines = summarize_rejected(rejected, listed, split)
        findings += splits.left_out(bad, listed, split, config.data.max_bad_fraction, lines)
        findings += text.unpronounced(bad, split)
        if labelled is not None and len(labelled):
            opened[split] = labelled
    frames, of_model = _frames(config)
    checked = [*corpus.notes, of_model]
    listed_splits = {split: corpus.splits[split] for split in opened}
    findings += splits.shared_recordings(listed_splits)
    findings += [*splits.shared_sentences(listed_splits), *splits.shared_speakers(listed_splits)]
    findings += [*_label_findings(corpus, opened, config), *_clip_findings(corpus, opened, frames)]
    if config.data.source == "common_voice" and config.data.splits != "release":
        findings += published.audit_lists(list_folder(config.data.splits, str(config.data.language)))
    if "train" not in opened:
        findings.append(Finding("no_training", "serious", "train", "no utterance is left to train on", 0))
    figures = {str(split): splits.figures_of(labelled) for split, labelled in opened.items()}
    findings += splits.lopsided(figures)
    findings += _text_findings(corpus, config)
    return Audit(by_level(findings), figures, tuple(checked))


def _open(
    corpus: Corpus, split: Split, config: CtcPhonemeConfig, show_progress: bool
) -> tuple[LabelledSplit | None, list[Rejected]]:
    if not corpus.splits[split]:
        return None, [item for item in corpus.rejected if item.split == split]
    audio = open_audio(corpus, split, config.data, show_progress=show_progress)
    return label_split(corpus, split, audio, config.data, config.phonemes)


def _frames(config: CtcPhonemeConfig) -> tuple[Callable[[int], int], str]:
    """Samples → frames of the base model, and whether it was there to ask."""
    from transformers import Wav2Vec2Config

    try:
        model = read_model_config(config.model)
    except UserError:
        if config.model.from_scratch:
            raise
        stock = Wav2Vec2Config()
        said = f"{config.model.base} cannot be reached: frames as in wav2vec 2.0, 50 a second"
        return lambda samples: num_frames(stock, samples), said
    return lambda samples: num_frames(model, samples), f"frames as in {config.model.base or 'model.config'}"


def _label_findings(corpus: Corpus, opened: dict[Split, LabelledSplit], config: CtcPhonemeConfig) -> Iterator[Finding]:
    by_split = {str(split): labelled.references for split, labelled in opened.items()}
    for split, references in by_split.items():
        yield from labels.language_flags(references, split, trained=True)
        yield from labels.empty_tokens(references, split)
    yield from labels.notations(phone for references in by_split.values() for phone in labels.count_phones(references))
    if "train" in by_split:
        yield from labels.coverage(by_split)
    if config.phonemes.labels == "espeak" and config.phonemes.language_flags == "remove":
        yield from _foreign_words(corpus, config)


def _text_findings(corpus: Corpus, config: CtcPhonemeConfig) -> list[Finding]:
    if config.phonemes.labels not in ("espeak", "lexicon", "epitran"):
        return []
    sentences = [utterance.text or "" for split in SPLITS for utterance in corpus.splits[split]]
    return text.two_rules(sentences, G2P.from_config(config.phonemes, config.data.language))


def _foreign_words(corpus: Corpus, config: CtcPhonemeConfig) -> Iterator[Finding]:
    """Sentences with words that espeak-ng reads in another language: their flags are gone, their phones are not."""
    strict = PhonemesConfig(**config.phonemes.model_dump() | {"language_flags": "drop"})
    for split in SPLITS:
        utterances = corpus.splits[split]
        if not utterances:
            continue
        spoken = zip(utterances, label_utterances(utterances, config.data, strict), strict=True)
        ids = tuple(utterance.id for utterance, item in spoken if (item.fault or "").startswith(FOREIGN))
        if ids:
            what = f"{len(ids)} of {len(utterances)} sentences hold words that espeak-ng reads in another language"
            remedy = "look at their phones; phonemes.language_flags drop leaves these sentences out"
            yield Finding("foreign_words", "note", split, what, len(ids), ids, remedy)


def _clip_findings(
    corpus: Corpus, opened: dict[Split, LabelledSplit], frames: Callable[[int], int]
) -> Iterator[Finding]:
    for split, labelled in opened.items():
        yield from splits.infeasible(labelled, frames)
        yield from sound.duration_outliers(labelled)
        if corpus.listed_samples is None:
            yield from sound.sound_findings(split, sound.split_sounds(labelled))
