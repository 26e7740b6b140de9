"""`unispeech-ft export RUN --onnx FILE | --sherpa FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Write a trained model as an ONNX graph from waveforms to logits, compared with PyTorch."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The graph reads `waveforms` [batch, samples] (16 kHz, not normalised, padded at their ends) and `num_samples`"
        " [batch]; it gives `logits` [batch, frames, phones] and `num_frames` [batch]."
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run directory, or its model folder")
    parser.add_argument("--onnx", metavar="FILE", type=Path, help="the .onnx file to write")
    sherpa = "folder to make for sherpa-onnx: model.onnx, model.int8.onnx (dynamically quantised) and tokens.txt"
    parser.add_argument("--sherpa", metavar="FOLDER", type=Path, help=sherpa)


def run(options: argparse.Namespace) -> None:
    """Exports, and prints how far the logits are from PyTorch's."""
    from unispeech_ft.errors import UserError

    if options.onnx is None and options.sherpa is None:
        raise UserError("nothing to write is named", remedy="add --onnx FILE or --sherpa FOLDER")
    if options.onnx is not None:
        _onnx(options)
    if options.sherpa is not None:
        _sherpa(options)


def _onnx(options: argparse.Namespace) -> None:
    from unispeech_ft.hub.onnx import export_onnx

    facts = export_onnx(options.run_folder, options.onnx)
    batches = len(facts.batches_samples)
    print(f"{options.onnx}: logits within {facts.max_difference:.1e} of PyTorch's on {batches} ragged batches")


def _sherpa(options: argparse.Namespace) -> None:
    from unispeech_ft.hub.sherpa import export_sherpa

    facts = export_sherpa(options.run_folder, options.sherpa)
    print(
        f"{options.sherpa}: logits within {facts.max_difference:.1e} of PyTorch's, model.int8.onnx"
        f" {facts.size_ratio:.2f} of the size; sherpa-onnx reads it as omnilingual_asr_ctc"
    )
