"""What a run refuses once it has read its speech, its dry run refuses in the same line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from running import REPOSITORY, TINY_MODEL, run_recipe
from voices import buzz, write_voices

WORDS_AND_LINE = {
    "features": (("--loss.features_weight", "0.3"), "but panphon knows no features of these labels: QQ"),
    "layer": (("--loss.intermediate_layers", "[9]"), "names layer 9, but the encoder has 3 layers"),
    "conditioned": (
        ("--loss.intermediate_layers", "[1]", "--loss.self_conditioned", "true"),
        "but model.config is of type 'wav2vec2-bert'",
    ),
    "ema_decay": ((), "training.ema_decay is 0.995, but there is no validation split"),
    "average_best": (
        ("--training.ema_decay", "null", "--training.average_best", "2"),
        "training.average_best is 2, but there is no validation split",
    ),
    "packaged": (
        ("--model.from_scratch", "false", "--model.config", "null", "--model.base", "packaged:nope"),
        "no packaged model packaged:nope",
    ),
    "probe": (
        ("--probe.enabled", "true", "--schedule.freeze_encoder_updates", "6000")
        + ("--mask.time_prob", "0", "--mask.feature_prob", "0"),
        "a probe needs a validation split",
    ),
}


@pytest.fixture(scope="module")
def ten_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings with phones of no alphabet beside them, the same in all, so that none can validate."""
    root = tmp_path_factory.mktemp("ten")
    random = np.random.default_rng(0)
    for number in range(10):
        soundfile.write(root / f"clip{number}.wav", random.normal(0, 0.1, 16_000).clip(-0.9, 0.9), 16_000)
        (root / f"clip{number}.txt").write_text("QQ a WW\n", encoding="utf-8")
    return root


@pytest.mark.parametrize("name", WORDS_AND_LINE)
def test_a_dry_run_refuses_what_the_run_refuses(name: str, ten_clips: Path, tmp_path: Path) -> None:
    if name == "features":
        pytest.importorskip("panphon")
    words, said = WORDS_AND_LINE[name]
    recipe = ("--config", REPOSITORY / "configs" / "ctc_phoneme" / "manifest.yaml", "--output_dir", tmp_path / "run")
    speech = ("--data.root", ten_clips, "--data.train", ten_clips, "--data.cache_dir", ten_clips.parent / "cache")
    labels = ("--data.phones_column", "*", "--phonemes.labels", "column")
    refused = [run_recipe(*recipe, *speech, *labels, *words, "--dry_run", dry) for dry in ("true", "false")]
    lines = [[line for line in done.stderr.splitlines() if "error: " in line] for done in refused]
    assert [done.returncode for done in refused] == [2, 2], refused[0].stderr
    assert lines[0] == lines[1]
    assert [said in line for line in lines[0]] == [True], lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["audio_classification", "speaker_verification"])
def test_so_do_those_of_labelled_clips(task: str, tmp_path: Path) -> None:
    """A clip that is left out, as too short, is all that there is to validate on."""
    voices = write_voices(tmp_path / "voices", 4, 2, lambda speaker, duration_s, seed: buzz(150.0, duration_s, seed))
    soundfile.write(voices / "short.wav", buzz(150.0, 0.05, 1), 16_000)
    rows = [f"v{speaker:02d}/{number}.wav\tv{speaker:02d}" for speaker in range(4) for number in range(2)]
    lists = {"train": rows, "validation": ["short.wav\tv00"], "test": rows}
    for split, lines in lists.items():
        (tmp_path / f"{split}.tsv").write_text("\n".join(["path\tspeaker", *lines]) + "\n", encoding="utf-8")
    words = ["--config", REPOSITORY / "configs" / task / "words.yaml", "--output_dir", tmp_path / "run"]
    words += ["--model.from_scratch", "true", "--model.base", "null", "--model.config", str(TINY_MODEL)]
    words += ["--data.source", "manifest", "--data.root", voices, "--data.cache_dir", tmp_path / "cache"]
    words += [word for split in lists for word in (f"--data.{split}", tmp_path / f"{split}.tsv")]
    words += [f"--{task}.label_column", "speaker", "--training.ema_decay", "0.99", "--schedule.warmup", "0"]
    recipe = [REPOSITORY / "recipes" / f"{task}.py"]
    refused = [run_recipe(*words, "--dry_run", dry, script=recipe) for dry in ("true", "false")]
    lines = [[line for line in done.stderr.splitlines() if "error: " in line] for done in refused]
    assert [done.returncode for done in refused] == [2, 2], refused[0].stdout + refused[0].stderr
    assert lines[0] == lines[1]
    assert ["training.ema_decay is 0.99, but there is no validation split" in line for line in lines[0]] == [True]
    assert not (tmp_path / "run").exists()
