"""`unispeech-ft transcribe`: recordings in, phones out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.commands import add_alternatives, add_model, add_workers, workers_of

if TYPE_CHECKING:
    from unispeech_ft.errors import UserError
    from unispeech_ft.models.saved import SavedModel
    from unispeech_ft.transcription.alignment import Words
    from unispeech_ft.transcription.decoding import Decoding
    from unispeech_ft.transcription.timed import Transcript

NO_TEXTS = "leave --language or --phones out, and it is transcribed"
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
    there = "; one of its name that lies there, or beside it, keeps all that it has, and gets tiers"
    grid = f"also write a Praat TextGrid a recording into DIR{there}"
    parser.add_argument("--textgrid", metavar="DIR", type=Path, help=grid)
    eaf = f"also write an ELAN file a recording into DIR{there}; for one recording, DIR may be a file"
    parser.add_argument("--eaf", metavar="DIR", type=Path, help=eaf)
    tier = (
        "transcribe only the intervals of this tier of the .eaf or .TextGrid there or beside, a line for each with its"
        " start and end: its name, linguistic type, participant or number; with --language, --lexicon or --phones its"
        " texts are known, and aligned"
    )
    parser.add_argument("--tier", metavar="NAME", help=tier)
    known = (
        "with --textgrid or --eaf: where a .txt or .lab of the same name lies beside a recording, these have the words"
        " and phones of that text, aligned"
    )
    parser.add_argument("--language", help=f"of known texts, a Common Voice code or espeak-ng's name; {known}")
    lexicon = (
        "pronunciations of words: known texts are read by it, as with --language; where there is none, its words"
        " are looked for in what is heard, and printed behind the phones"
    )
    parser.add_argument("--lexicon", metavar="FILE", help=lexicon)
    phones = "known texts are phones, separated by spaces; P: those of the one recording AUDIO"
    parser.add_argument("--phones", metavar="P", nargs="?", const="", help=phones)
    channel = "of recordings with several channels, take this one, from 0 (default: the mean of all)"
    parser.add_argument("--channel", type=int, metavar="N", help=channel)
    beam = "decode by beam search with the phone n-gram in DIR (see `unispeech-ft ngram`)"
    parser.add_argument("--beam", metavar="DIR", type=Path, help=beam)
    out = "write DIR/transcripts.jsonl instead, lines as of --json, in blocks: given again, the command goes on"
    parser.add_argument("--out", metavar="DIR", type=Path, help=out)
    add_alternatives(parser)
    add_workers(parser)


def run(options: argparse.Namespace) -> None:
    """Prints a line for each recording, or interval, and writes the annotations that are asked for."""
    if options.out or options.ray is not None or options.processes != 1:
        _in_blocks(options)
        return
    import torch

    from unispeech_ft.errors import raise_all
    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.transcription.annotation import EAF, annotation_places
    from unispeech_ft.transcription.textgrid import ENDING
    from unispeech_ft.transcription.transcripts import audio_files

    files, faults = audio_files(options.audio)
    kinds = {EAF: options.eaf, ENDING: options.textgrid}
    paths = {ending: annotation_places(at, options.audio, files, ending) for ending, at in kinds.items() if at}
    places = [{ending: paths[ending][number] for ending in paths} for number in range(len(files))]
    _check(options, len(files))
    if files:
        saved = load_saved(options.model, "cuda" if torch.cuda.is_available() else "cpu", revision=options.revision)
        transcribe = _transcribe if options.tier is None else _transcribe_tiers
        transcribe(saved, files, places, _decoding(saved, options), options, faults)
    raise_all(faults)


def _decoding(saved: SavedModel, options: argparse.Namespace) -> Decoding:
    from unispeech_ft.scoring.beam import load_search
    from unispeech_ft.transcription.decoding import Decoding
    from unispeech_ft.transcription.lexicon_words import load_words

    search = load_search(options.beam, saved.tokenizer)[0] if options.beam else None
    looks = options.lexicon and not options.beam
    words = load_words(Path(options.lexicon), saved.tokenizer, options.language) if looks else None
    return Decoding(search, words, options.alternatives)


def _transcribe(
    saved: SavedModel,
    files: list[Path],
    places: list[dict[str, Path]],
    decoding: Decoding,
    options: argparse.Namespace,
    faults: list[UserError],
) -> None:
    from tqdm import tqdm

    from unispeech_ft.commands.align import words_reader
    from unispeech_ft.errors import UserError, warn
    from unispeech_ft.transcription.annotation import tiers_of, write_annotation
    from unispeech_ft.transcription.transcripts import transcribe_files

    read = words_reader(options.language, options.lexicon) if _of_known_texts(options) else None
    without: list[str] = []
    found = transcribe_files(saved, files, decoding=decoding, channel=options.channel)
    # A single file, and lines that nobody waits for in front of a screen, need no bar.
    idle = len(files) < 2 or not sys.stderr.isatty()
    bar = tqdm(found, total=len(files), unit="file", disable=idle, dynamic_ncols=True, leave=False)
    for file, result, at in zip(files, bar, places, strict=True):
        if isinstance(result, UserError):
            faults.append(result)
            continue
        try:
            aligned = _aligned(saved, file, read, options) if read else None
            said = replace(aligned, unlike=result.unlike) if aligned else result
            with tqdm.external_write_mode(file=sys.stdout):
                _print(said, options, words=bool(decoding.words))
            for place in at.values():
                write_annotation(place, file, tiers_of(said), result.duration_s)
        except UserError as fault:
            faults.append(fault)
        else:
            without += [] if aligned else [result.path]
    if without and read and not (decoding.words and len(without) == len(files)):
        warn(f"{len(without)} recordings have no .txt or .lab beside them, so what is heard is written: {without[0]} …")


def _transcribe_tiers(
    saved: SavedModel,
    files: list[Path],
    places: list[dict[str, Path]],
    decoding: Decoding,
    options: argparse.Namespace,
    faults: list[UserError],
) -> None:
    """Of each recording the intervals of a tier; where their texts are known, those that have one, aligned."""
    from unispeech_ft.commands.align import words_reader
    from unispeech_ft.data.audio import duration_s
    from unispeech_ft.errors import UserError
    from unispeech_ft.transcription.annotation import interval_tiers, intervals_of, write_annotation
    from unispeech_ft.transcription.spans import align_spans, transcribe_spans

    read = words_reader(options.language, options.lexicon) if _of_known_texts(options) else None
    for file, at in zip(files, places, strict=True):
        try:
            said = intervals_of(file, options.tier, at)
            texts = [item for item in said if item.text.strip()]
            if read and not texts and not decoding.words:
                raise UserError(f"{file}: no interval of tier {options.tier} has a text", remedy=NO_TEXTS)
            said = texts if read and texts else said
            spans = [(item.start_s or 0.0, item.end_s or 0.0) for item in said]
            if read and texts:
                known = [item.text for item in said]
                found = align_spans(saved, file, spans, known, read, options.channel, options.alternatives)
            else:
                found = transcribe_spans(saved, file, spans, decoding=decoding, channel=options.channel)
            heard = []
            for item, result in zip(said, found, strict=True):
                if isinstance(result, UserError):
                    faults.append(result)
                    continue
                _print(result, options, words=bool(decoding.words))
                heard.append((item, result))
            length_s = duration_s(file, options.channel) if options.textgrid else 0.0
            for place in at.values():
                write_annotation(place, file, interval_tiers(heard), length_s)
        except UserError as fault:
            faults.append(fault)


def _print(result: Transcript, options: argparse.Namespace, *, words: bool) -> None:
    from unispeech_ft.errors import warn
    from unispeech_ft.transcription.timed import as_json

    times = "" if result.start_s is None else f"{result.start_s:.3f}\t{result.start_s + result.duration_s:.3f}\t"
    line = f"{result.path}\t{times}{' '.join(item.phone for item in result.phones)}"
    line += "\t" + " ".join(item.word for item in result.words) if words else ""
    print(as_json(result) if options.json else line, flush=True)
    where = result.path if result.start_s is None else f"{result.path} from {result.start_s:.3f} s"
    if result.unlike:
        warn(f"{where}: unlike the speech that the model was validated on; its phones mean little")
    if not result.phones:
        warn(f"{where}: no phone is heard")


def _of_known_texts(options: argparse.Namespace) -> list[str]:
    """The options given that say how known texts are read."""
    return [name for name in ("language", "lexicon", "phones") if getattr(options, name) is not None]


def _check(options: argparse.Namespace, num_files: int) -> None:
    """Refuses what would have no effect."""
    from unispeech_ft.errors import UserError, warn

    given = _of_known_texts(options)
    annotated = options.textgrid or options.eaf
    if given and not (annotated or options.tier or options.json or options.lexicon):
        what = f"--{given[0]} goes with --textgrid, --eaf, --json or --tier"
        raise UserError(what, remedy="give one, or leave it out")
    if options.alternatives and not (annotated or options.json):
        raise UserError("--alternatives goes with --json, --textgrid or --eaf", remedy="give one, or leave it out")
    if options.beam and options.lexicon:
        warn("with --beam, words of the --lexicon are not looked for where no text is known")
    if options.phones and options.tier is not None:
        raise UserError(f"--phones {options.phones} and --tier are both given", remedy="the tier says what was said")
    if options.phones is not None and len(given) > 1:
        raise UserError(f"--{given[0]} and --phones are both given", remedy="say in one way how known texts are read")
    if options.phones and num_files > 1:
        raise UserError(
            f"--phones {options.phones} is given for {num_files} recordings",
            remedy="put a .txt beside each and give --phones alone, or name one recording",
        )


def _aligned(
    saved: SavedModel, path: Path, read: Callable[[str], Words], options: argparse.Namespace
) -> Transcript | None:
    """A recording aligned with what is said in it; None where no text lies beside it."""
    from unispeech_ft.data.sources.folders import text_beside
    from unispeech_ft.transcription.alignment import align_words

    text = options.phones or text_beside(path)
    if not text:
        return None
    return align_words(saved, path, read(text), channel=options.channel, alternatives=options.alternatives)


def _in_blocks(options: argparse.Namespace) -> None:
    """Transcribes a corpus into a folder."""
    from unispeech_ft.data.blocks import hire
    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.transcription.in_blocks import TRANSCRIPTS, Transcribing, transcribe_in_blocks

    if not options.out:
        raise UserError("--processes and --ray go with --out", remedy="name a folder for the transcripts")
    annotated = [*(name for name in ("textgrid", "eaf", "tier") if getattr(options, name)), *_of_known_texts(options)]
    if annotated:
        raise UserError(f"--{annotated[0]} does not go with --out", remedy="give one of the two")
    beam = str(options.beam) if options.beam else None
    asked = Transcribing(options.audio, options.model, options.revision, beam, options.channel, options.alternatives)
    try:
        with hire(workers_of(options)) as crew:
            faults = transcribe_in_blocks(asked, options.out, crew, lambda line: print(line, flush=True))
    except OSError as error:
        raise UserError(f"{options.out} cannot be written ({error.strerror})", remedy="name another folder") from None
    print(options.out / TRANSCRIPTS)
    raise_all(faults)
