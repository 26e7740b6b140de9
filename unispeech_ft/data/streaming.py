"""Unlabelled speech as streams of micro-batches, through `datasets` streaming, resumable in the middle of a shard.

There are as many streams as unlabelled micro-batches in an update, whatever number of processes and workers share them.
A stream reads its units one example at a time, cuts recordings into pieces, collects a *window* of pieces, sorts it by
length and gives it out as micro-batches in an order drawn by name. Its state says where the window began and how many
of its micro-batches are done, so a resumed stream reads that window once more and goes on with the next micro-batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, Waveform, decode_pieces, sounds
from unispeech_ft.data.shards import Example, Source, list_files, read_units, units_of_stream
from unispeech_ft.data.targets import Classes, classes_between, open_targets
from unispeech_ft.errors import UserError
from unispeech_ft.randomness import Stream, generator


@dataclass(frozen=True)
class StreamState:
    """Where a stream goes on.

    Attributes:
        epoch: passes of this stream over its part.
        window: number of the window in the epoch.
        examples: state of the `datasets` stream at the window's start; None at the epoch's.
        pieces: of the next recording that earlier windows held.
        taken: micro-batches of the window that are done.
        alone: the stream's part was empty, so that it reads everything.
        read, bad: recordings so far, and those of them that could not be used.
        fault: the last such recording with its reason.
    """

    epoch: int = 0
    window: int = 0
    examples: dict[str, Any] | None = None
    pieces: int = 0
    taken: int = 0
    alone: bool = False
    read: int = 0
    bad: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Piece:
    """A piece of a recording; its length is that of its sound.

    Attributes:
        waveform: `[S]` at 16 kHz.
        classes: of its frames, at the rate of the targets; None without targets.
    """

    waveform: Waveform
    classes: Classes | None = None

    def __len__(self) -> int:
        return len(self.waveform)


@dataclass(frozen=True)
class Pieces:
    """What the streams read; durations in seconds.

    Attributes:
        root: folder, file, or folder of shard files.
        column: of the audio in parquet rows, or of the paths in a manifest.
        min_s, max_s: of a piece.
        window_s: read ahead and sorted by length.
        batch_s: padded seconds of a micro-batch at most.
        targets: folder with the classes of the recordings' frames; None without.
    """

    source: Source
    root: str
    column: str
    min_s: float
    max_s: float
    window_s: float
    batch_s: float
    seed: int
    targets: str | None = None

    @cached_property
    def files(self) -> list[str]:
        return list_files(self.source, self.root)

    def of(self, example: Example, epoch: int) -> Iterator[Piece]:
        """The pieces of a recording, without silent ones; where it is cut changes from epoch to epoch.

        Raises:
            BadClip: see `decode_pieces`; or the targets hold no classes of it.
        """
        named = zlib.crc32(example["name"].encode("utf-8", "surrogateescape"))
        first_s = float(generator(self.seed, Stream.RECORDING_CUT, epoch, named).uniform(self.min_s, self.max_s))
        source = example["audio"] if example["audio"] is not None else Path(example["path"])
        targets = None if self.targets is None else open_targets(self.targets)
        classes = None if targets is None else targets.of(example["name"])
        for start_s, waveform in decode_pieces(source, self.max_s, first_s):
            if len(waveform) >= self.min_s * SAMPLE_RATE_HZ and sounds(waveform):
                own = None
                if targets is not None and classes is not None:
                    own = classes_between(classes, start_s, len(waveform) / SAMPLE_RATE_HZ, targets.rate_hz)
                yield Piece(waveform, own)


class _Examples:
    """The examples of a stream's epoch, with the state before each of them."""

    def __init__(self, pieces: Pieces, stream: int, num_streams: int, state: StreamState) -> None:
        from datasets import Features, IterableDataset, Value

        if state.alone:
            stream, num_streams = 0, 1
        random = generator(pieces.seed, Stream.SHARD_ORDER, state.epoch)
        units = units_of_stream(pieces.files, stream, num_streams, random)
        self.dataset = IterableDataset.from_generator(
            read_units,
            features=Features({"name": Value("string"), "path": Value("string"), "audio": Value("binary")}),
            gen_kwargs={"units": units, "source": pieces.source, "column": pieces.column},
        )
        self.before = state.examples
        if state.examples is not None:
            self.dataset.load_state_dict(state.examples)

    def __iter__(self) -> Iterator[Example]:
        # In batches of one: plain iteration would deal the units to the loader's workers once more.
        for batch in self.dataset.iter(batch_size=1):
            yield {name: values[0] for name, values in batch.items()}
            self.before = self.dataset.state_dict()


def _micro_batches(window: list[Piece], batch_s: float, random: np.random.Generator) -> list[list[Piece]]:
    """A window sorted by length and cut into micro-batches, in random order."""
    limit = batch_s * SAMPLE_RATE_HZ
    batches: list[list[Piece]] = []
    for piece in sorted(window, key=len):
        if not batches or len(piece) * (len(batches[-1]) + 1) > limit:
            batches.append([])
        batches[-1].append(piece)
    return [batches[place] for place in random.permutation(len(batches)).tolist()]


def _windows(
    pieces: Pieces, stream: int, num_streams: int, state: StreamState
) -> Iterator[tuple[list[Piece], StreamState, StreamState]]:
    """The rest of an epoch: windows of pieces, the state at each one's start, and the state after it."""
    examples = _Examples(pieces, stream, num_streams, state)
    window: list[Piece] = []
    length, start = 0, state
    read, bad, fault, skip = state.read, state.bad, state.fault, state.pieces
    for example in examples:
        given = 0
        try:
            for piece in pieces.of(example, state.epoch):
                given += 1
                if given <= skip:
                    continue
                window.append(piece)
                length += len(piece)
                if length >= pieces.window_s * SAMPLE_RATE_HZ:
                    after = StreamState(
                        state.epoch, start.window + 1, examples.before, given, 0, state.alone, read, bad, fault
                    )
                    yield window, start, after
                    window, length, start = [], 0, after
        except BadClip as reason:
            bad, fault = bad + 1, f"{example['name']}: {reason}"
        read, skip = read + 1, 0
    after = StreamState(state.epoch + 1, alone=state.alone, read=read, bad=bad, fault=fault)
    yield window, start, after


def open_stream(
    pieces: Pieces, stream: int, num_streams: int, state: StreamState | None = None
) -> Iterator[tuple[list[Piece], StreamState]]:
    """Endless micro-batches of one stream, each with the state that continues after it.

    Args:
        stream: from 0; each of `num_streams` reads a part of its own.
        state: where to go on; None starts from the beginning.

    Raises:
        UserError: there is no usable audio, or a file cannot be read.
    """
    state = state or StreamState()
    while True:
        epoch_had_audio = state.window > 0 or state.taken > 0
        for window, start, after in _windows(pieces, stream, num_streams, state):
            random = generator(pieces.seed, Stream.WINDOW_ORDER, stream, start.epoch, start.window)
            batches = _micro_batches(window, pieces.batch_s, random)
            for number in range(start.taken, len(batches)):
                done = number + 1 == len(batches)
                yield batches[number], after if done else replace(start, taken=number + 1)
            epoch_had_audio = epoch_had_audio or bool(batches)
            state = after
        if not epoch_had_audio:
            if state.alone or num_streams == 1:
                last = f"; the last of {state.bad} bad ones: {state.fault}" if state.fault else ""
                raise UserError(
                    f"unlabelled.root: {pieces.root} holds no usable audio{last}",
                    remedy="check unlabelled.source, unlabelled.root and unlabelled.min_duration_s",
                )
            state = StreamState(alone=True)
