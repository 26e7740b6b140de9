"""The sources of speech. Each lists its utterances without reading audio."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.common_voice import list_common_voice
from unispeech_ft.data.sources.hub import list_hub
from unispeech_ft.data.sources.manifest import list_manifest
from unispeech_ft.data.sources.published import list_published
from unispeech_ft.data.utterances import SPLITS, Corpus, Split, shared_between_splits


def list_utterances(data: DataConfig, *, published_labels: bool = False, wanted: Collection[Split] = SPLITS) -> Corpus:
    """The utterances that a configuration names.

    Args:
        published_labels: take the labels of published lists along.
        wanted: splits that have to be there; others are empty where they cannot be read, with a note.

    Raises:
        UserError: see the sources.
    """
    if data.source == "manifest":
        corpus = list_manifest(data, wanted)
    elif data.source == "hub":
        corpus = list_hub(data, wanted)
    elif data.splits == "release":
        corpus = list_common_voice(data, wanted)
    else:
        corpus = list_published(data, with_labels=published_labels, wanted=wanted)
    return replace(corpus, notes=[*corpus.notes, *shared_between_splits(corpus.splits)])
