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
from torch import nn
from voices import buzz, tiny_runs, write_voices

from unispeech_ft.config.reading import to_yaml
from unispeech_ft.data.row import lay_out
from unispeech_ft.errors import UserError
from unispeech_ft.models.permutation import best_permutation
from unispeech_ft.recipes import speaker_diarization
from unispeech_ft.scoring.diarization import diarization_errors, format_rttm, read_rttm
from unispeech_ft.tasks.speaker_diarization.config import FILE, DiarizationConfig
from unispeech_ft.tasks.speaker_diarization.diarize import diarize, load_diarizer, same_people
from unispeech_ft.tasks.speaker_diarization.model import DiarizationHead, DiarizationSettings
from unispeech_ft.tasks.speaker_diarization.task import unpack
from unispeech_ft.transcription.elan import Tier, fresh, with_tiers

YAML = REPOSITORY / "configs" / "speaker_diarization" / "words.yaml"


def voice(speaker: int, duration_s: float, seed: int) -> np.ndarray:
    return buzz(150.0 * 1.2**speaker, duration_s, seed)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("voices"), 12, 5, voice)


@pytest.fixture(scope="module")
def configured(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DiarizationConfig]:
    own = {
        "simulation.conversations": 20,
        "simulation.scored": 6,
        "simulation.duration_s": 2.0,
        "batch.seconds_per_update": 40,
        "batch.seconds_per_micro_batch": 20,
        "schedule.updates": 16,
        "schedule.freeze_encoder_updates": 0,
        "optimizer.head_lr": 5e-3,
        "optimizer.lr": 5e-3,
        "speaker_diarization.hidden": 16,
        "speaker_diarization.size": 8,
        "speaker_diarization.speaker_loss": 0.03,
        "speaker_diarization.chunk_s": 2.0,
        "evaluation.every_updates": 8,
    }
    return tiny_runs(FILE, YAML, voices, tmp_path_factory.mktemp("runs"), own)


@pytest.fixture(scope="module")
def trained(configured: Callable[..., DiarizationConfig]) -> Path:
    config = configured("voices", checkpointing__every_updates=8, checkpointing__keep_last=3)
    speaker_diarization.run(config)
    return Path(config.output_dir)


@pytest.mark.slow
def test_it_learns(configured: Callable[..., DiarizationConfig]) -> None:
    longer = {"simulation__conversations": 200, "simulation__duration_s": 4.0, "schedule__updates": 200}
    [*_, test] = speaker_diarization.run(configured("learns", **longer, evaluation__every_updates=100))
    assert test.der is not None
    assert test.der_one_speaker is not None
    assert test.der < 0.75 * test.der_one_speaker


def test_its_figures_follow_from_its_files(trained: Path) -> None:
    folder = trained / "eval" / "test"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    known, found = (read_rttm(folder / f"{name}.rttm") for name in ("reference", "hypothesis"))
    assert summary["speech_s"] > 1
    parts = [diarization_errors(known[name], found.get(name, [])) for name in known]
    wrong_s = sum(part.missed_s + part.false_alarm_s + part.confused_s for part in parts)
    # RTTM is written to the millisecond.
    assert wrong_s / sum(part.total_s for part in parts) == pytest.approx(summary["der"], abs=2e-3)
    chosen = json.loads((trained / "eval" / "validation" / "summary.json").read_text(encoding="utf-8"))
    assert (chosen["threshold"], chosen["median_frames"]) == (summary["threshold"], summary["median_frames"])
    assert "Who speaks when" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_run_resumes_to_the_same_weights(configured: Callable[..., DiarizationConfig], trained: Path) -> None:
    again = configured("again", checkpointing__every_updates=8, resume=f"{trained}/checkpoints/update-000008")
    speaker_diarization.run(again)
    assert events(Path(again.output_dir))[0]["update"] == 9
    files = [folder / "model" / "model.safetensors" for folder in (trained, Path(again.output_dir))]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_two_processes_make_the_same_losses(configured: Callable[..., DiarizationConfig], tmp_path: Path) -> None:
    runs = {name: configured(name, schedule__updates=4, output_dir=str(tmp_path / name)) for name in ("one", "two")}
    speaker_diarization.run(runs["one"])
    yaml = tmp_path / "run.yaml"
    yaml.write_text(to_yaml(runs["two"]), encoding="utf-8")
    must_run("--config", yaml, script=(REPOSITORY / "recipes" / "speaker_diarization.py",), processes=2)
    one, two = (events(tmp_path / name) for name in ("one", "two"))
    for figure in ("loss", "grad_norm"):
        assert [event[figure] for event in one] == pytest.approx([event[figure] for event in two], rel=2e-3)
    summaries = [json.loads((tmp_path / name / "eval/test/summary.json").read_text())["der"] for name in ("one", "two")]
    assert summaries[0] == pytest.approx(summaries[1], abs=1e-2)


