"""`unispeech-ft convert CHECKPOINT OUT [--dictionary FILE]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "Original fairseq and WavLM checkpoints in, Transformers folders out."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Reads UniSpeech, UniSpeech-SAT, WavLM, ILS-SSL, HuBERT and wav2vec 2.0 files, pre-trained or fine-tuned,"
        " without executing anything in them. OUT appears whole or not at all."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="original .pt file")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write; it must not exist")
    dictionary = "phones of the CTC head where the file holds none: lines of `phone count`, or JSON of phone: id"
    parser.add_argument("--dictionary", metavar="FILE", type=Path, help=dictionary)
    upstream = "checkpoint that the encoder of a speaker verification began from; the released files lack its shape"
    parser.add_argument("--upstream", metavar="FILE", type=Path, help=upstream)


def run(options: argparse.Namespace) -> None:
    """Converts, and prints what the file is, what was decided, and which tensors were left out or added."""
    from unispeech_ft.convert.card import grouped
    from unispeech_ft.convert.convert import convert

    plan = convert(options.checkpoint, options.out, options.dictionary, options.upstream)
    for note in plan.notes:
        print(f"warning: {note}", file=sys.stderr)
    print(f"{options.checkpoint}: {plan.target.family}, {plan.target.kind}")
    print(f"tensors: {len(plan.renamed.names)} taken over")
    if plan.head:
        print(f"speaker head: {len(plan.head)} tensors taken over; `unispeech-ft verify-speakers {options.out} A B`")
    for line in grouped(plan.renamed.unused):
        print(f"tensors left out, {line}")
    for line in grouped(plan.added):
        print(f"tensors added, {line}")
    if plan.tokenizer is not None:
        print(f"dictionary: {len(plan.tokenizer.phones)} phones, blank {plan.tokenizer.blank_id}")
    print(f"{plan.target.class_name}: {options.out}")
