"""`unispeech-ft transcribe`: recordings in, phones out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.commands import add_model

if TYPE_CHECKING:
    from unispeech_ft.models.saved import SavedModel
    from unispeech_ft.transcription.transcripts import Transcript

SUMMARY = "Recordings of any format and length in, phones out."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Prints a line for each file: path<TAB>phones separated by spaces. Recordings longer than 20 s are cut where it"
        " is quiet. A file that cannot be read does not stop the others; it is reported at the end."
    )
    add_model(parser)
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help="audio file, or folder with audio files below it")
    form = '{"path", "duration_s", "phones": [{"phone", "start_s", "end_s", "posterior"}]}'
    parser.add_argument("--json", action="store_true", help=f"print a JSON object a line instead: {form}")
    parser.add_argument("--textgrid", metavar="DIR", type=Path, help="also write a Praat TextGrid a recording into DIR")
    known = (
        "with --textgrid: where a .txt or .lab of the same name lies beside a recording, its TextGrid has the words and"
        " phones of that text, aligned"
    )
    parser.add_argument("--language", help=f"of known texts, a Common Voice code or espeak-ng's name; {known}")
    parser.add_argument("--lexicon", metavar="FILE", help="pronunciations of known texts, as with --language")
    channel = "of recordings with several channels, take this one, from 0 (default: the mean of all)"
    parser.add_argument("--channel", type=int, metavar="N", help=channel)
    beam = "decode by beam search with the phone n-gram in DIR (see `unispeech-ft ngram`)"
    parser.add_argument("--beam", metavar="DIR", type=Path, help=beam)


def run(options: argparse.Namespace) -> None:
    """Prints a line for each recording, and writes its TextGrid where they are asked for."""
    import torch

    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.scoring.beam import load_search
    from unispeech_ft.transcription.textgrid import textgrid_paths, write_textgrid
    from unispeech_ft.transcription.transcripts import as_json, audio_files, transcribe_files

    files, faults = audio_files(options.audio)
    grids = textgrid_paths(options.textgrid, options.audio, files) if options.textgrid else [None] * len(files)
    if files:
        saved = load_saved(options.model, "cuda" if torch.cuda.is_available() else "cpu", revision=options.revision)
        search = load_search(options.beam, saved.tokenizer)[0] if options.beam else None
        for result, grid in zip(
            transcribe_files(saved, files, search=search, channel=options.channel), grids, strict=True
        ):
            if isinstance(result, UserError):
                faults.append(result)
                continue
            line = f"{result.path}\t{' '.join(item.phone for item in result.phones)}"
            print(as_json(result) if options.json else line, flush=True)
            if grid:
                try:
                    aligned = _aligned(saved, Path(result.path), options)
                except UserError as fault:
                    faults.append(fault)
                    aligned = None
                write_textgrid(aligned or result, grid)
    raise_all(faults)


def _aligned(saved: SavedModel, path: Path, options: argparse.Namespace) -> Transcript | None:
    """A recording aligned with the text beside it; None where there is none, or nothing says how it is pronounced."""
    from unispeech_ft.config.sections import PhonemesConfig
    from unispeech_ft.data.audio import read_audio
    from unispeech_ft.data.sources.folders import text_beside
    from unispeech_ft.phonemes.g2p import G2P, pronounce_words
    from unispeech_ft.transcription.alignment import align_words

    text = text_beside(path) if options.language or options.lexicon else None
    if text is None:
        return None
    section = PhonemesConfig(labels="lexicon" if options.lexicon else "espeak", lexicon=options.lexicon)
    words = pronounce_words(text, G2P.from_config(section, options.language))
    return align_words(saved, path, words, waveform=read_audio(path, options.channel))
