"""Clips of single speakers → the conversations of every split."""

from __future__ import annotations

from unispeech_ft.data.labelled import Clips
from unispeech_ft.data.simulate import Conversations, clips_by_speaker
from unispeech_ft.data.utterances import SPLITS, Split
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.speaker_diarization.config import DiarizationConfig


def simulate(config: DiarizationConfig, clips: Clips) -> dict[Split, Conversations]:
    """The conversations of training, validation and test; each split has its own speakers.

    Raises:
        UserError: a split has no clips, or too few speakers.
    """
    found: dict[Split, Conversations] = {}
    for split in SPLITS:
        if split not in clips.splits:
            raise UserError(
                f"{split} has no speakers", remedy="raise speaker_diarization.held_out, or name its manifest"
            )
        part, own = clips.splits[split], config.simulation
        speakers = clips_by_speaker(part.speakers, part.rows)
        num = own.conversations if split == "train" else own.scored
        found[split] = Conversations(part.audio, speakers, split, num, own, config.augmentation, config.seed)
    return found


def describe(conversations: dict[Split, Conversations]) -> list[str]:
    """Lines for people."""
    return [
        f"{split}: {len(part)} simulated conversations of {part.settings.duration_s:g} s, {len(part.speakers)} speakers"
        for split, part in conversations.items()
    ]
