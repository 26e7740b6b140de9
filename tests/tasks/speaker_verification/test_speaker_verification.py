"""The recipe on made-up voices: it learns, resumes, and is the same on two processes; faults are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub.loopback import LoopbackHub
from hub.publishing import REPO
from published_task import check_published
from running import REPOSITORY, events, must_run, write_settings
from safetensors.torch import load_file
from transformers import AutoModel
from voices import buzz, tiny_runs, write_voices

from unispeech_ft.config.reading import to_yaml
from unispeech_ft.data.audio import read_audio
from unispeech_ft.data.labelled import open_clips
from unispeech_ft.data.row import row_of
from unispeech_ft.data.speech import Turns
from unispeech_ft.errors import UserError
from unispeech_ft.models.saving import save_model
from unispeech_ft.recipes import speaker_verification
from unispeech_ft.scoring.verification import equal_error_rate, error_rates
from unispeech_ft.tasks.speaker_verification.compare import compare_recordings, read_pairs
from unispeech_ft.tasks.speaker_verification.config import FILE, SpeakerConfig
from unispeech_ft.tasks.speaker_verification.export import open_trials
from unispeech_ft.tasks.speaker_verification.model import build_speaker_model, speaker_vectors
from unispeech_ft.tasks.speaker_verification.task import label_source
from unispeech_ft.tasks.speaker_verification.trials import pairs_of_speakers, read_trials

YAML = REPOSITORY / "configs" / "speaker_verification" / "words.yaml"
SPEAKERS = 14


def voice(speaker: int, duration_s: float, seed: int) -> np.ndarray:
    return buzz(150.0 * 1.13**speaker, duration_s, seed, noise=0.01)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("voices"), SPEAKERS, 6, voice)


@pytest.fixture(scope="module")
def configured(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SpeakerConfig]:
    own = {
        "augmentation.speeds": [0.9],
        "batch.seconds_per_update": 8,
        "batch.seconds_per_micro_batch": 4,
        "optimizer.lr": 1e-2,
        "optimizer.head_lr": 1e-2,
        "schedule.updates": 24,
        "schedule.freeze_encoder_updates": 6,
        "speaker_verification.channels": 16,
        "speaker_verification.pooled": 16,
        "speaker_verification.size": 8,
        "speaker_verification.margin_until": 12,
        "speaker_verification.crop_s": 0.4,
        "evaluation.every_updates": 12,
    }
    return tiny_runs(FILE, YAML, voices, tmp_path_factory.mktemp("runs"), own)


@pytest.fixture(scope="module")
def trained(configured: Callable[..., SpeakerConfig]) -> Path:
    config = configured("voices", checkpointing__every_updates=12, checkpointing__keep_last=3)
    speaker_verification.run(config)
    return Path(config.output_dir)


def test_it_learns_and_says_how_sure_it_is(trained: Path) -> None:
    events = map(json.loads, (trained / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    losses = [event["loss"] for event in events if event["event"] == "update"]
    # Left as it was at the start, the model's last losses are above its first: the margin grows in between.
    assert np.mean(losses[-6:]) < 0.85 * np.mean(losses[:3]), losses
    summary = json.loads((trained / "eval" / "test" / "summary.json").read_text(encoding="utf-8"))
    assert summary["speakers"] == 3
    assert summary["trials"] == 18 * 17 // 2
    assert summary["targets"] == 3 * 15
    lines = [json.loads(line) for line in (trained / "eval" / "test" / "trials.jsonl").read_text().splitlines()]
    assert len(lines) == summary["trials"]
    sure = equal_error_rate(error_rates(*(np.array([line[key] for line in lines]) for key in ("score", "target"))))
    assert summary["eer"] == pytest.approx(sure, abs=1e-6)
    assert "DET curve" in (trained / "eval" / "test" / "report.html").read_text(encoding="utf-8")
    assert all(line["target"] == (line["enrol"].split("/")[0] == line["test"].split("/")[0]) for line in lines)


def test_the_folder_holds_an_encoder_for_plain_transformers_and_compares_recordings(
    trained: Path, voices: Path
) -> None:
    weights = load_file(trained / "model" / "model.safetensors")
    encoder = AutoModel.from_pretrained(trained / "model")
    assert torch.equal(
        encoder.state_dict()["feature_projection.projection.weight"],
        weights["unispeech.feature_projection.projection.weight"],
    )
    [same, other] = compare_recordings(
        str(trained), [(None, "v03/0.wav", "v03/1.wav"), (None, "v03/0.wav", "v10/1.wav")], voices
    )
    assert same.cosine > other.cosine
    threshold = json.loads((trained / "model" / "config.json").read_text())["head"]["threshold"]
    assert [same.same, other.same] == [same.cosine >= threshold, other.cosine >= threshold]


def test_a_run_resumes_to_the_same_weights(configured: Callable[..., SpeakerConfig], trained: Path) -> None:
    again = configured("again", checkpointing__every_updates=12, resume=f"{trained}/checkpoints/update-000012")
    speaker_verification.run(again)
    assert events(Path(again.output_dir))[0]["update"] == 13
    files = [folder / "model" / "model.safetensors" for folder in (trained, Path(again.output_dir))]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_two_processes_make_the_same_network(
    configured: Callable[..., SpeakerConfig], trained: Path, tmp_path: Path
) -> None:
    # Deviations near 0, of channels that are rectified away, multiply rounding by thousands: two updates show enough.
    config = configured("two", schedule__updates=2, output_dir=str(tmp_path / "two"))
    alone = configured("one", schedule__updates=2, output_dir=str(tmp_path / "one"))
    speaker_verification.run(alone)
    yaml = write_settings(tmp_path / "run.yaml", {})
    yaml.write_text(to_yaml(config), encoding="utf-8")
    must_run("--config", yaml, script=(REPOSITORY / "recipes" / "speaker_verification.py",), processes=2)
    one, two = (events(tmp_path / name) for name in ("one", "two"))
    for figure, tolerance in (("loss", 5e-3), ("grad_norm", 5e-2)):
        assert [event[figure] for event in one] == pytest.approx([event[figure] for event in two], rel=tolerance)
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    for key in ("head.body.first.norm.running_mean", "head.body.first.norm.running_var"):
        torch.testing.assert_close(weights[0][key], weights[1][key], rtol=1e-3, atol=1e-4)
        assert float((weights[0][key] - float("var" in key)).abs().max()) > 1e-3, "they have moved"


def test_a_later_stage_begins_with_the_head_of_the_one_before(
    configured: Callable[..., SpeakerConfig], trained: Path
) -> None:
    before = load_file(trained / "model" / "model.safetensors")
    later = {"model__from_scratch": False, "model__base": str(trained / "model"), "model__config": None}
    config = configured("later", **later, speaker_verification__scale=30.0, speaker_verification__margin=0.5)
    names = json.loads((trained / "model" / "config.json").read_text())["head"]["speakers"]
    built = build_speaker_model(config, ["new", names[3], names[0]])
    now = built.model.state_dict()
    assert built.fresh_rows == 0
    for key, tensor in before.items():
        if key != "head.speakers.weight":
            torch.testing.assert_close(now[key], tensor, rtol=0, atol=0)
    torch.testing.assert_close(now["head.speakers.weight"][1:], before["head.speakers.weight"][[3, 0]], rtol=0, atol=0)
    wider = configured("wider", **later, speaker_verification__size=12)
    assert build_speaker_model(wider, names).kept_rows == 0


@pytest.mark.parametrize("normalize", [None, False])
def test_a_saved_model_hears_through_the_front_end_that_it_was_trained_with(
    normalize: bool | None, configured: Callable[..., SpeakerConfig], voices: Path, tmp_path: Path
) -> None:
    banks = {"model_type": "wav2vec2-bert", "feature_projection_input_dim": 160, "hidden_size": 32}
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    head = {"speaker_verification__instance_norm": normalize is None}
    config = configured("banks", model__config={**banks, **shape}, data__normalize=normalize, **head)
    built = build_speaker_model(config, ["a", "b"])
    save_model(tmp_path / "model", built.model, built.extractor, None, layerdrop=0.0, card="")
    [pair] = compare_recordings(str(tmp_path), [(None, "v03/0.wav", "v03/1.wav")], voices)
    features = [built.front_end(read_audio(voices / "v03" / f"{n}.wav")).numpy() for n in (0, 1)]
    assert np.allclose([clip.mean(axis=0) for clip in features], 0, atol=0.5) == (normalize is None)
    base = {
        "model__base": str(tmp_path / "model"),
        "model__from_scratch": False,
        "model__config": None,
        "data__normalize": None,
    }
    later = configured("later", **base, **head)
    assert np.array_equal(
        build_speaker_model(later, ["a", "b"]).front_end(read_audio(voices / "v03" / "0.wav")), features[0]
    )
    with torch.no_grad():
        first, second = torch.nn.functional.normalize(speaker_vectors(built.model.eval(), row_of(features)))
    assert pair.cosine == pytest.approx(float(first @ second), abs=1e-5)


def test_pairs_of_speakers_are_all_pairs_or_half_targets() -> None:
    speakers = ["a"] * 6 + ["b"] * 6 + ["c"]
    found = pairs_of_speakers(speakers, 1_000, 0)
    assert len(found.pairs) == 13 * 12 // 2
    assert found.targets.sum() == 30
    few = pairs_of_speakers(speakers, 40, 0)
    assert (len(few.pairs), few.targets.sum()) == (40, 20)
    assert np.array_equal(few.pairs, pairs_of_speakers(speakers, 40, 0).pairs)


def test_lists_of_trials_in_either_form(tmp_path: Path) -> None:
    ids = ["s1/a", "s1/b", "s2/c"]
    for text in ("1 s1/a.wav s1/b.wav\n0 s1/a.wav s2/c.wav\n", "s1/a s1/b target\ns1/a s2/c nontarget\n"):
        (tmp_path / "list").write_text(text)
        found = read_trials(tmp_path / "list", ids)
        assert found.pairs.tolist() == [[0, 1], [0, 2]]
        assert found.targets.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 s1/a.wav x/y.wav\n", "names 1 clips that the test split lacks"),
        ("yes s1/a s1/b\n", "is no trial"),
        ("1 s1/a s1/b\n", "all of one speaker"),
        ("", "0 trials"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(UserError, match=message):
        read_trials(tmp_path / "list", ["s1/a", "s1/b", "s2/c"])


def test_pairs_to_compare(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("1 a b\nc d\n\n")
    assert read_pairs(tmp_path / "list") == [(True, "a", "b"), (None, "c", "d")]
    (tmp_path / "list").write_text("a b c d\n")
    with pytest.raises(UserError, match="is no pair"):
        read_pairs(tmp_path / "list")


def test_one_speaker_and_too_few_are_refused(tmp_path: Path, configured: Callable[..., SpeakerConfig]) -> None:
    config = configured("one speaker", data__root=str(write_voices(tmp_path / "one", 1, 4, voice)))
    with pytest.raises(UserError):
        open_clips(config.data, label_source(config), Turns())
    config = configured("few", data__root=str(write_voices(tmp_path / "few", 4, 2, voice)))
    clips = open_clips(config.data, label_source(config), Turns())
    with pytest.raises(UserError, match="all of one speaker"):
        open_trials(config, clips)


def test_what_is_no_speaker_model_is_refused(tmp_path: Path, voices: Path) -> None:
    with pytest.raises(UserError, match="no model of speaker_verification"):
        compare_recordings("packaged:demo", [(None, "v03/0.wav", "v03/1.wav")], voices)


def test_what_is_published_of_it_holds(trained: Path, tmp_path: Path) -> None:
    check_published(trained, tmp_path)


def test_it_is_pushed_and_verified_from_there(trained: Path, client: Callable[..., Any], server: LoopbackHub) -> None:
    pushed = client("push", trained, REPO, "--license", "mit")
    assert pushed.returncode == 0, pushed.stderr
    files = server.state.repositories[REPO].files
    assert {"model.safetensors", "config.yaml", "eval/test/trials.jsonl"} <= set(files)
    assert b"license: mit" in files["README.md"]
    assert b"v00" not in files["eval/test/trials.jsonl"]
    verified = client("verify", REPO)
    assert (verified.returncode, verified.stdout.split()[0]) == (0, "self-consistent"), verified.stdout