def test_a_saved_model_hears_long_recordings(trained: Path, voices: Path, command: Callable, tmp_path: Path) -> None:
    samples = np.concatenate([soundfile.read(voices / f"v{n % 2:02d}" / f"{n % 5}.wav")[0] for n in range(16)])
    soundfile.write(tmp_path / "long one.wav", samples, 16_000)
    network, front_end, settings = load_diarizer(str(trained / "model"), num_speakers=2)
    found = diarize(network, front_end, samples.astype(np.float32), settings)
    assert {item.speaker for item in found} <= {"S1", "S2"}
    foreign = with_tiers(
        fresh(tmp_path / "long one.wav"), [Tier("S1", [(0.0, 1.0, "by hand")]), Tier("S9", [(0, 1, "")])]
    )
    text = foreign.content().decode().replace('ANNOTATOR="unispeech-ft"', 'ANNOTATOR="KM"', 1)
    (tmp_path / "long one.eaf").write_text(text)
    places = [word for kind in ("--rttm", "--eaf", "--textgrid") for word in (kind, tmp_path / "o")]
    for _ in range(2):
        status, said, _ = command("diarize", trained, tmp_path / "long one.wav", "--speakers", 2, *places)
        assert status == 0
        assert said == format_rttm({"long_one": found})
        assert sorted(path.suffix for path in (tmp_path / "o").iterdir()) == [".TextGrid", ".eaf", ".rttm"]
        text = (tmp_path / "o" / "long one.eaf").read_text()
        assert text.count("<ALIGNABLE_ANNOTATION") == 1 + len(found)
        assert text.count('TIER_ID="S1') == 2


@pytest.mark.parametrize("extra", [0, 1, 200])
def test_a_rest_shorter_than_a_frame_is_passed_over(trained: Path, extra: int) -> None:
    network, front_end, settings = load_diarizer(str(trained / "model"))
    samples = np.random.default_rng(0).normal(0, 0.1, 32_000 + extra).astype(np.float32)
    assert diarize(network, front_end, samples, settings) == diarize(network, front_end, samples[:32_000], settings)
    assert diarize(network, front_end, samples[:extra], settings) == []


def test_voices_of_one_chunk_are_never_one_person() -> None:
    near = np.array([[1.0, 0.0], [1.0, 0.05], [0.0, 1.0], [0.98, 0.1]])
    vectors = near / np.linalg.norm(near, axis=1, keepdims=True)
    assert same_people(vectors, [0, 1, 1, 2], 0.5) == [0, 0, 1, 0]
    assert same_people(vectors, [0, 0, 1, 2], 0.5)[:2] == [0, 1]
    assert len(set(same_people(vectors, [0, 1, 1, 2], 0.5, num_speakers=3))) == 3
    assert same_people(vectors[:1], [0], 0.5) == [0]


def test_the_cheapest_order_is_that_of_all_orders() -> None:
    costs = torch.rand(5, 3, 3, generator=torch.Generator().manual_seed(0))
    cheapest, order = best_permutation(costs)
    for clip in range(5):
        sums = {p: sum(float(costs[clip, i, j]) for i, j in enumerate(p)) for p in itertools.permutations(range(3))}
        best = min(sums, key=sums.__getitem__)
        assert float(cheapest[clip]) == pytest.approx(sums[best])
        assert tuple(order[clip].tolist()) == best


def cheapest_by_hand(logits: torch.Tensor, active: torch.Tensor, powerset: bool) -> float:
    """The loss of one clip, its orders one after another."""
    found = []
    for order in itertools.permutations(range(active.shape[1])):
        spoken = active[:, list(order)]
        if powerset:
            numbers = [sum(int(on) << bit for bit, on in enumerate(frame)) for frame in spoken.tolist()]
            found.append(nn.functional.cross_entropy(logits, torch.tensor(numbers)))
        else:
            found.append(nn.functional.binary_cross_entropy_with_logits(logits, spoken))
    return float(min(found))


