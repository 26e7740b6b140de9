"""Boundaries against espeak-ng's own phone times, with a model that knows them, and with one that is late."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from running import REPOSITORY
from warm import clean_environment, run_warm

from unispeech_ft.errors import UserError
from unispeech_ft.models.decoding import FrameOutputs
from unispeech_ft.models.families import frame_grid, num_frames
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring import timing
from unispeech_ft.scoring.boundaries import refined
from unispeech_ft.scoring.forced import forced_segments
from unispeech_ft.testing import boundary_error, learn_boundaries
from unispeech_ft.testing.known_times import TimedClip, boundary_errors_ms, evenly, timed_clips
from unispeech_ft.transcription import alignment, decoding


@pytest.fixture(scope="module")
def clips() -> list[TimedClip]:
    return list(timed_clips("ky", "test", 24))


def test_true_times_are_where_the_sound_is(clips):
    for clip in clips[:6]:
        samples, rate_hz = soundfile.read(io.BytesIO(clip.encoded), dtype="float32")
        assert clip.duration_s == pytest.approx(len(samples) / rate_hz, abs=0.03)
        level = np.convolve(np.abs(samples), np.ones(480) / 480, "same")
        loud = np.flatnonzero(level > 0.1 * level.max()) / rate_hz
        assert clip.times[0][0] == pytest.approx(loud[0], abs=0.12)
        assert clip.times[0][0] >= 0.1
        assert clip.times[-1][1] >= loud[-1] - 0.15
        edges = [edge for times in clip.times for edge in times]
        assert edges == sorted(edges)


def knowing(saved, clip: TimedClip, late_s: float) -> np.ndarray:
    """Log posteriors `[T, V]` of a model that marks each phone once, in its middle, and knows where it begins."""
    count = num_frames(saved.built.model.config, round(clip.duration_s * 16_000))
    grid = frame_grid(saved.built.model.config)
    rows = saved.tokenizer.encode(clip.phones)
    posteriors = np.full((count, len(saved.tokenizer.tokens)), 1e-4)
    for row, (start_s, end_s) in zip(rows, clip.times, strict=True):
        first, last = ((time + late_s - grid.offset_s) / grid.step_s for time in (start_s, end_s))
        posteriors[max(0, round(first)) : round(last), row] = 0.05
        posteriors[min(count - 1, int((first + last) / 2)), row] = 10.0
    posteriors[:, saved.tokenizer.blank_id] = 0.9
    return np.log(posteriors / posteriors.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("late_s", "least_ms", "most_ms"), [(0.0, 0.0, 8.0), (0.1, 80.0, 110.0)])
def test_the_measure_tells_a_good_model_from_a_late_one(small_model, clips, monkeypatch, late_s, least_ms, most_ms):
    by_name = {clip.name: clip for clip in clips}
    current: list[np.ndarray] = []

    def forced(saved, path, *_):
        clip = by_name[Path(path).stem]
        current[:] = [knowing(saved, clip, late_s)]
        return current[0], clip.duration_s

    def heard(*_):
        outputs = [FrameOutputs(current[0].argmax(axis=1), current[0])]
        return [([0], SimpleNamespace(outputs=lambda: outputs))]

    monkeypatch.setattr(alignment, "log_posteriors", forced)
    monkeypatch.setattr(decoding, "started_batches", heard)
    found = boundary_error.measure(small_model, clips)
    for name in (boundary_error.FORCED, boundary_error.GREEDY):
        assert least_ms <= found[name].median_ms <= most_ms, name
    assert found[boundary_error.GUESS].median_ms > 100
    assert found[boundary_error.FORCED].boundaries > 100


def test_errors_are_of_starts_and_ends():
    errors = boundary_errors_ms([(0.1, 0.3)], [(0.12, 0.25)])
    assert errors.tolist() == pytest.approx([20, 50])
    assert evenly(2, 3.0) == [(0.0, 1.5), (1.5, 3.0)]
    with pytest.raises(ValueError, match="not of the same phones"):
        boundary_errors_ms([(0.0, 1.0)], [])


def test_nothing_to_compare_is_told(small_model):
    with pytest.raises(UserError, match="no phone was recognised"):
        boundary_error.measure(small_model, [TimedClip("none", b"", 1.0, ["no such phone"], [(0.0, 1.0)])])


def test_the_script_prints_the_table(small_run):
    words = [REPOSITORY / "scripts" / "boundary_error.py", small_run.model_dir, "ky", "--clips", "30"]
    done = run_warm(words, cwd=REPOSITORY, env=clean_environment())
    assert done.returncode == 0, done.stderr
    rows = [line[:28].strip() for line in done.stdout.splitlines()]
    assert rows[1:4] == [boundary_error.FORCED, boundary_error.GREEDY, boundary_error.GUESS]


def test_a_late_model_learns_to_be_on_time(small_model, clips, monkeypatch):
    by_content = {clip.encoded: clip for clip in clips}
    phones = sorted({phone for clip in clips for phone in clip.phones})
    model = replace(small_model, tokenizer=PhoneTokenizer(("<pad>", *phones), "<pad>"))

    def late_marks(saved, path, phones):
        clip = by_content[Path(path).read_bytes()]
        frames = knowing(saved, clip, 0.06)
        return (
            forced_segments(frames, saved.tokenizer.encode(phones), saved.tokenizer.blank_id),
            frames,
            clip.duration_s,
        )

    monkeypatch.setattr(learn_boundaries, "forced_marks", late_marks)
    network = learn_boundaries.learn_boundaries(model, clips[:-4])
    grid, errors = frame_grid(model.built.model.config), {"before": [], "after": []}
    for clip in clips[-4:]:
        frames = knowing(model, clip, 0.06)
        marks = forced_segments(frames, model.tokenizer.encode(clip.phones), model.tokenizer.blank_id)
        times = timing.phone_times(marks, frames, grid, clip.duration_s)
        better = refined(network, marks, times, grid, clip.duration_s)
        for name, found in (("before", times), ("after", better)):
            errors[name].append(boundary_errors_ms([(time.start_s, time.end_s) for time in found], clip.times))
    before, after = (np.concatenate(found).mean() for found in errors.values())
    assert before > 40
    assert after < 12


def test_too_little_to_learn_from_is_said(small_model, clips):
    with pytest.raises(UserError, match="boundaries of the synthetic speech could be placed"):
        learn_boundaries.learn_boundaries(small_model, clips[:1])
