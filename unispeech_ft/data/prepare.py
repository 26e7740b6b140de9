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

from unispeech_ft.data.audio import RESAMPLER, SAMPLE_RATE_HZ, BadClip, Waveform, decode_audio, pack, read_audio, unpack
from unispeech_ft.data.utterances import Corpus, Split, Utterance
from unispeech_ft.errors import UserError
from unispeech_ft.files import keep

if TYPE_CHECKING:
    from datasets import Dataset

LAYOUT = "clips in 16 bits scaled to their peak, with digests, version 2"
CLIPS_PER_PROCESS = 64


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

    def duration_s(self, row: int) -> float:
        return float(self.num_samples[row]) / SAMPLE_RATE_HZ


def _row(name: str, waveform: Waveform | None, fault: str = "") -> dict[str, Any]:
    samples, scale = pack(waveform) if waveform is not None else (b"", 1.0)
    return {"id": name, "samples": samples, "scale": scale, "num_samples": len(samples) // 2, "fault": fault}


def _decode_files(clips: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    for name, path in clips:
        try:
            yield _row(name, read_audio(path))
        except BadClip as reason:
            yield _row(name, None, str(reason))


def _decode_rows(corpus: Corpus, split: Split) -> Iterator[dict[str, Any]]:
    if corpus.read_rows is None:
        raise TypeError("utterances without a path need a corpus that reads rows")
    for name, encoded in corpus.read_rows(split):
        try:
            yield _row(name, decode_audio(encoded))
        except BadClip as reason:
            yield _row(name, None, str(reason))


def _clip_line(utterance: Utterance) -> str:
    if utterance.path is None:
        return utterance.id
    try:
        stat = utterance.path.stat()
    except OSError:
        return f"{utterance.id}\t{utterance.path}\tmissing"
    return f"{utterance.id}\t{utterance.path}\t{stat.st_size}\t{stat.st_mtime_ns}"


def audio_key(corpus: Corpus, split: Split) -> str:
    """Identifies the decoded audio of a split by everything that it depends on."""
    lines = [LAYOUT, RESAMPLER, str(SAMPLE_RATE_HZ), corpus.source_key, split if corpus.source_key else ""]
    lines += [_clip_line(utterance) for utterance in corpus.splits[split]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]


def _generate(corpus: Corpus, split: Split, folder: Path, num_workers: int) -> list[str]:
    """Decodes a split into Arrow files below `folder`; returns their paths in order."""
    from datasets import Dataset, Features, Value

    features = Features(
        {
            "id": Value("string"),
            "samples": Value("binary"),
            "scale": Value("float64"),
            "num_samples": Value("int64"),
            "fault": Value("string"),
        }
    )
    clips = [(utterance.id, str(utterance.path)) for utterance in corpus.splits[split] if utterance.path]
    options: dict[str, Any] = {"features": features, "cache_dir": str(folder), "writer_batch_size": 64}
    if clips:
        processes = min(num_workers, len(clips) // CLIPS_PER_PROCESS)
        generated = Dataset.from_generator(
            _decode_files, gen_kwargs={"clips": clips}, num_proc=processes if processes > 1 else None, **options
        )
    else:
        generated = Dataset.from_generator(_decode_rows, gen_kwargs={"corpus": corpus, "split": split}, **options)
    return [item["filename"] for item in generated.cache_files]


def _open(folder: Path) -> PreparedAudio:
    from datasets import Dataset, concatenate_datasets

    parts = [Dataset.from_file(str(path)) for path in sorted(folder.glob("*.arrow"))]
    return PreparedAudio(concatenate_datasets(parts) if len(parts) > 1 else parts[0], folder)


def prepare_audio(
    corpus: Corpus, split: Split, cache_dir: Path, *, num_workers: int, show_progress: bool = True
) -> PreparedAudio:
    """The decoded clips of a split, from the cache where nothing has changed.

    Args:
        corpus: where the clips are.
        split: which of them.
        cache_dir: prepared splits lie in `cache_dir/audio`; each appears whole or not at all.
        num_workers: processes that decode; 0 and 1 decode in this one.

    Raises:
        UserError: the cache folder cannot be written.
    """
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    def fill(partial: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            files = _generate(corpus, split, partial / "generated", num_workers)
        for number, file in enumerate(files):
            shutil.move(file, partial / f"clips-{number:05d}.arrow")
        shutil.rmtree(partial / "generated", ignore_errors=True)

    folder = cache_dir / "audio" / f"{split}-{audio_key(corpus, split)}"
    (enable_progress_bar if show_progress else disable_progress_bar)()
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
