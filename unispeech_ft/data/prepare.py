"""Audio of a split, decoded once: 16 kHz mono in an Arrow file on disk, read through a memory map.

The folder of a prepared split is keyed by every clip's path, size and modification time, by the resampler and the
layout of the file, so that nothing stale is ever read. Labels are not part of it: another language setting re-labels
without decoding again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.audio import (
    RESAMPLER,
    SAMPLE_RATE_HZ,
    BadClip,
    Waveform,
    cut_segments,
    decode_audio,
    has_one_channel,
    pack,
    read_audio,
    unpack,
)
from unispeech_ft.data.utterances import Corpus, Split, Utterance
from unispeech_ft.errors import UserError
from unispeech_ft.files import keep

if TYPE_CHECKING:
    from datasets import Dataset

LAYOUT = "clips in 16 bits scaled to their peak, with digests, version 4"
CLIPS_PER_PROCESS = 64
# Fewer are decoded in a second or two.
WORTH_A_BAR = 200
# Id, start and end in seconds; None for the whole recording.
Segment = tuple[str, float | None, float | None]
# Path, channel that the list names, and segments.
Recording = tuple[str, int | None, list[Segment]]


@dataclass(frozen=True)
class PreparedAudio:
    """The decoded clips of one split.

    Attributes:
        dataset: columns `id`, `samples` (16-bit), `scale`, `num_samples`, `fault` (empty where the clip is good).
        folder: where it lies.
    """

    dataset: Dataset
    folder: Path

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each good clip by utterance id."""
        columns = self.dataset.select_columns(["id", "fault"]).to_dict()
        pairs = zip(columns["id"], columns["fault"], strict=True)
        return {name: row for row, (name, fault) in enumerate(pairs) if not fault}

    @cached_property
    def faults(self) -> dict[str, str]:
        """Reason by utterance id, of the clips that cannot be used."""
        columns = self.dataset.select_columns(["id", "fault"]).to_dict()
        return {name: fault for name, fault in zip(columns["id"], columns["fault"], strict=True) if fault}

    @cached_property
    def num_samples(self) -> npt.NDArray[np.int64]:
        """Samples at 16 kHz of each row."""
        return np.asarray(self.dataset.data.column("num_samples").to_numpy(), dtype=np.int64)

    def waveform(self, row: int) -> Waveform:
        """The clip of a row: `[S]`, float32, full scale ±1."""
        values = self.dataset[row]
        return unpack(values["samples"], values["scale"])

    @property
    def key(self) -> str:
        """Identifies the audio."""
        return self.folder.name

    def name(self, row: int) -> str:
        """The id of a row."""
        return str(self.dataset[row]["id"])

    def duration_s(self, row: int) -> float:
        return float(self.num_samples[row]) / SAMPLE_RATE_HZ


