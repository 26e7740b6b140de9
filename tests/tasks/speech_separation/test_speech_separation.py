"""The recipe on made-up voices: it learns, resumes, and is the same on two processes; long recordings; faults."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from published_task import check_published
from running import REPOSITORY, events, must_run
from voices import buzz, tiny_runs, write_voices

from unispeech_ft.config.reading import to_yaml
from unispeech_ft.data.row import row_of
from unispeech_ft.errors import UserError
from unispeech_ft.recipes import speech_separation
from unispeech_ft.scoring.separation import best_order
from unispeech_ft.tasks.speech_separation.config import FILE, SeparationConfig
from unispeech_ft.tasks.speech_separation.model import (
    SeparationHead,
    SeparationSettings,
    separated,
    separation_loss,
    sounds_of,
    spectra,
    to_unit_power,
    waveform_loss,
)
from unispeech_ft.tasks.speech_separation.separate import join, load_separator, separate

YAML = REPOSITORY / "configs" / "speech_separation" / "words.yaml"
HEAD = SeparationSettings(hidden=8, layers=2, dropout=0.0, speakers=2, window=512, hop=320, chunk_s=1.0, overlap_s=0.3)


def voice(speaker: int, duration_s: float, seed: int) -> np.ndarray:
    """Half of the speakers hum below 400 Hz, the others above 1,200."""
    return buzz((1200.0 if speaker % 2 else 120.0) * 1.08 ** (speaker // 2), duration_s, seed, harmonics=2)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("voices"), 12, 3, voice)


@pytest.fixture(scope="module")
def configured(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SeparationConfig]:
    own = {
        "simulation.conversations": 40,
        "simulation.scored": 10,
        "simulation.duration_s": 1.0,
        "batch.seconds_per_update": 8,
        "batch.seconds_per_micro_batch": 4,
        "schedule.updates": 20,
        "schedule.freeze_encoder_updates": 10,
        "optimizer.head_lr": 1e-2,
        "optimizer.lr": 1e-3,
        "speech_separation.hidden": 24,
        "speech_separation.window": 512,
        "speech_separation.hop": 256,
        "speech_separation.chunk_s": 1.0,
        "speech_separation.overlap_s": 0.3,
        "evaluation.every_updates": 10,
    }
    return tiny_runs(FILE, YAML, voices, tmp_path_factory.mktemp("runs"), own)


@pytest.fixture(scope="module")
def trained(configured: Callable[..., SeparationConfig]) -> Path:
    config = configured("voices", checkpointing__every_updates=14, checkpointing__keep_last=3)
    speech_separation.run(config)
    return Path(config.output_dir)


def test_it_learns(trained: Path) -> None:
    folder = trained / "eval" / "test"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    low, high = summary["si_sdri_db_ci95"]
    assert 1.0 < summary["si_sdri_db"] < summary["si_sdri_db_oracle_ratio_mask"]
    assert low <= summary["si_sdri_db"] <= high
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:audio/mpeg;base64,") == 4 * 5
    assert "highest" in page


@pytest.mark.long
def test_a_run_resumes_to_the_same_weights(configured: Callable[..., SeparationConfig], trained: Path) -> None:
    again = configured("again", checkpointing__every_updates=14, resume=f"{trained}/checkpoints/update-000014")
    speech_separation.run(again)
    assert len(events(Path(again.output_dir))) == 6
    files = [folder / "model" / "model.safetensors" for folder in (trained, Path(again.output_dir))]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.long
def test_two_processes_make_the_same_losses(configured: Callable[..., SeparationConfig], tmp_path: Path) -> None:
    runs = {name: configured(name, schedule__updates=4, output_dir=str(tmp_path / name)) for name in ("one", "two")}
    speech_separation.run(runs["one"])
    yaml = tmp_path / "run.yaml"
    yaml.write_text(to_yaml(runs["two"]), encoding="utf-8")
    must_run("--config", yaml, script=(REPOSITORY / "recipes" / "speech_separation.py",), processes=2)
    one, two = (events(tmp_path / name) for name in ("one", "two"))
    for figure in ("loss", "grad_norm"):
        assert [event[figure] for event in one] == pytest.approx([event[figure] for event in two], rel=2e-3)
    found = [json.loads((tmp_path / name / "eval/test/summary.json").read_text())["si_sdri_db"] for name in runs]
    assert found[0] == pytest.approx(found[1], abs=1e-2)


def test_a_saved_model_takes_long_recordings_apart(trained: Path, command: Callable, tmp_path: Path) -> None:
    sources = np.stack([voice(speaker, 3.7, 7) for speaker in (0, 1)])
    soundfile.write(tmp_path / "long one.wav", sources.sum(axis=0) / 2, 16_000)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    status, said, told = command(
        "separate", trained, tmp_path / "long one.wav", tmp_path / "broken.wav", "--out", tmp_path / "o"
    )
    assert status == 2
    assert "broken.wav" in told
    assert told.strip().count("\n") <= 1
    assert said.splitlines() == [str(tmp_path / "o" / f"long one.{number}.wav") for number in (1, 2)]
    found = np.stack([soundfile.read(line)[0] for line in said.splitlines()])
    assert found.shape == sources.shape
    order, ratio = best_order(found, sources)
    assert ratio > 1
    for part in np.split(np.arange(found.shape[1] // 4 * 4), 4):  # the speakers stay the same in all chunks
        assert best_order(found[:, part], sources[:, part])[0] == order
    network, front_end = load_separator(str(trained / "model"))
    for samples in (sources.sum(axis=0)[:5], np.zeros(40_000, dtype=np.float32)):
        parts = separate(network, front_end, samples)
        assert parts.shape == (2, len(samples))
        assert np.isfinite(parts).all()


def test_speakers_are_known_again() -> None:
    sources = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)
    chunks = [sources[:, :400], sources[::-1, 300:700], sources[:, 600:1000]]
    np.testing.assert_allclose(join(chunks, 100), sources, atol=1e-6)
    np.testing.assert_array_equal(join([sources[:, :400], sources[:, 400:]], 0), sources)


@pytest.mark.parametrize(("window", "hop", "length"), [(512, 320, 16_000), (64, 40, 77), (256, 128, 1)])
def test_a_spectrum_is_a_sound_again(window: int, hop: int, length: int) -> None:
    sounds = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0))
    found = spectra(sounds, window, hop)
    assert found.shape == (2, 3, -(-length // hop) + 1, window // 2 + 1)
    torch.testing.assert_close(sounds_of(found, window, hop, length), sounds, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("logs", [False, True])
def test_the_loss_does_not_mind_the_order_and_is_that_of_the_formula(logs: bool) -> None:
    torch.manual_seed(0)
    scaled, factors = to_unit_power(torch.randn(2, 3, 800))
    assert scaled[:, 0].square().mean(dim=-1).tolist() == pytest.approx([1, 1])
    assert factors.shape == (2, 1, 1)
    found = spectra(scaled, 64, 40)
    mixed, sources = found[:, 0], found[:, 1:]
    masks = torch.rand(2, 2, *mixed.shape[1:])
    loss = separation_loss(masks, mixed, sources, logs=logs)
    torch.testing.assert_close(separation_loss(masks.flip(1), mixed, sources, logs=logs), loss)
    expected, scale = 0.0, torch.log1p if logs else torch.nn.Identity()
    for clip in range(2):
        target = sources[clip].abs() * torch.cos(sources[clip].angle() - mixed[clip].angle())
        target, said = scale(target.clamp(min=0)), scale(masks[clip] * mixed[clip].abs())
        wrong = [float((said - target[list(order)]).square().mean()) for order in itertools.permutations(range(2))]
        expected += min(wrong) / float(scale(mixed[clip].abs()).square().mean())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_sounds_is_the_score_of_the_best_order() -> None:
    torch.manual_seed(0)
    found, sources = torch.randn(3, 2, 800) + 0.1, torch.randn(3, 2, 800)
    found = found + 2 * sources.flip(1) - 0.2
    expected = -sum(best_order(clip, own)[1] for clip, own in zip(found.numpy(), sources.numpy(), strict=True))
    torch.testing.assert_close(waveform_loss(found, sources), waveform_loss(3 * found.flip(1), sources))
    assert float(waveform_loss(found, sources)) == pytest.approx(expected, rel=1e-4)


def test_each_frame_of_the_spectrum_has_the_nearest_of_the_encoder() -> None:
    head = SeparationHead(1, 4, (200.0, 320.0), HEAD)
    seen: list[torch.Tensor] = []
    head.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    head.norm = torch.nn.Identity()
    states = torch.arange(9.0)[:, None].expand(-1, 4)
    head([states, states], torch.rand(1, 11, 257))
    # Centres at 0, 320, 640 … of the one, at 200, 520, 840 … of the other.
    assert seen[0][0, :, 0].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8]


def test_company_changes_nothing(trained: Path) -> None:
    network, front_end = load_separator(str(trained / "model"))
    clips = [(voice(0, 0.8, seed) + voice(1, 0.8, seed)) * scale for seed, scale in ((1, 1.0), (2, 0.2), (3, 3.0))]
    features = [front_end(clip).numpy() for clip in clips]
    together = separated(network, row_of(features), torch.from_numpy(np.stack(clips)))
    for clip, own, found in zip(clips, features, together, strict=True):
        alone = separated(network, row_of([own]), torch.from_numpy(clip)[None])[0]
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"simulation__speakers": [2, 3]}, "are not one number from two to four"),
        ({"simulation__speakers": [1, 1]}, "are not one number from two to four"),
        ({"simulation__duration_s": 99.0}, "above batch.seconds_per_micro_batch"),
        ({"speech_separation__hop": 450}, "above three quarters of the window"),
        ({"speech_separation__overlap_s": 0.6}, "above half of chunk_s"),
        ({"data__root": "nowhere"}, "no folder nowhere"),
    ],
)
def test_faults_are_named(change: dict[str, object], message: str, configured: Callable[..., SeparationConfig]) -> None:
    with pytest.raises(UserError, match=message):
        speech_separation.run(configured("faulty", **change))


def test_one_speaker_and_no_clips_are_named(configured: Callable[..., SeparationConfig], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no folder of audio"):
        speech_separation.run(configured("none", data__root=str(tmp_path)))
    (tmp_path / "only").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "only" / f"{number}.wav", voice(0, 0.6, number), 16_000)
    with pytest.raises(UserError):
        speech_separation.run(configured("one", data__root=str(tmp_path)))


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(UserError, match="is no model of speech_separation"):
        load_separator(str(tmp_path))


def test_what_is_published_of_it_holds(trained: Path, tmp_path: Path) -> None:
    check_published(trained, tmp_path)
