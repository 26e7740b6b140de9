"""`unispeech-ft diarize MODEL AUDIO …`: who speaks when."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Say who speaks when in recordings."
# More than are told apart in any recording.
MOST_SPEAKERS = 33


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Prints RTTM; speakers are called S1, S2 … in the order in which they speak, anew in each recording. A file"
        " that cannot be read does not stop the others; it is reported at the end."
    )
    parser.add_argument("model", metavar="MODEL", help="run directory or model folder of a diarization")
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help="audio file, or folder with audio files below it")
    parser.add_argument("--speakers", type=int, metavar="N", help="how many speak in each recording, where it is known")
    parser.add_argument("--rttm", metavar="DIR", type=Path, help="also write RTTM files into DIR")
    there = "a tier for each speaker; one of its name there, or beside the recording, keeps what it has"
    parser.add_argument("--textgrid", metavar="DIR", type=Path, help=f"also write Praat TextGrids, {there}")
    parser.add_argument("--eaf", metavar="DIR", type=Path, help=f"also write ELAN files, {there}")
    channel = "of recordings with several channels, take this one, from 0 (default: the mean of all)"
    parser.add_argument("--channel", type=int, metavar="N", help=channel)


def run(options: argparse.Namespace) -> None:
    """Prints the segments of each recording, and writes the files that are asked for."""
    from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, read_audio
    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.files import write_text
    from unispeech_ft.models.loader import model_folder
    from unispeech_ft.scoring.diarization import format_rttm
    from unispeech_ft.tasks.speaker_diarization.diarize import diarize, load_diarizer
    from unispeech_ft.transcription.annotation import write_annotation
    from unispeech_ft.transcription.elan import Tier
    from unispeech_ft.transcription.textgrid import output_paths
    from unispeech_ft.transcription.transcripts import audio_files

    if options.speakers is not None and options.speakers < 1:
        raise UserError(f"--speakers {options.speakers} is no number of people", remedy="give 1 or more")
    files, faults = audio_files(options.audio)
    kinds = [(options.rttm, ".rttm"), (options.textgrid, ".TextGrid"), (options.eaf, ".eaf")]
    places = {ending: output_paths(folder, options.audio, files, ending) for folder, ending in kinds if folder}
    network, front_end, settings = load_diarizer(model_folder(options.model), options.speakers)
    for number, file in enumerate(files):
        try:
            samples = read_audio(file, options.channel)
        except BadClip as error:
            faults.append(UserError(f"{file}: {error}", remedy=error.remedy or "convert it, or take it out"))
            continue
        segments = diarize(network, front_end, samples, settings)
        text = format_rttm({file.stem.replace(" ", "_"): segments})
        print(text, end="", flush=True)
        names = list(dict.fromkeys(item.speaker for item in segments))
        spans = {name: [(i.start_s, i.end_s, name) for i in segments if i.speaker == name] for name in names}
        tiers = [Tier(name, spans[name], participant=name) for name in names]
        # Those whom an earlier run heard beyond them go.
        tiers += [Tier(f"S{place}", []) for place in range(len(names) + 1, MOST_SPEAKERS)]
        for ending, paths in places.items():
            if ending != ".rttm":
                try:
                    write_annotation(paths[number], file, tiers, len(samples) / SAMPLE_RATE_HZ)
                except UserError as fault:
                    faults.append(fault)
                continue
            paths[number].parent.mkdir(parents=True, exist_ok=True)
            write_text(paths[number], text)
    raise_all(faults)
