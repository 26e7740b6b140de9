"""A synthetic stand-in for a Common Voice release that holds the clips of published split lists, by name.

It proves that lists, labels and recipes fit together. Error rates on it say nothing about Common Voice.
"""

from __future__ import annotations

import csv
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile

from unispeech_ft.data.sources.published import ListedClip, list_folder, read_list
from unispeech_ft.data.utterances import SPLITS, SYNTHETIC_MARK
from unispeech_ft.testing.recording import CLIP_SAMPLE_RATE_HZ, as_recorded
from unispeech_ft.testing.speech import Speaker
from unispeech_ft.testing.voices import client_id, voices

CLIPS_A_VOICE = 25


def _speak(language: str, clips: list[ListedClip], voice_number: int, folder: Path) -> list[tuple[str, str, str]]:
    """Writes the clips of one voice; returns (client_id, path, sentence) rows."""
    choice = voices("train")
    voice = choice[voice_number % len(choice)]
    rows = []
    with Speaker(language) as speaker:
        for clip in clips:
            random = np.random.default_rng([voice_number, len(clip.text)])
            speech = speaker.say(clip.text, voice)
            path = f"{clip.id}.mp3"
            recorded = as_recorded(speech.waveform, speech.sample_rate_hz, random)
            soundfile.write(folder / path, recorded, CLIP_SAMPLE_RATE_HZ, format="MP3")
            rows.append((client_id(voice), path, clip.text))
    return rows


def make_stand_in(lists: Path, root: Path, language: str, *, limit: int | None = None, processes: int = 1) -> Path:
    """Speaks the sentences of the published lists under the names of their clips.

    Args:
        lists: folder of published lists, or the folder above.
        root: the release folder to write; the clips come into `root/LANGUAGE/clips`.
        limit: clips of each list at most, all of them by default.
        processes: that speak.

    Returns:
        The release folder.
    """
    folder = root / language
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    source = list_folder(str(lists), language)
    clips = [clip for split in SPLITS for clip in read_list(source, split, with_labels=False)[:limit]]
    parts = [clips[start : start + CLIPS_A_VOICE] for start in range(0, len(clips), CLIPS_A_VOICE)]
    arguments = ([language] * len(parts), parts, range(len(parts)), [folder / "clips"] * len(parts))
    if processes == 1:
        spoken = list(map(_speak, *arguments))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            spoken = list(pool.map(_speak, *arguments))
    with (folder / "validated.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        writer.writerows([("client_id", "path", "sentence"), *(row for part in spoken for row in part)])
    (root / SYNTHETIC_MARK).write_text(
        "Spoken by espeak-ng from the published sentences. No human voice.\n", encoding="utf-8"
    )
    return root
