"""Utterance mixing equals the original's given its draws, notices faults, and draws what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file
from test_golden_prediction import GOLDEN

from unispeech_ft.config.sections import MaskConfig
from unispeech_ft.data.streaming import Piece
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.pretraining.batches import PretrainingBatch, Shaping
from unispeech_ft.tasks.pretraining.config import MixingConfig, ObjectiveConfig
from unispeech_ft.tasks.pretraining.mixing import Addition, draw_mixing, drawn_noises, mix, noise_files

FILES = sorted(GOLDEN.glob("*utterance_mixing*/*.safetensors"))
ABSENT = pytest.param(None, marks=pytest.mark.skip(reason=f"no utterance_mixing in {GOLDEN}"), id="absent")
ORIGINAL_EPS, TOLERANCE = 1e-5, 1e-6
FULL_SCALE = 32767  # of the original's noise


def addition(said: dict[str, Any], change: str) -> Addition:
    snr_db = said["snr_db"] if said["snr_db"] is not None else 0.0
    snr_db = -snr_db if change == "snr" else snr_db
    return Addition(
        said["kind"], said["source"], said["source_start"], said["target_start"], said["length"], float(snr_db)
    )


def far(file: Path, change: str = "", **how: Any) -> float:
    """The largest absolute difference from the original's output."""
    tensors, said = load_file(file), json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    noises = [
        tensors[f"noise.{j}"].astype(np.float32) / FULL_SCALE for j in range(len(tensors)) if f"noise.{j}" in tensors
    ]
    additions = [[addition(operation, change) for operation in row["operations"]] for row in said["rows"]]
    settings = {"normalize_eps": ORIGINAL_EPS if said["settings"]["normalize"] else None, "in_place": True} | how
    mixed = mix(list(tensors["input_values"]), noises, additions, **settings)
    return float(np.abs(np.stack(mixed) - tensors["output_values"]).max())


@pytest.mark.parametrize("file", FILES or [ABSENT], ids=[file.stem for file in FILES] or None)
def test_mixtures_are_the_originals(file: Path) -> None:
    assert far(file) <= TOLERANCE
    assert far(file, "snr") > 100 * TOLERANCE


@pytest.mark.skipif(not FILES, reason=f"no utterance_mixing in {GOLDEN}")
def test_the_comparison_notices_sources_that_were_mixed_already() -> None:
    assert max(far(file, in_place=False) for file in FILES) > 100 * TOLERANCE


def clips(count: int = 6) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(size=2_000 + 300 * number).astype(np.float32) for number in range(count)]


def test_draws_are_named_and_within_their_bounds() -> None:
    mixing = MixingConfig(prob=0.5, noise_prob=0.4, noise_root="noise", most_pieces=2)
    lengths, noises = [16_000, 9_000, 12_000, 400], [3_000, 50_000]
    drawn = [draw_mixing(lengths, noises, mixing, (7, update, 0)) for update in range(500)]
    assert drawn[3] == draw_mixing(lengths, noises, mixing, (7, 3, 0))
    assert drawn[3] != draw_mixing(lengths, noises, mixing, (7, 3, 1)) or drawn[4] != drawn[3]
    every = [(clip, item) for batch in drawn for clip, wanted in enumerate(batch) for item in wanted]
    assert len(every) / 2 == pytest.approx(0.5 * 4 * 500, rel=0.1)
    noisy = [item for _, item in every if item.kind == "noise"]
    assert len(noisy) / len(every) == pytest.approx(0.4, abs=0.05)
    for clip, item in every:
        source = noises[item.source] if item.kind == "noise" else lengths[item.source]
        assert item.kind == "noise" or item.source != clip
        assert 0 <= item.start <= source - item.length
        assert 0 <= item.place <= lengths[clip] - item.length
        assert item.length <= lengths[clip] // 2
        assert -5 <= item.snr_db <= (20 if item.kind == "noise" else 5)
    assert not any(draw_mixing([16_000], [], MixingConfig(prob=1.0), (7, 0, 0)))
    alone = draw_mixing([16_000], [], MixingConfig(prob=1.0, with_itself=True), (7, 0, 0))
    assert [item.source for item in alone[0]] == [0]


