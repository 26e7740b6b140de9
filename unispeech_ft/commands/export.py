"""`unispeech-ft export RUN --onnx FILE`."""

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
    parser.add_argument("--onnx", metavar="FILE", type=Path, required=True, help="the .onnx file to write")


def run(options: argparse.Namespace) -> None:
    """Exports, and prints how far the logits are from PyTorch's."""
    from unispeech_ft.hub.onnx import export_onnx

    facts = export_onnx(options.run_folder, options.onnx)
    batches = len(facts.batches_samples)
    print(f"{options.onnx}: logits within {facts.max_difference:.1e} of PyTorch's on {batches} ragged batches")
