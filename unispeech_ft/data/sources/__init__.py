"""The sources of speech. Each lists its utterances without reading audio."""

from __future__ import annotations

from dataclasses import replace

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.common_voice import list_common_voice
from unispeech_ft.data.sources.hub import list_hub
from unispeech_ft.data.sources.manifest import list_manifest
from unispeech_ft.data.sources.published import list_published
from unispeech_ft.data.utterances import Corpus, shared_between_splits


def list_utterances(data: DataConfig, *, published_labels: bool = False) -> Corpus:
    """The utterances that a configuration names.

    Args:
        published_labels: take the labels of published lists along.

    Raises:
        UserError: see the sources.
    """
    if data.source == "manifest":
        corpus = list_manifest(data)
    elif data.source == "hub":
        corpus = list_hub(data)
    elif data.splits == "release":
        corpus = list_common_voice(data)
    else:
        corpus = list_published(data, with_labels=published_labels)
    return replace(corpus, notes=[*corpus.notes, *shared_between_splits(corpus.splits)])