def test_noises_are_drawn_by_name_from_a_folder(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / "deep").mkdir(exist_ok=True)
        sound = np.full(800 + number, 0.1, dtype=np.float32)
        soundfile.write(tmp_path / ("deep" if number % 2 else "") / f"{number}.wav", sound, 16_000)
    mixing = MixingConfig(prob=0.5, noise_prob=0.4, noise_root=str(tmp_path))
    drawn = [[len(noise) - 800 for noise in drawn_noises(mixing, (7, update, 0))] for update in range(30)]
    assert drawn[3] == [len(noise) - 800 for noise in drawn_noises(mixing, (7, 3, 0))]
    assert {number for pair in drawn for number in pair} == set(range(5))
    assert drawn_noises(MixingConfig(prob=0.5), (7, 0, 0)) == []
    (tmp_path / "6.wav").write_bytes(b"no sound")
    noise_files.cache_clear()
    with pytest.raises(UserError, match="mixing.noise_root: .*6.wav"):
        [drawn_noises(mixing, (7, update, 0)) for update in range(30)]


def test_the_snr_is_what_it_says_and_other_clips_stay() -> None:
    given = clips()
    wanted = [[] for _ in given]
    wanted[2] = [Addition("utterance", 4, 100, 50, 1_000, 3.0)]
    before = [clip.copy() for clip in given]
    mixed = mix(given, [], wanted, normalize_eps=None)
    assert all(np.array_equal(one, other) for one, other in zip(given, before, strict=True)), "the given clips changed"
    assert all(np.array_equal(mixed[place], given[place]) for place in (0, 1, 3, 4, 5))
    added = mixed[2] - given[2]
    assert not added[:50].any()
    assert not added[1_050:].any()
    ratio = np.mean(given[2] ** 2) / np.mean((added[50:1_050] / given[4][100:1_100]) ** 2 * np.mean(given[4] ** 2))
    assert 10 * np.log10(ratio) == pytest.approx(3.0, abs=1e-3)
    normal = mix(given, [], wanted, normalize_eps=1e-5)
    assert normal[2].mean() == pytest.approx(0, abs=1e-6)
    assert normal[2].std() == pytest.approx(1, abs=1e-4)
    assert np.array_equal(normal[1], given[1])


def test_a_mixed_micro_batch_keeps_its_classes_and_its_silence(tmp_path: Path) -> None:
    made = {"num_classes": 9, "rate_hz": 50.0, "num_shards": 0}
    (tmp_path / "targets.json").write_text(json.dumps(made), encoding="utf-8")
    pieces = [Piece(clip, (np.arange(len(clip) // 320) % 9).astype(np.uint16)) for clip in clips(4)]

    def batch(**mixing: Any) -> PretrainingBatch:
        shaping = Shaping(
            lambda samples: samples // 320,
            0.02,
            8,
            MaskConfig(time_prob=0.5, time_length=2, feature_prob=0.0),
            1e-5,
            ObjectiveConfig(kind="masked_prediction", special_classes=True),
            MixingConfig(**mixing),
            str(tmp_path),
            seed=1,
        )
        return shaping.batch(0, 0, 0, pieces, None, None)

    plain, mixed = batch(), batch(prob=1.0)
    assert torch.equal(mixed.classes, plain.classes)
    assert plain.classes.tolist() == [4 + number for piece in pieces for number in piece.classes.tolist()]
    assert torch.equal(mixed.time_mask, plain.time_mask)
    for row, piece in enumerate(pieces):
        assert not torch.equal(mixed.waveforms[row], plain.waveforms[row])
        assert not mixed.waveforms[row, len(piece) :].any(), "a clip ends where it ends"
        assert mixed.waveforms[row, : len(piece)].std(correction=0).item() == pytest.approx(1, abs=1e-3)
    padded = batch(prob=1.0, over_padding=True)
    assert padded.waveforms[0, len(pieces[0]) :].any(), "normalised with its padding"
    assert padded.num_samples == plain.num_samples
