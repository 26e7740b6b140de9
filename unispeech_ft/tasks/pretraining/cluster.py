"""Recordings → classes of their frames: features, k-means, and shards of classes (`data.targets`).

`T` frames, `D` channels of a frame, `V` classes. Everything is a function of the recordings and the seed: the frames
that k-means sees are drawn by the recordings' names, and a shard is made of its own recordings alone. So both are work
in blocks (`data.blocks`), and a command that was stopped goes on with what is missing.
Source: examples/hubert/simple_kmeans of fairseq at 3d262bb; Hsu et al. 2021 (HuBERT), section IV-B.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.audio import BadClip, decode_pieces
from unispeech_ft.data.blocks import Crew, Say, Work, make_blocks, settle
from unispeech_ft.data.shards import Example, Source, list_files, read_units, units_of_stream
from unispeech_ft.data.targets import CENTROIDS, INFO, SHARD, Classes, Targets, open_targets, write_shard
from unispeech_ft.errors import UserError
from unispeech_ft.files import keep
from unispeech_ft.randomness import Stream, generator
from unispeech_ft.tasks.pretraining.features import WINDOW_S, Features, Frames, named_features

Drawn = tuple[npt.NDArray[np.float64], Frames]
DRAWN = "drawn"
# Recordings pass in pieces of this length at most, a multiple of every frame.
PIECE_S = 30.0
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


def _of_recording(example: Example, features: Features) -> Iterator[tuple[int, Frames]]:
    """The frames of a recording, piece by piece, each with the place of its first frame.

    Raises:
        BadClip: it cannot be decoded.
    """
    source = example["audio"] if example["audio"] is not None else Path(example["path"])
    for start_s, piece in decode_pieces(source, PIECE_S, PIECE_S):
        yield round(start_s * features.rate_hz), features.of(piece)


def draw_frames(examples: Iterator[Example], features: Features, plan: Clustering, most: int) -> Drawn:
    """Frames for k-means, `[n, D]`, with their numbers `[n]`: of a share of the recordings, every one as probable.

    Each frame of a chosen recording has a number drawn by the recording's name; the `most` smallest are kept, in the
    order of their numbers, so that the order of the recordings changes nothing.
    """
    held: list[Drawn] = []
    for example in examples:
        random = generator(plan.seed, Stream.CLUSTERING, zlib.crc32(example["name"].encode("utf-8", "surrogateescape")))
        if random.random() >= plan.fit_share:
            continue
        try:
            found = [frames for _, frames in _of_recording(example, features)]
        except BadClip:
            continue
        held += [(random.random(len(frames)), frames) for frames in found]
        if sum(len(numbers) for numbers, _ in held) > 1.25 * most:
            held = [_smallest(held, most)]
    return _smallest(held, most)


def _smallest(held: Sequence[Drawn], count: int) -> Drawn:
    some = [(numbers, frames) for numbers, frames in held if len(numbers)]
    if not some:
        return np.zeros(0), np.zeros((0, 1), dtype=np.float32)
    numbers = np.concatenate([numbers for numbers, _ in some])
    order = np.argsort(numbers, kind="stable")[:count]
    return numbers[order], np.concatenate([frames for _, frames in some])[order]


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


@dataclass(frozen=True)
class Job:
    """What a worker has to know: what is made, of which files, with whose features."""

    plan: Clustering
    files: list[str]
    model: str | None
    layer: int | None

    @property
    def on_gpu(self) -> bool:
        return self.model is not None

    def features(self) -> Features:
        features, said = named_features(self.model, self.layer)
        if said != self.plan.features:
            raise UserError(f"--model {self.model} is another model for a worker: {said}", remedy="give all the same")
        return features

    def examples(self, number: int) -> Iterator[Example]:
        """The recordings of one of the shards."""
        random = generator(self.plan.seed, Stream.SHARD_ORDER, 0)
        units = units_of_stream(self.files, number, self.plan.num_shards, random)
        return read_units(units, self.plan.source, self.plan.column)


def _fill_drawn(job: Job, most: int, number: int, folder: Path) -> str:
    numbers, frames = draw_frames(job.examples(number), job.features(), job.plan, most)
    np.save(folder / "numbers.npy", numbers)
    np.save(folder / "frames.npy", frames)
    return f"{len(numbers)} frames drawn from part {number + 1} of {job.plan.num_shards}"


def _drawn(job: Job, out: Path, crew: Crew, say: Say) -> Frames:
    """The frames that k-means sees, of all parts together; a part keeps no more than it is likely to be asked for."""
    plan = job.plan
    most = -(-2 * plan.fit_frames // plan.num_shards)
    while True:
        work = Work(out, f"{DRAWN}-{most}", plan.num_shards, partial(_fill_drawn, job, most), job.on_gpu)
        make_blocks(work, crew, say)
        held, left_out = _smallest([], 0), np.inf
        for folder in map(work.folder, range(plan.num_shards)):
            numbers = np.load(folder / "numbers.npy")
            left_out = min(left_out, numbers[-1]) if len(numbers) == most else left_out
            held = _smallest([held, (numbers, np.load(folder / "frames.npy"))], plan.fit_frames)
        if np.isinf(left_out) or (len(held[0]) == plan.fit_frames and held[0][-1] <= left_out):
            return held[1]
        most *= 2


def _fill_centroids(job: Job, out: Path, crew: Crew, say: Say, folder: Path) -> None:
    frames = _drawn(job, out, crew, say)
    np.save(folder / "centroids.npy", fit(frames, job.plan.num_classes, job.plan.seed))
    say(f"{job.plan.num_classes} centroids of {len(frames)} frames")


def _fill_shard(job: Job, centroids_file: Path, number: int, folder: Path) -> str:
    classes, bad = {}, []
    features, centroids = job.features(), np.load(centroids_file)
    for example in job.examples(number):
        try:
            classes[example["name"]] = classes_of(example, features, centroids)
        except BadClip as reason:
            bad.append(f"{example['name']}: {reason}")
    write_shard(folder, classes)
    hours = sum(map(len, classes.values())) / job.plan.rate_hz / 3600
    left_out = f", {len(bad)} left out, for example {bad[0]}" if bad else ""
    return f"shard {number + 1} of {job.plan.num_shards}: {len(classes)} recordings, {hours:.2f} h{left_out}"


def make_targets(job: Job, out: Path, crew: Crew, say: Say) -> Targets:
    """Makes what is missing of a folder of targets.

    Args:
        say: takes lines for people.

    Raises:
        UserError: there are too few frames, the folder holds other targets, or the workers failed.
        OSError: it cannot be written.
    """
    settle(out / INFO, asdict(job.plan))
    keep(out / CENTROIDS, partial(_fill_centroids, job, out, crew, say))
    for drawn in out.glob(f"{DRAWN}-*"):
        shutil.rmtree(drawn)
    fill = partial(_fill_shard, job, out / CENTROIDS / "centroids.npy")
    make_blocks(Work(out, SHARD, job.plan.num_shards, fill, job.on_gpu), crew, say)
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