@pytest.mark.parametrize("powerset", [False, True])
def test_the_loss_does_not_mind_the_order_and_counts_each_clip_alone(powerset: bool) -> None:
    torch.manual_seed(0)
    settings = DiarizationSettings(
        hidden=8, layers=1, local_speakers=3, size=4, powerset=powerset, speakers=["a", "b", "c"]
    )
    head = DiarizationHead(1, 6, 5, settings)
    lengths = (17, 14)  # so many that no two people speak in the same frames
    said = head([torch.randn(31, 6) for _ in range(2)], lay_out(lengths), torch.randn(31, 5))
    active = (torch.rand(31, 3) < 0.5).float()
    who = torch.tensor([[0, 2, 1], [1, -1, -1]])
    loss = head.loss(said, active, who, lengths, 0.5)
    turned = [2, 0, 1]
    torch.testing.assert_close(head.loss(said, active[:, turned], who[:, turned], lengths, 0.5), loss)
    clips = zip(said.logits.detach().split(lengths), active.split(lengths), strict=True)
    expected = sum(cheapest_by_hand(logits, spoken, powerset) for logits, spoken in clips)
    assert head.loss(said, active, who, lengths, 0.0).item() == pytest.approx(expected, rel=1e-5)


def test_those_speak_whom_the_likeliest_set_holds() -> None:
    settings = DiarizationSettings(hidden=8, layers=1, local_speakers=3, size=4, powerset=True, speakers=["a"])
    head = DiarizationHead(1, 6, 5, settings)
    assert head.probabilities(nn.functional.one_hot(torch.tensor([0, 1, 6]), 8).float()).tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [0, 1, 1],
    ]


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("convolutions", [0, 2])
def test_company_changes_nothing(features: bool, convolutions: int) -> None:
    torch.manual_seed(1)
    parts = {"features": features, "convolutions": convolutions, "dropout": 0.5, "speakers": ["a"]}
    head = DiarizationHead(1, 6, 5, DiarizationSettings(hidden=8, layers=2, local_speakers=2, size=4, **parts)).eval()
    lengths = (9, 4, 6)
    clips = [[torch.randn(length, 6) for _ in range(2)] for length in lengths]
    bands = [torch.randn(length, 5) for length in lengths]
    states = [torch.cat([clip[layer] for clip in clips]) for layer in range(2)]
    together = head(states, lay_out(lengths), torch.cat(bands)).logits
    alone = [head(clip, lay_out([len(own)]), own).logits for clip, own in zip(clips, bands, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)
    other = head(states, lay_out(lengths), torch.cat(bands) + 1).logits
    assert torch.equal(other, together) is not features


def test_labels_are_voices_and_bits() -> None:
    active, who = unpack(torch.tensor([4, -1, 1, 3, 0, 2, 7, 2]), [5, 3], 2)
    assert who.tolist() == [[4, -1], [2, 7]]
    assert active.tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"simulation__speakers": [2, 5]}, "more than four"),
        ({"speaker_diarization__rttm": "x.rttm"}, "only one is given"),
        ({"simulation__duration_s": 99.0}, "above batch.seconds_per_micro_batch"),
        ({"speaker_diarization__convolutions": 99}, "less than or equal to 32"),
        ({"speaker_diarization__hidden": 10_000}, "less than or equal to 8192"),
        ({"data__root": "nowhere"}, "no folder nowhere"),
        (
            {"speaker_diarization__rttm": str(REPOSITORY / "README.md"), "speaker_diarization__recordings": "."},
            "holds no SPEAKER line",
        ),
    ],
)
def test_faults_are_named(
    change: dict[str, object], message: str, configured: Callable[..., DiarizationConfig]
) -> None:
    with pytest.raises(UserError, match=message):
        speaker_diarization.run(configured("faulty", **change))


def test_recordings_without_audio_are_named(configured: Callable[..., DiarizationConfig], tmp_path: Path) -> None:
    (tmp_path / "x.rttm").write_text("SPEAKER m1 1 0 1 <NA> <NA> a <NA> <NA>\n")
    change = {"speaker_diarization__rttm": str(tmp_path / "x.rttm"), "speaker_diarization__recordings": str(tmp_path)}
    with pytest.raises(UserError, match="lacks 1 of 1 recordings"):
        speaker_diarization.run(configured("lacking", **change))


def test_what_is_published_of_it_holds(trained: Path, tmp_path: Path) -> None:
    check_published(trained, tmp_path)
