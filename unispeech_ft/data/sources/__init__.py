"""The sources of speech. Each lists its utterances without reading audio."""

from __future__ import annotations

from unispeech_ft.config import DataConfig
from unispeech_ft.data.sources.common_voice import list_common_voice
from unispeech_ft.data.sources.hub import list_hub
from unispeech_ft.data.sources.manifest import list_manifest
from unispeech_ft.data.utterances import Corpus


def list_utterances(data: DataConfig) -> Corpus:
    """The utterances that a configuration names.

    Raises:
        UserError: see the sources.
    """
    if data.source == "manifest":
        return list_manifest(data)
    if data.source == "hub":
        return list_hub(data)
    return list_common_voice(data)
