"""`unispeech-ft targets ROOT --out DIR`: classes of frames for masked prediction."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.commands import add_workers, workers_of

if TYPE_CHECKING:
    from unispeech_ft.data.targets import Targets
    from unispeech_ft.tasks.pretraining.cluster import Clustering

SUMMARY = "Cluster the frames of recordings into classes, which a pre-training predicts."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Without --model the features are MFCC with differences, as in the first iteration of HuBERT; with it, what"
        " leaves a layer of that model. A command that was stopped goes on where it was when it is given again."
        " `recipes/pretrain.py --unlabelled.targets DIR` reads the result, with the same root and source."
    )
    parser.add_argument("root", metavar="ROOT", help="as unlabelled.root: folder of audio or of shards, or a manifest")
    sources = ("folder", "manifest", "parquet", "tar")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the targets")
    parser.add_argument("--source", choices=sources, default="folder", help="what ROOT is (default: folder)")
    parser.add_argument("--column", metavar="NAME", default="audio", help="as unlabelled.audio_column")
    parser.add_argument("--model", metavar="MODEL", help="model folder, run, packaged:NAME or Hub id (default: MFCC)")
    parser.add_argument("--layer", metavar="K", type=int, help="of that model, from 1 (HuBERT's iteration 2: 6)")
    parser.add_argument("--classes", metavar="V", type=int, default=100, help="default: 100, as published for MFCC")
    share = "share of the recordings that k-means sees (default: 0.1)"
    parser.add_argument("--fit_share", metavar="P", type=float, default=0.1, help=share)
    frames = "frames that k-means sees at most, all in memory (default: 1000000)"
    parser.add_argument("--fit_frames", metavar="N", type=int, default=1_000_000, help=frames)
    parser.add_argument("--shards", metavar="N", type=int, default=16, help="parts, each made at one go (default: 16)")
    parser.add_argument("--seed", metavar="N", type=int, default=1337, help="default: 1337")
    phones = "folder of TextGrids, named and placed as the recordings: print how well the classes tell their phones"
    parser.add_argument("--phones", metavar="DIR", type=Path, help=phones)
    add_workers(parser)


def run(options: argparse.Namespace) -> None:
    """Makes what is missing, and prints what there is."""
    from unispeech_ft.data.blocks import hire
    from unispeech_ft.data.shards import list_files
    from unispeech_ft.data.targets import MOST_CLASSES
    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.tasks.pretraining.cluster import Clustering, Job, make_targets
    from unispeech_ft.tasks.pretraining.features import named_features

    faults = {
        "--layer goes with --model": (options.layer is None) != (options.model is None),
        f"--classes must be from 2 to {MOST_CLASSES}": not 2 <= options.classes <= MOST_CLASSES,
        "--fit_share must be above 0 and at most 1": not 0 < options.fit_share <= 1,
        "--fit_frames, --shards and --seed must be above 0": min(options.fit_frames, options.shards, options.seed) < 1,
    }
    raise_all([UserError(what, remedy="mend it") for what, wrong in faults.items() if wrong])
    workers = workers_of(options)
    features, said = named_features(options.model, options.layer)
    plan = Clustering(
        options.source,
        str(Path(options.root).expanduser()),
        options.column,
        said,
        options.classes,
        features.rate_hz,
        options.fit_share,
        options.fit_frames,
        options.shards,
        options.seed,
    )
    job = Job(plan, list_files(plan.source, plan.root), options.model, options.layer)
    try:
        with hire(workers) as crew:
            targets = make_targets(job, options.out, crew, lambda line: print(line, flush=True))
    except OSError as error:
        raise UserError(f"{options.out} cannot be written ({error.strerror})", remedy="name another folder") from None
    print(f"{options.out}: {targets.num_classes} classes of {targets.num_recordings} recordings, {said}")
    if options.phones is not None:
        _print_purity(targets, plan, options.phones)


def _print_purity(targets: Targets, plan: Clustering, phones: Path) -> None:
    from unispeech_ft.errors import UserError
    from unispeech_ft.scoring.purity import purity
    from unispeech_ft.tasks.pretraining.cluster import phones_in_classes
    from unispeech_ft.transcription.textgrid import ENDING, read_phones

    def of(name: str) -> list[tuple[float, float, str]] | None:
        file = phones / Path(name).with_suffix(ENDING)
        return read_phones(file) if file.is_file() else None

    counts, num_recordings = phones_in_classes(targets, plan, of)
    if not num_recordings:
        raise UserError(f"{phones} holds no TextGrid of a recording", remedy="name and place them as the recordings")
    found = purity(counts)
    print(
        f"purity on {found.num_frames} frames of {num_recordings} recordings: phone {found.phone:.3f}, cluster"
        f" {found.cluster:.3f}, PNMI {found.pnmi:.3f}"
    )
