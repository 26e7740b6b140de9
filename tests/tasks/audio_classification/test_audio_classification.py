"""A classifier learns from folders and from a manifest, and what it leaves works with plain Transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, ClassLabel, Dataset
from published_task import check_published
from running import TINY_MODEL
from transformers import AutoModelForAudioClassification, pipeline

from unispeech_ft.config.reading import read_config, to_yaml
from unispeech_ft.data.labelled import open_clips
from unispeech_ft.data.row import row_of
from unispeech_ft.data.sources.labelled import hold_out, list_clips
from unispeech_ft.data.speech import Turns
from unispeech_ft.data.utterances import Utterance
from unispeech_ft.errors import UserError
from unispeech_ft.recipes import audio_classification
from unispeech_ft.tasks.audio_classification.config import FILE, ClassifierConfig
from unispeech_ft.tasks.audio_classification.evaluate import Evaluation, classify, recalls, score_clip, summarize, uar
from unispeech_ft.tasks.audio_classification.task import balanced, label_source

TONES_HZ = {"high": 2_400.0, "low": 300.0, "middle": 900.0}
YAML = Path(__file__).parents[3] / "configs" / "audio_classification" / "folder.yaml"


def write_tone(path: Path, frequency_hz: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    time_s = np.arange(int(16_000 * random.uniform(0.5, 0.9))) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * frequency_hz * random.uniform(0.95, 1.05) * time_s) + random.normal(
        0, 0.01, len(time_s)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone.astype(np.float32), 16_000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tones")
    for name, frequency_hz in TONES_HZ.items():
        for number in range(14):
            write_tone(root / name / f"{name}{number:02d}.wav", frequency_hz, number)
    (root / "notes.txt").write_text("not audio")
    return root


@pytest.fixture(scope="module")
def configured(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ClassifierConfig]:
    place = tmp_path_factory.mktemp("runs")

    def config(name: str, **overrides: object) -> ClassifierConfig:
        tiny = {
            "model.from_scratch": True,
            "model.base": None,
            "model.config": {**TINY_MODEL, "classifier_proj_size": 16},
            "data.root": str(folders),
            "data.cache_dir": str(place / "cache"),
            "output_dir": str(place / name),
            "batch.seconds_per_update": 8,
            "batch.seconds_per_micro_batch": 8,
            "data.max_duration_s": 4,
            "optimizer.lr": 3e-3,
            "schedule.updates": 40,
            "schedule.warmup": 4,
            "evaluation.every_updates": 20,
            "tracking.trackers": [],
        }
        return read_config(FILE, YAML, {**tiny, **{key.replace("__", "."): value for key, value in overrides.items()}})

    return config


@pytest.fixture(scope="module")
def trained(configured: Callable[..., ClassifierConfig]) -> Path:
    config = configured("folders")
    audio_classification.run(config)
    return Path(config.output_dir)


def test_it_learns_and_says_how_sure_it_is(trained: Path) -> None:
    summary = json.loads((trained / "eval" / "test" / "summary.json").read_text(encoding="utf-8"))
    assert summary["classes"] == sorted(TONES_HZ)
    assert summary["accuracy"] == 1.0 == summary["correct"] / summary["clips"]
    assert summary["accuracy_ci95"] == [1.0, 1.0]
    assert summary["bootstrap_unit"] == "utterance"
    lines = [json.loads(line) for line in (trained / "eval" / "test" / "hypotheses.jsonl").read_text().splitlines()]
    assert len(lines) == summary["clips"]
    assert all(line["reference"] == line["hypothesis"] == [line["id"].split("/")[0]] for line in lines)
    events = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [event["update"] for event in events if event["event"] == "evaluation"] == [20, 40]


def test_the_model_works_with_the_pipeline(trained: Path, folders: Path) -> None:
    classify_clip = pipeline("audio-classification", model=str(trained / "model"), top_k=1)
    for name in TONES_HZ:
        samples, rate = soundfile.read(folders / name / f"{name}03.wav", dtype="float32")
        assert classify_clip({"raw": samples, "sampling_rate": rate})[0]["label"] == name


@torch.no_grad()
def test_logits_are_the_stock_models(trained: Path, configured: Callable[..., ClassifierConfig]) -> None:
    network = AutoModelForAudioClassification.from_pretrained(trained / "model").eval()
    random = np.random.default_rng(0)
    waveforms = [random.normal(size=size).astype(np.float32) for size in (9_000, 14_000, 6_000)]
    features = [network.unispeech.feature_extractor(torch.from_numpy(clip)[None])[0].T.numpy() for clip in waveforms]
    together = classify(network, row_of(features))
    alone = torch.cat([network(torch.from_numpy(clip)[None]).logits for clip in waveforms])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_a_run_resumes_to_the_same_weights(configured: Callable[..., ClassifierConfig], trained: Path) -> None:
    checkpointed = configured(
        "resumed", schedule__updates=40, checkpointing__every_updates=20, checkpointing__keep_last=3
    )
    audio_classification.run(checkpointed)
    again = configured(
        "again", checkpointing__every_updates=20, resume=f"{checkpointed.output_dir}/checkpoints/update-000020"
    )
    audio_classification.run(again)
    assert json.loads((Path(again.output_dir) / "metrics.jsonl").read_text().splitlines()[0])["update"] == 21
    weights = [
        (Path(config.output_dir) / "model" / "model.safetensors").read_bytes() for config in (checkpointed, again)
    ]
    assert weights[0] == weights[1]


def test_a_manifest_with_a_column_of_labels(folders: Path, configured: Callable[..., ClassifierConfig]) -> None:
    rows = [("path", "class", "split", "speaker")]
    for name in TONES_HZ:
        for number in range(14):
            split = "Test" if number == 0 else "dev" if number == 1 else "train"
            rows.append((f"{name}/{name}{number:02d}.wav", name, split, f"s{number}"))
    rows += [
        ("low/low03.wav", "", "train", "s3"),
        ("../x.wav", "low", "train", "s3"),
        ("low/none.wav", "low", "train", ""),
    ]
    manifest = folders / "clips.tsv"
    manifest.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    config = configured(
        "manifest", data__train=str(manifest), audio_classification__label_column="class", data__max_bad_fraction=0.2
    )
    clips = open_clips(config.data, label_source(config), Turns())
    assert {split: len(part) for split, part in clips.splits.items()} == {"train": 36, "validation": 3, "test": 3}
    assert clips.classes == sorted(TONES_HZ)
    reasons = sorted(item.reason for item in clips.left_out)
    assert reasons == ["its path ../x.wav leads outside data.root", "no label", "no such file"]


def test_speakers_are_held_out_whole_where_enough_are_known() -> None:
    clips = [Utterance(f"c{n}", Path(f"c{n}.wav"), "x", None, f"s{n % 12}") for n in range(60)]
    parts, note = hold_out(clips, 0.1)
    voices = [{clip.speaker for clip in part} for part in parts.values()]
    assert not any(one & other for one in voices for other in voices if one is not other)
    assert "speakers" in note
    parts, note = hold_out([Utterance(f"c{n}", None, "x") for n in range(60)], 0.1)
    assert [len(part) for part in parts.values()] == [48, 6, 6]
    assert "clips" in note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data__root": "nowhere"}, "no folder nowhere"),
        ({"data__train": "none.tsv"}, "no file"),
        ({"data__source": "common_voice"}, "data.source is common_voice"),
        ({"data__test": "x.tsv"}, "without data.train"),
    ],
)
def test_faults_are_named(change: dict[str, object], message: str, configured: Callable[..., ClassifierConfig]) -> None:
    def listed() -> None:
        config = configured("faulty", **change)
        list_clips(config.data, label_source(config))

    with pytest.raises(UserError, match=message):
        listed()


def test_the_channel_is_obeyed_and_strangers_are_told(
    folders: Path, configured: Callable[..., ClassifierConfig]
) -> None:
    config = configured("channel", data__channel=1)
    with pytest.raises(UserError, match="channel 1 is asked for"):
        open_clips(config.data, label_source(config), Turns())
    (folders / "low" / "x.voc").touch()
    assert "1 × .voc" in list_clips(config.data, label_source(config)).notes[0]


def test_one_class_alone_is_refused(tmp_path: Path, configured: Callable[..., ClassifierConfig]) -> None:
    for number in range(12):
        write_tone(tmp_path / "only" / f"{number}.wav", 500.0, number)
    config = configured("one", data__root=str(tmp_path))
    with pytest.raises(UserError, match="all training clips are of one class"):
        open_clips(config.data, label_source(config), Turns())


def test_several_labels_a_clip(folders: Path, configured: Callable[..., ClassifierConfig]) -> None:
    names = {"high": "tone; high", "low": "tone;low;", "middle": "tone;high;low"}
    rows = [("path", "label", "split")]
    rows += [
        (f"{name}/{name}{number:02d}.wav", label, "test" if number < 3 else "dev" if number < 5 else "train")
        for name, label in names.items()
        for number in range(14)
    ]
    manifest = folders / "several.tsv"
    manifest.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    config = configured("several", data__train=str(manifest), audio_classification__separator=";", schedule__updates=80)
    [_, test] = audio_classification.run(config)
    assert test.classes == ["high", "low", "tone"]
    assert test.f1 is not None
    assert test.f1 > 0.9
    saved = json.loads((Path(config.output_dir) / "model" / "config.json").read_text())
    assert saved["problem_type"] == "multi_label_classification"


def test_recall_is_averaged_over_classes_and_errors_are_told_apart() -> None:
    scores = [
        score_clip("a", ["x"], ["x"], 1.0, None),
        score_clip("b", ["x"], ["y"], 1.0, None),
        score_clip("c", ["x"], ["x"], 1.0, None),
        score_clip("d", ["y"], ["y"], 1.0, None),
        score_clip("e", ["x", "z"], ["y"], 1.0, None),
    ]
    assert recalls(scores) == {"x": 0.5, "y": 1.0, "z": 0.0}
    assert uar(scores) == 0.5
    assert [(s.substitutions, s.deletions, s.insertions) for s in scores[1::3]] == [(1, 0, 0), (1, 1, 0)]
    summary = summarize(Evaluation(scores, 0.0), ["x", "y", "z"], model="m", split="test")
    assert (summary.accuracy, summary.uar, summary.correct) == (0.6, 0.5, 3)
    assert summary.uar_ci95 is not None
    assert summary.uar_ci95[0] < 0.5 < summary.uar_ci95[1]


def test_balanced_weights_give_each_class_the_same_sum() -> None:
    labels = ["x"] * 6 + ["y"] * 2
    weights = balanced(labels, ["x", "y"])
    assert [6 * float(weights[0]), 2 * float(weights[1])] == pytest.approx([4.0, 4.0])


def test_copies_and_crops_of_training_clips(configured: Callable[..., ClassifierConfig], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, sound in (("noise", random.normal(0, 0.1, 8_000)), ("rooms", 0.8 ** np.arange(400))):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "one.wav", sound.astype(np.float32), 16_000)
    config = configured(
        "copies",
        augmentation__speeds=[0.9, 1.1],
        augmentation__copies=1,
        augmentation__noise=str(tmp_path / "noise"),
        augmentation__rooms=str(tmp_path / "rooms"),
        audio_classification__crop_s=0.3,
        schedule__updates=20,
    )
    clips = open_clips(config.data, label_source(config), Turns())
    plain, copied = clips.splits["train"], clips.augmented(config.augmentation, config.seed).splits["train"]
    assert len(copied) == 4 * len(plain)
    assert copied.ids[len(plain)] == f"{plain.ids[0]}*0.9"
    assert copied.labels == 4 * plain.labels
    for row, samples in zip(copied.rows, copied.num_samples.tolist(), strict=True):
        assert len(copied.audio.waveform(row)) == samples
    assert not np.array_equal(copied.audio.waveform(copied.rows[-1]), plain.audio.waveform(plain.rows[-1]))
    audio_classification.run(config)
    assert (Path(config.output_dir) / "eval" / "test" / "report.html").stat().st_size > 10_000


def test_two_classifications_are_compared(
    trained: Path, configured: Callable[..., ClassifierConfig], command: Callable[..., tuple[int, str, str]]
) -> None:
    worse = configured("worse", schedule__updates=1, schedule__warmup=0)
    audio_classification.run(worse)
    status, said, _ = command("compare", worse.output_dir, trained)
    assert status == 0
    assert "B  accuracy 100.00 %" in said


def test_several_seeds_have_a_mean(
    folders: Path, configured: Callable[..., ClassifierConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = configured("seeds", schedule__updates=2, schedule__warmup=0, output_dir=str(tmp_path / "runs"))
    (tmp_path / "run.yaml").write_text(to_yaml(one), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["recipe", "--config", str(tmp_path / "run.yaml"), "--seed", "[1, 2]"])
    audio_classification.main()
    found = json.loads((tmp_path / "runs" / "summary.json").read_text())
    assert found["seeds"] == [1, 2]
    assert found["splits"]["test"]["mean"] == pytest.approx(sum(found["splits"]["test"]["accuracy"]) / 2)


def test_validation_is_set_aside_where_training_and_test_are_named(
    folders: Path, configured: Callable[..., ClassifierConfig]
) -> None:
    lines = {
        name: "path\tlabel\n" + "".join(f"{tone}/{tone}{n:02d}.wav\t{tone}\n" for tone in TONES_HZ for n in numbers)
        for name, numbers in (("mine", range(10)), ("theirs", range(10, 14)))
    }
    for name, text in lines.items():
        (folders / f"{name}.tsv").write_text(text)
    config = configured("named", data__train="mine.tsv", data__test="theirs.tsv")
    clips = open_clips(config.data, label_source(config), Turns())
    assert {split: len(part) for split, part in clips.splits.items()} == {"train": 27, "validation": 3, "test": 12}
    assert any("3 of 30 clips" in note and "set aside for validation" in note for note in clips.notes)


def test_what_is_published_of_it_holds(trained: Path, tmp_path: Path) -> None:
    check_published(trained, tmp_path)


@pytest.mark.parametrize("splits", [("train",), ("train", "test"), ("train", "validation", "test")])
def test_a_dataset_with_class_labels(
    splits: tuple[str, ...], folders: Path, tmp_path: Path, configured: Callable[..., ClassifierConfig]
) -> None:
    names = sorted(TONES_HZ)
    (tmp_path / "rows").mkdir()
    for place, split in enumerate(splits):
        files = [(name, folders / name / f"{name}{number:02d}.wav") for name in names for number in range(place, 12, 3)]
        audio = [{"bytes": path.read_bytes(), "path": path.name} for _, path in files]
        columns = {"audio": audio, "label": [names.index(name) for name, _ in files]}
        rows = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
        rows = rows.cast_column("label", ClassLabel(names=names))
        rows.to_parquet(str(tmp_path / "rows" / f"{split}-0.parquet"))
    config = configured("dataset", data__source="hub", data__root=str(tmp_path / "rows"))
    clips = open_clips(config.data, label_source(config), Turns())
    assert set(clips.splits) == {"train", "validation", "test"}
    assert clips.classes == names
    heard = {
        name: part.audio.waveform(row)
        for part in clips.splits.values()
        for name, row in zip(part.ids, part.rows, strict=True)
    }
    assert len(heard) == 4 * len(names) * len(splits)
    assert not set(clips.splits["train"].ids) & {*clips.splits["validation"].ids, *clips.splits["test"].ids}
    for part in clips.splits.values():
        assert part.labels == [name[:-2] for name in part.ids]
    samples, _ = soundfile.read(folders / names[0] / f"{names[0]}00.wav", dtype="float32")
    np.testing.assert_allclose(heard[f"{names[0]}00"], samples, atol=1e-4)


def test_a_dataset_without_that_column(tmp_path: Path, configured: Callable[..., ClassifierConfig]) -> None:
    Dataset.from_dict({"audio": [{"bytes": b"", "path": "x"}], "said": ["a"]}).to_parquet(
        str(tmp_path / "train-0.parquet")
    )
    config = configured("columns", data__source="hub", data__root=str(tmp_path))
    with pytest.raises(UserError, match="has no column label") as refused:
        list_clips(config.data, label_source(config))
    assert "it has audio, said" in refused.value.remedy
