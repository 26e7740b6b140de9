"""Aligning a whole corpus: the utterances that a configuration names, each with its words where its text is known."""

from __future__ import annotations

from collections.abc import Iterator

from unispeech_ft.config.sections import DataConfig, PhonemesConfig
from unispeech_ft.data.labels import label_split, summarize_rejected
from unispeech_ft.data.speech import list_corpus, open_audio
from unispeech_ft.data.utterances import FILTERED, Split
from unispeech_ft.errors import UserError, warn
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.phonemes.g2p import G2P, pronounce_words
from unispeech_ft.transcription.alignment import Words, align_words
from unispeech_ft.transcription.timed import Transcript


def align_corpus(
    saved: SavedModel, data: DataConfig, phonemes: PhonemesConfig, split: Split, alternatives: int = 0
) -> Iterator[Transcript | UserError]:
    """The alignment of each utterance of a split, named by its id, or the fault for which it has none; what was left
    out on purpose, and how the splits came about, is said on stderr.

    Args:
        alternatives: as of `align_words`.

    Raises:
        UserError: a fault of the configuration or of the speech as a whole.
    """
    corpus = list_corpus(data, phonemes, (split,))
    if not corpus.splits[split]:
        raise UserError(f"no clips found for {split}", remedy=f"check data.root and data.{split}")
    labelled, rejected = label_split(corpus, split, open_audio(corpus, split, data), data, phonemes)
    spoken = phonemes.labels in ("espeak", "lexicon", "epitran")
    g2p = G2P.from_config(phonemes, data.language) if spoken else None
    texts = {utterance.id: utterance.text for utterance in corpus.splits[split]}
    for name, phones, row in zip(labelled.ids, labelled.phones, labelled.rows, strict=True):
        try:
            text = texts[name]
            words: Words = pronounce_words(text, g2p) if g2p is not None and text else [("", [phones])]
            waveform = labelled.audio.waveform(row)
            yield align_words(saved, name, words, waveform=waveform, alternatives=alternatives)
        except UserError as fault:
            yield fault
    bad = [item for item in rejected if not item.reason.startswith(FILTERED)]
    filtered = [item for item in rejected if item.reason.startswith(FILTERED)]
    summary = summarize_rejected(filtered, len(texts) + len(rejected), split)
    for line in (*corpus.notes, *([f"{summary[0]}: {'; '.join(map(str.strip, summary[1:]))}"] if summary else [])):
        warn(line)
    for item in bad:
        yield UserError(f"{item.id}: {item.reason}", remedy="mend it, or leave it out of the list")
