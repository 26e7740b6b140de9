"""`unispeech-ft align`: when each phone and word of known sentences was said."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from unispeech_ft.commands import add_alternatives, add_model, phone_recogniser

if TYPE_CHECKING:
    from unispeech_ft.errors import UserError
    from unispeech_ft.transcription.alignment import Words
    from unispeech_ft.transcription.timed import Transcript

SUMMARY = "Place the phones and words of known sentences in time, by forced alignment."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "%(prog)s [-h] MODEL AUDIO (--phones P | --text T) [--language L] [--lexicon FILE] [--channel N]\n"
        "                         [--json] [--alternatives N] [--textgrid DIR] [--eaf DIR]\n"
        "                         [--revision R]\n"
        "       %(prog)s [-h] MODEL --corpus CONFIG [--split SPLIT] [--json] [--alternatives N] [--textgrid DIR]"
        " [--csv FILE]\n                         [--revision R] [--section.key VALUE ...]"
    )
    add_model(parser)
    parser.add_argument("audio", metavar="AUDIO", nargs="?", help="recording of the sentence")
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--phones", metavar="P", help="what was said, phones separated by spaces")
    said.add_argument("--text", metavar="T", help="what was said, a sentence; needs --language or --lexicon")
    said.add_argument(
        "--corpus",
        metavar="CONFIG",
        help="YAML of recordings and what was said in them, the name of one of the package, or a run",
    )
    split = "of the corpus; default: train"
    parser.add_argument("--split", choices=("train", "validation", "test"), help=split)
    parser.add_argument("--language", metavar="L", help="of the sentence: a Common Voice code, or espeak-ng's name")
    lexicon = "pronunciations of the sentence's words, several a word: the one that fits best is taken"
    parser.add_argument("--lexicon", metavar="FILE", help=lexicon)
    channel = "of a recording with several channels, take this one, from 0 (default: the mean of all)"
    parser.add_argument("--channel", type=int, metavar="N", help=channel)
    columns = "start, end, posterior and phone"
    parser.add_argument("--json", action="store_true", help=f"print a JSON object instead of {columns} a line")
    there = "into DIR; one of its name that lies there, or beside the recording, keeps all that it has, and gets tiers"
    parser.add_argument("--textgrid", metavar="DIR", type=Path, help=f"also write Praat TextGrids {there}")
    eaf = f"also write an ELAN file {there}; DIR may be the file"
    parser.add_argument("--eaf", metavar="DIR", type=Path, help=eaf)
    add_alternatives(parser)
    table = "also write id, tier, start, end, label and posterior of every word and phone of the corpus"
    parser.add_argument("--csv", metavar="FILE", type=Path, help=table)


def run(options: argparse.Namespace) -> None:
    """Prints a line for each phone, start and end in seconds and posterior, or a JSON object an utterance."""
    from unispeech_ft.errors import UserError

    _check(options)
    if options.corpus:
        _run_corpus(options)
        return
    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.transcription.alignment import align_words

    if options.text is not None and options.language is None and options.lexicon is None:
        raise UserError("--text needs --language", remedy="name the sentence's language, for example --language ky")
    said = options.phones if options.text is None else options.text
    words = words_reader(options.language, options.lexicon)(said)
    saved = load_saved(options.model, revision=options.revision)
    aligned = align_words(saved, options.audio, words, channel=options.channel, alternatives=options.alternatives)
    _write([aligned], options, [options.audio])


def _check(options: argparse.Namespace) -> None:
    """Refuses what is missing, and what would have no effect."""
    from unispeech_ft.errors import UserError, raise_all

    if options.corpus and options.audio:
        raise UserError("AUDIO and --corpus are both given", remedy="the corpus names its recordings; keep one")
    if not options.corpus and options.audio is None:
        raise UserError("AUDIO is missing", remedy="name the recording of the sentence, or a --corpus")
    of_text = [name for name in ("language", "lexicon") if getattr(options, name) is not None]
    of_corpus = [*options.overrides, *(["split"] if options.split else [])]
    if options.corpus and options.eaf:
        remedy = "`unispeech-ft transcribe --eaf DIR --tier NAME --language L` aligns a tier of ELAN files"
        raise UserError("--eaf does not go with --corpus", remedy=remedy)
    idle = {"--text": [] if options.text is not None else of_text, "--corpus": [] if options.corpus else of_corpus}
    raise_all(
        [UserError(f"--{n} goes with {key}", remedy="leave it out") for key, found in idle.items() for n in found]
    )


def words_reader(language: str | None, lexicon: str | None) -> Callable[[str], Words]:
    """How a known text becomes words with their phones; without language and lexicon, the text is phones."""
    from unispeech_ft.config.sections import PhonemesConfig
    from unispeech_ft.phonemes.columns import column_rule
    from unispeech_ft.phonemes.g2p import G2P, pronounce_words

    if language is None and lexicon is None:
        labels = column_rule(PhonemesConfig(labels="column"))
        return lambda text: [("", [labels(text.split())])]
    g2p = G2P.from_config(PhonemesConfig(labels="lexicon" if lexicon else "espeak", lexicon=lexicon), language)
    return lambda text: pronounce_words(text, g2p)


def _run_corpus(options: argparse.Namespace) -> None:
    import torch

    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.tasks.ctc_phoneme.config import load_config
    from unispeech_ft.transcription.corpus import align_corpus

    overrides = {"model.base": options.model, "dry_run": False, **options.overrides}
    if options.channel is not None:
        overrides["data.channel"] = options.channel
    config = load_config(phone_recogniser(options.corpus), overrides, first_seed=True)
    saved = load_saved(options.model, "cuda" if torch.cuda.is_available() else "cpu", revision=options.revision)
    found = align_corpus(saved, config.data, config.phonemes, options.split or "train", options.alternatives)
    _write(found, options, [])


def _write(found: Iterable[Transcript | UserError], options: argparse.Namespace, given: list[str]) -> None:
    """Prints and writes alignments as they come; what has none is said at the end, with status 2."""
    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.transcription.annotation import EAF, annotation_places, tiers_of, write_annotation
    from unispeech_ft.transcription.textgrid import ENDING
    from unispeech_ft.transcription.timed import alternatives_text, as_json

    faults = []
    table = options.csv.open("w", encoding="utf-8", newline="") if options.csv else None
    try:
        for item in found:
            if isinstance(item, UserError):
                faults.append(item)
                continue
            try:
                for ending, folder in ((EAF, options.eaf), (ENDING, options.textgrid)):
                    if folder:
                        paths = annotation_places(folder, given, [Path(name) for name in given], ending)
                        (place,) = paths or [folder / f"{item.path}{ending}"]
                        write_annotation(place, Path(item.path) if given else place, tiers_of(item), item.duration_s)
            except UserError as fault:
                faults.append(fault)
            if table:
                _write_rows(item, table)
            if options.json:
                print(as_json(item))
                continue
            for phone in item.phones:
                times = f"{phone.start_s:.3f}\t{phone.end_s:.3f}\t{phone.posterior:.4f}\t{phone.phone}"
                times += f"\t{alternatives_text(phone)}" if options.alternatives else ""
                print(times if given else f"{item.path}\t{times}")
    finally:
        if table:
            table.close()
    raise_all(faults)


def _write_rows(item: Transcript, table: TextIO) -> None:
    import csv

    writer = csv.writer(table)
    if not table.tell():
        writer.writerow(("id", "tier", "start_s", "end_s", "label", "posterior"))
    for word in item.words:
        writer.writerow((item.path, "words", f"{word.start_s:.3f}", f"{word.end_s:.3f}", word.word, ""))
    for phone in item.phones:
        times = f"{phone.start_s:.3f}", f"{phone.end_s:.3f}"
        writer.writerow((item.path, "phones", *times, phone.phone, f"{phone.posterior:.4f}"))
