"""Recordings → classes of their frames: features, k-means, and shards of classes (`data.targets`).

`S` samples, `T` frames, `D` channels of a frame, `V` classes. The features are MFCC, or what leaves a layer of a model.
Everything is a function of the recordings and the seed: the frames that k-means sees are drawn by the recordings'
names, and a shard is made of its own recordings alone. So a command that was stopped goes on with what is missing.
Source: examples/hubert/simple_kmeans of fairseq at 3d262bb; Hsu et al. 2021 (HuBERT), section IV-B.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, Waveform, decode_pieces
from unispeech_ft.data.row import Row, lay_out
from unispeech_ft.data.shards import Example, Source, Unit, list_files, read_units, units_of_stream
from unispeech_ft.data.targets import CENTROIDS, INFO, Classes, Targets, open_targets, shard_folder, write_shard
from unispeech_ft.errors import UserError
from unispeech_ft.files import keep, parse_json, write_text
from unispeech_ft.models.families import frame_s
from unispeech_ft.models.forward import encode_blocks
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.randomness import Stream, generator

Frames = npt.NDArray[np.float32]
Say = Callable[[str], None]
# Recordings pass in pieces of this length at most, a multiple of every frame.
PIECE_S = 30.0
MFCC_RATE_HZ, NUM_CEPSTRA = 50.0, 13
# What a frame sees, of MFCC and of the conv extractors alike.
WINDOW_S = 0.025
# The original's settings of scikit-learn's MiniBatchKMeans.
KMEANS = {"max_iter": 100, "batch_size": 10_000, "n_init": 20, "max_no_improvement": 100, "reassignment_ratio": 0.0}


@dataclass(frozen=True)
class Clustering:
    """What is to be made; it stands in `targets.json`.

    Attributes:
        features: in words.
        num_classes: `V`.
        rate_hz: classes a second.
        fit_share: share of the recordings whose frames k-means may see.
        fit_frames: frames that it sees at most.
    """

    source: Source
    root: str
    column: str
    features: str
    num_classes: int
    rate_hz: float
    fit_share: float
    fit_frames: int
    num_shards: int
    seed: int


@dataclass(frozen=True)
class Features:
    """Waveform `[S]` → frames `[T, D]`, so many a second."""

    of: Callable[[Waveform], Frames]
    rate_hz: float


def _mfcc(waveform: Waveform) -> Frames:
    """13 cepstra with first and second differences, every second of 100 frames a second."""
    from torchaudio.compliance.kaldi import mfcc
    from torchaudio.functional import compute_deltas

    if len(waveform) < WINDOW_S * SAMPLE_RATE_HZ:
        return np.zeros((0, 3 * NUM_CEPSTRA), dtype=np.float32)
    samples = torch.from_numpy(waveform)[None]
    cepstra = mfcc(samples, sample_frequency=SAMPLE_RATE_HZ, use_energy=False, num_ceps=NUM_CEPSTRA, dither=0.0).T
    first = compute_deltas(cepstra)
    frames: Frames = torch.cat([cepstra, first, compute_deltas(first)]).T[::2].contiguous().numpy()
    return frames


MFCC = Features(_mfcc, MFCC_RATE_HZ)


def layer_features(network: Any, front_end: FrontEnd, layer: int) -> Features:
    """What leaves a layer of an encoder in evaluation mode, without a norm behind it.

    Args:
        layer: from 1.
    """

    @torch.no_grad()
    def of(waveform: Waveform) -> Frames:
        frames = front_end(waveform)
        if not len(frames):
            return np.zeros((0, network.config.hidden_size), dtype=np.float32)
        row = Row(frames, lay_out([len(frames)]).to(frames.device))
        _, (found,) = encode_blocks(network, row, [layer], layers=range(layer))
        array: Frames = found.float().cpu().numpy()
        return array

    return Features(of, 1 / frame_s(network.config))


def weights_digest(network: nn.Module) -> str:
    """Tells a network from others of the same name."""
    import xxhash

    digest = xxhash.xxh3_64()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _of_recording(example: Example, features: Features) -> Iterator[tuple[int, Frames]]:
    """The frames of a recording, piece by piece, each with the place of its first frame.

    Raises:
        BadClip: it cannot be decoded.
    """
    source = example["audio"] if example["audio"] is not None else Path(example["path"])
    for start_s, piece in decode_pieces(source, PIECE_S, PIECE_S):
        yield round(start_s * features.rate_hz), features.of(piece)


def draw_frames(examples: Iterator[Example], features: Features, plan: Clustering) -> Frames:
    """The frames that k-means sees, `[n, D]`: of a share of the recordings, at most so many, every one as probable.

    Each frame of a chosen recording has a number drawn by the recording's name; those with the smallest are kept, in
    the order of their numbers, so that the order of the recordings changes nothing.
    """
    held: list[tuple[npt.NDArray[np.float64], Frames]] = []
    for example in examples:
        random = generator(plan.seed, Stream.CLUSTERING, zlib.crc32(example["name"].encode("utf-8", "surrogateescape")))
        if random.random() >= plan.fit_share:
            continue
        try:
            found = [frames for _, frames in _of_recording(example, features)]
        except BadClip:
            continue
        held += [(random.random(len(frames)), frames) for frames in found]
        if sum(len(numbers) for numbers, _ in held) > 1.25 * plan.fit_frames:
            held = [_smallest(held, plan.fit_frames)]
    return _smallest(held, plan.fit_frames)[1] if held else np.zeros((0, 1), dtype=np.float32)


def _smallest(
    held: Sequence[tuple[npt.NDArray[np.float64], Frames]], count: int
) -> tuple[npt.NDArray[np.float64], Frames]:
    numbers = np.concatenate([numbers for numbers, _ in held])
    order = np.argsort(numbers, kind="stable")[:count]
    return numbers[order], np.concatenate([frames for _, frames in held])[order]


def fit(frames: Frames, num_classes: int, seed: int) -> Frames:
    """Centroids `[V, D]` of frames `[n, D]`.

    Raises:
        UserError: there are fewer frames than classes.
    """
    from sklearn.cluster import MiniBatchKMeans

    if len(frames) < num_classes:
        raise UserError(
            f"{len(frames)} frames are too few for {num_classes} classes", remedy="raise --fit_share, or ask for fewer"
        )
    means = MiniBatchKMeans(num_classes, init="k-means++", tol=0.0, random_state=seed % 2**32, **KMEANS).fit(frames)
    return np.asarray(means.cluster_centers_, dtype=np.float32)


def nearest(frames: Frames, centroids: Frames) -> Classes:
    """The centroid `[V, D]` that is nearest to each frame `[T, D]`."""
    scores = 2 * frames @ centroids.T - np.square(centroids).sum(axis=1)
    classes: Classes = scores.argmax(axis=1).astype(np.uint16)
    return classes


def classes_of(example: Example, features: Features, centroids: Frames) -> Classes:
    """The classes of a recording; the frame that a cut between pieces swallows has the class of the one before.

    Raises:
        BadClip: it cannot be decoded.
    """
    classes: Classes = np.zeros(0, dtype=np.uint16)
    for first, frames in _of_recording(example, features):
        if len(classes):
            classes = np.pad(classes, (0, max(0, first - len(classes))), mode="edge")
        classes = np.concatenate([classes, nearest(frames, centroids)])
    return classes


def _settled(plan: Clustering, out: Path) -> None:
    """Writes `targets.json`, or finds the same there."""
    said = json.dumps(asdict(plan), indent=2)
    file = out / INFO
    if file.is_file() and parse_json(file.read_text(encoding="utf-8")) != asdict(plan):
        raise UserError(f"{out} holds targets made with other settings", remedy="name another folder, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    write_text(file, said + "\n")


def _fill_centroids(folder: Path, plan: Clustering, features: Features, files: Sequence[str], say: Say) -> None:
    examples = read_units([(file, 0, 1) for file in files], plan.source, plan.column)
    frames = draw_frames(examples, features, plan)
    np.save(folder / "centroids.npy", fit(frames, plan.num_classes, plan.seed))
    say(f"{plan.num_classes} centroids of {len(frames)} frames")


def _fill_shard(
    folder: Path, number: int, units: list[Unit], plan: Clustering, features: Features, centroids: Frames, say: Say
) -> None:
    classes, bad = {}, []
    for example in read_units(units, plan.source, plan.column):
        try:
            classes[example["name"]] = classes_of(example, features, centroids)
        except BadClip as reason:
            bad.append(f"{example['name']}: {reason}")
    write_shard(folder, classes)
    hours = sum(map(len, classes.values())) / plan.rate_hz / 3600
    left_out = f", {len(bad)} left out, for example {bad[0]}" if bad else ""
    say(f"shard {number + 1} of {plan.num_shards}: {len(classes)} recordings, {hours:.2f} h{left_out}")


def make_targets(plan: Clustering, features: Features, out: Path, say: Say) -> Targets:
    """Makes what is missing of a folder of targets.

    Args:
        say: takes lines for people.

    Raises:
        UserError: there are no recordings, too few frames, or the folder holds other targets.
        OSError: it cannot be written.
    """
    files = list_files(plan.source, plan.root)
    _settled(plan, out)
    keep(out / CENTROIDS, lambda folder: _fill_centroids(folder, plan, features, files, say))
    centroids = np.load(out / CENTROIDS / "centroids.npy")
    for number in range(plan.num_shards):
        units = units_of_stream(files, number, plan.num_shards, generator(plan.seed, Stream.SHARD_ORDER, 0))
        fill = partial(
            _fill_shard, number=number, units=units, plan=plan, features=features, centroids=centroids, say=say
        )
        keep(shard_folder(out, number), fill)
    targets = open_targets(str(out))
    targets.check()
    return targets


def phones_in_classes(
    targets: Targets, plan: Clustering, phones_of: Callable[[str], Sequence[tuple[float, float, str]] | None]
) -> tuple[npt.NDArray[np.int64], int]:
    """Counts how often each phone falls into each class.

    Args:
        phones_of: a recording's name → start, end and phone of its intervals in seconds; None where they are not known.

    Returns:
        `[P, V]`, and the number of recordings that were counted.
    """
    rows: dict[str, npt.NDArray[np.int64]] = {}
    num_recordings = 0
    for example in read_units([(file, 0, 1) for file in list_files(plan.source, plan.root)], plan.source, plan.column):
        intervals = phones_of(example["name"])
        if not intervals or example["name"] not in targets:
            continue
        classes = targets.of(example["name"])
        centres_s = np.arange(len(classes)) / plan.rate_hz + WINDOW_S / 2
        ends_s = np.array([end_s for _, end_s, _ in intervals])
        numbers = np.minimum(np.searchsorted(ends_s, centres_s, side="right"), len(intervals) - 1)
        for number in np.unique(numbers).tolist():
            row = rows.setdefault(intervals[number][2], np.zeros(targets.num_classes, dtype=np.int64))
            row += np.bincount(classes[numbers == number], minlength=targets.num_classes)
        num_recordings += 1
    return np.stack([*rows.values(), np.zeros(targets.num_classes, dtype=np.int64)]), num_recordings