def _row(name: str, waveform: Waveform | None, fault: str = "") -> dict[str, Any]:
    samples, scale = pack(waveform) if waveform is not None else (b"", 1.0)
    return {"id": name, "samples": samples, "scale": scale, "num_samples": len(samples) // 2, "fault": fault}


def _recordings(utterances: Sequence[Utterance]) -> list[Recording]:
    """The files of utterances in their order, each with its utterances; channels of a file are recordings apart."""
    files: dict[tuple[str, int | None], list[Segment]] = {}
    for item in utterances:
        if item.path is not None:
            files.setdefault((str(item.path), item.channel), []).append((item.id, item.start_s, item.end_s))
    return [(path, channel, segments) for (path, channel), segments in files.items()]


def _decode_files(recordings: Sequence[Recording], channel: int | None) -> Iterator[dict[str, Any]]:
    """A row for each utterance; no recording is decoded twice.

    Args:
        channel: of recordings whose list does not name one.
    """
    for path, own, segments in recordings:
        # Lists number the channels of a recording also where each is a file of its own.
        taken = channel if own is None or has_one_channel(Path(path)) else own
        spans = {name: (start_s or 0.0, end_s) for name, start_s, end_s in segments}
        try:
            if len(segments) == 1 and segments[0][1:] == (None, None):
                found: Iterator[tuple[str, Waveform | BadClip]] = iter([(segments[0][0], read_audio(path, taken))])
            else:
                found = cut_segments(Path(path), spans, taken)
            for name, waveform in found:
                del spans[name]
                if isinstance(waveform, BadClip):
                    yield _row(name, None, str(waveform))
                else:
                    yield _row(name, waveform)
        except BadClip as reason:
            for name in spans:
                yield _row(name, None, str(reason))


def _decode_rows(corpus: Corpus, split: Split, channel: int | None) -> Iterator[dict[str, Any]]:
    if corpus.read_rows is None:
        raise TypeError("utterances without a path need a corpus that reads rows")
    for name, encoded in corpus.read_rows(split):
        try:
            if isinstance(encoded, str):
                raise BadClip(encoded)
            yield _row(name, decode_audio(encoded, channel))
        except BadClip as reason:
            yield _row(name, None, str(reason))


def _clip_line(utterance: Utterance) -> str:
    if utterance.path is None:
        return utterance.id
    try:
        stat = utterance.path.stat()
    except OSError:
        return f"{utterance.id}\t{utterance.path}\tmissing"
    span = "" if utterance.start_s is None else f"\t{utterance.start_s}\t{utterance.end_s}"
    channel = "" if utterance.channel is None else f"\tchannel {utterance.channel}"
    return f"{utterance.id}\t{utterance.path}\t{stat.st_size}\t{stat.st_mtime_ns}{span}{channel}"


def audio_key(corpus: Corpus, split: Split, channel: int | None = None) -> str:
    """Identifies the decoded audio of a split by everything that it depends on."""
    lines = [
        LAYOUT,
        RESAMPLER,
        str(SAMPLE_RATE_HZ),
        f"channel {channel}",
        corpus.source_key,
        split if corpus.source_key else "",
    ]
    lines += [_clip_line(utterance) for utterance in corpus.splits[split]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]


def _generate(corpus: Corpus, split: Split, folder: Path, num_workers: int, channel: int | None) -> list[str]:
    """Decodes a split into Arrow files below `folder`; returns their paths in order."""
    from datasets import Dataset, Features, NamedSplit, Value

    features = Features(
        {
            "id": Value("string"),
            "samples": Value("binary"),
            "scale": Value("float64"),
            "num_samples": Value("int64"),
            "fault": Value("string"),
        }
    )
    recordings = _recordings(corpus.splits[split])
    options: dict[str, Any] = {"features": features, "cache_dir": str(folder), "writer_batch_size": 64}
    options["split"] = NamedSplit(split)  # its bar says it
    if recordings:
        processes = min(num_workers, len(recordings), len(corpus.splits[split]) // CLIPS_PER_PROCESS)
        given: dict[str, Any] = {"recordings": recordings, "channel": channel}
        generated = Dataset.from_generator(
            _decode_files, gen_kwargs=given, num_proc=processes if processes > 1 else None, **options
        )
    else:
        given = {"corpus": corpus, "split": split, "channel": channel}
        generated = Dataset.from_generator(_decode_rows, gen_kwargs=given, **options)
    return [item["filename"] for item in generated.cache_files]


def _open(folder: Path) -> PreparedAudio:
    from datasets import Dataset, concatenate_datasets

    parts = [Dataset.from_file(str(path)) for path in sorted(folder.glob("*.arrow"))]
    return PreparedAudio(concatenate_datasets(parts) if len(parts) > 1 else parts[0], folder)


def prepare_audio(
    corpus: Corpus,
    split: Split,
    cache_dir: Path,
    *,
    num_workers: int,
    show_progress: bool = True,
    channel: int | None = None,
) -> PreparedAudio:
    """The decoded clips of a split, from the cache where nothing has changed.

    Args:
        corpus: where the clips are.
        split: which of them.
        cache_dir: prepared splits lie in `cache_dir/audio`; each appears whole or not at all.
        num_workers: processes that decode; 0 and 1 decode in this one.
        channel: of recordings with several, from 0; None for the mean of all.

    Raises:
        UserError: the cache folder cannot be written.
    """
    from datasets.exceptions import DatasetGenerationError
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    def fill(partial: Path) -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                files = _generate(corpus, split, partial / "generated", num_workers, channel)
        except DatasetGenerationError as error:
            raise (error.__cause__ or error) from None
        for number, file in enumerate(files):
            shutil.move(file, partial / f"clips-{number:05d}.arrow")
        shutil.rmtree(partial / "generated", ignore_errors=True)

    folder = cache_dir / "audio" / f"{split}-{audio_key(corpus, split, channel)}"
    worth_it = show_progress and len(corpus.splits[split]) >= WORTH_A_BAR
    (enable_progress_bar if worth_it else disable_progress_bar)()
    try:
        keep(folder, fill)
    except OSError as error:
        raise UserError(
            f"data.cache_dir: {cache_dir} cannot be written ({error.strerror})", remedy="make room, or name another"
        ) from None
    finally:
        enable_progress_bar()
    return _open(folder)


def listed_audio(corpus: Corpus, split: Split) -> PreparedAudio:
    """Stands for the audio of published lists in a dry run without a release: lengths, and no sound."""
    from datasets import Dataset

    samples = corpus.listed_samples or {}
    ids = [utterance.id for utterance in corpus.splits[split]]
    empty = {"id": ids, "samples": [b""] * len(ids), "scale": [1.0] * len(ids), "fault": [""] * len(ids)}
    return PreparedAudio(Dataset.from_dict({**empty, "num_samples": [samples[name] for name in ids]}), Path())
