"""`unispeech-ft transcribe`: recordings in, phones out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.commands import add_model, add_workers, workers_of

if TYPE_CHECKING:
    from unispeech_ft.models.saved import SavedModel
    from unispeech_ft.transcription.alignment import Words
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
    phones = "known texts are phones, separated by spaces; P: those of the one recording AUDIO"
    parser.add_argument("--phones", metavar="P", nargs="?", const="", help=phones)
    channel = "of recordings with several channels, take this one, from 0 (default: the mean of all)"
    parser.add_argument("--channel", type=int, metavar="N", help=channel)
    beam = "decode by beam search with the phone n-gram in DIR (see `unispeech-ft ngram`)"
    parser.add_argument("--beam", metavar="DIR", type=Path, help=beam)
    out = "write DIR/transcripts.jsonl instead, lines as of --json, in blocks: given again, the command goes on"
    parser.add_argument("--out", metavar="DIR", type=Path, help=out)
    add_workers(parser)


def run(options: argparse.Namespace) -> None:
    """Prints a line for each recording, and writes its TextGrid where they are asked for."""
    if options.out or options.ray is not None or options.processes != 1:
        _in_blocks(options)
        return
    import torch

    from unispeech_ft.commands.align import words_reader
    from unispeech_ft.errors import UserError, raise_all, warn
    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.scoring.beam import load_search
    from unispeech_ft.transcription.textgrid import textgrid_paths, write_textgrid
    from unispeech_ft.transcription.transcripts import as_json, audio_files, transcribe_files

    files, faults = audio_files(options.audio)
    grids = textgrid_paths(options.textgrid, options.audio, files) if options.textgrid else [None] * len(files)
    read = words_reader(options.language, options.lexicon) if _texts_are_known(options, len(files)) else None
    without: list[str] = []
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
                aligned = None
                try:
                    aligned = _aligned(saved, Path(result.path), read, options) if read else None
                except UserError as fault:
                    faults.append(fault)
                else:
                    without += [] if aligned else [result.path]
                write_textgrid(aligned or result, grid)
    if without and read:
        warn(f"{len(without)} recordings have no .txt or .lab beside them, so what is heard is written: {without[0]} …")
    raise_all(faults)


def _texts_are_known(options: argparse.Namespace, num_files: int) -> bool:
    """Whether texts are to be aligned; refuses what would have no effect."""
    from unispeech_ft.errors import UserError

    given = [name for name in ("language", "lexicon", "phones") if getattr(options, name) is not None]
    if given and not options.textgrid:
        raise UserError(f"--{given[0]} goes with --textgrid", remedy="name a folder for the TextGrids, or leave it out")
    if options.phones is not None and len(given) > 1:
        raise UserError(f"--{given[0]} and --phones are both given", remedy="say in one way how known texts are read")
    if options.phones and num_files > 1:
        raise UserError(
            f"--phones {options.phones} is given for {num_files} recordings",
            remedy="put a .txt beside each and give --phones alone, or name one recording",
        )
    return bool(given)


def _aligned(
    saved: SavedModel, path: Path, read: Callable[[str], Words], options: argparse.Namespace
) -> Transcript | None:
    """A recording aligned with what is said in it; None where no text lies beside it."""
    from unispeech_ft.data.sources.folders import text_beside
    from unispeech_ft.transcription.alignment import align_words

    text = options.phones or text_beside(path)
    return align_words(saved, path, read(text), channel=options.channel) if text else None


def _in_blocks(options: argparse.Namespace) -> None:
    """Transcribes a corpus into a folder."""
    from unispeech_ft.data.blocks import hire
    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.transcription.in_blocks import TRANSCRIPTS, Transcribing, transcribe_in_blocks

    if not options.out:
        raise UserError("--processes and --ray go with --out", remedy="name a folder for the transcripts")
    if options.textgrid or _texts_are_known(options, 1):
        raise UserError("--textgrid does not go with --out", remedy="give one of the two")
    beam = str(options.beam) if options.beam else None
    asked = Transcribing(options.audio, options.model, options.revision, beam, options.channel)
    try:
        with hire(workers_of(options)) as crew:
            faults = transcribe_in_blocks(asked, options.out, crew, lambda line: print(line, flush=True))
    except OSError as error:
        raise UserError(f"{options.out} cannot be written ({error.strerror})", remedy="name another folder") from None
    print(options.out / TRANSCRIPTS)
    raise_all(faults)
