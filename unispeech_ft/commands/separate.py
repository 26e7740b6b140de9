"""`unispeech-ft separate MODEL AUDIO … --out DIR`: each speaker of a recording alone."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Take speakers apart who speak at the same time."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Writes NAME.1.wav, NAME.2.wav … for each recording, as many as the model takes apart, at 16 kHz. A file that"
        " cannot be read does not stop the others; it is reported at the end."
    )
    parser.add_argument("model", metavar="MODEL", help="run directory or model folder of a separation")
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help="audio file, or folder with audio files below it")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the files to write")
    channel = "of recordings with several channels, take this one, from 0 (default: the mean of all)"
    parser.add_argument("--channel", type=int, metavar="N", help=channel)


def run(options: argparse.Namespace) -> None:
    """Writes a file for each speaker of each recording, and prints their names."""
    import soundfile

    from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, read_audio
    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.models.loader import model_folder
    from unispeech_ft.tasks.speech_separation.separate import load_separator, separate
    from unispeech_ft.transcription.textgrid import output_paths
    from unispeech_ft.transcription.transcripts import audio_files

    files, faults = audio_files(options.audio)
    places = output_paths(options.out, options.audio, files, ".wav")
    network, front_end = load_separator(model_folder(options.model))
    for file, place in zip(files, places, strict=True):
        try:
            samples = read_audio(file, options.channel)
        except BadClip as error:
            faults.append(UserError(f"{file}: {error}", remedy=error.remedy or "convert it, or take it out"))
            continue
        speakers = separate(network, front_end, samples)
        # Masks may add up to more than the mixture; a louder sound than a file can hold is made softer with its others.
        loudest = max(1.0, float(abs(speakers).max()))
        place.parent.mkdir(parents=True, exist_ok=True)
        for number, sound in enumerate(speakers, start=1):
            path = place.with_suffix(f".{number}.wav")
            soundfile.write(path, sound / loudest, SAMPLE_RATE_HZ, subtype="PCM_16")
            print(path, flush=True)
    raise_all(faults)
