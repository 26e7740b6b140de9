"""The sources of speech. Each lists its utterances without reading audio."""

from __future__ import annotations

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.common_voice import list_common_voice
from unispeech_ft.data.sources.hub import list_hub
from unispeech_ft.data.sources.manifest import list_manifest
from unispeech_ft.data.sources.published import list_published
from unispeech_ft.data.utterances import Corpus


def list_utterances(data: DataConfig, *, published_labels: bool = False) -> Corpus:
    """The utterances that a configuration names.

    Args:
        published_labels: take the labels of published lists along.

    Raises:
        UserError: see the sources.
    """
    if data.source == "manifest":
        return list_manifest(data)
    if data.source == "hub":
        return list_hub(data)
    if data.splits == "release":
        return list_common_voice(data)
    return list_published(data, with_labels=published_labels)
