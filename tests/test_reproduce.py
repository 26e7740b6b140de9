"""`scripts/reproduce.py` from lists to page, on tiny local checkpoints in the layout of the published ones."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from running import TINY_MODEL
from warm import run_script

from unispeech_ft.config.sections import DataConfig, MaskConfig, ModelConfig
from unispeech_ft.models.build import build_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.testing.stand_in import make_stand_in

REPOSITORY = Path(__file__).resolve().parents[1]
MODEL = "unispeech-1350-en-17h-ky-ft-1h"
PHONES = ["ɑ", "q", "dZ", "t["]
SENTENCES = ["ата тат", "кат жата", "жат ката", "тата аката"]


def write_lists(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "phonesMatches_reduced.json").write_text(
        json.dumps({p: i for i, p in enumerate(PHONES)}), encoding="utf-8"
    )
    for number, stem in enumerate(("trainSeqs_1.0_x", "valSeqs_1.0_x", "testSeqs_x")):
        names = [f"common_voice_ky_{number}{clip}" for clip in range(len(SENTENCES))]
        tsv = "".join(f"{name}.wav\t20000\t16000\n" for name in names)
        (folder / f"{stem}_16k.tsv").write_text("WAV_PATH\n" + tsv, encoding="utf-8")
        text = "".join(f"{name}\t{sentence}\n" for name, sentence in zip(names, SENTENCES, strict=True))
        (folder / f"{stem}.text").write_text(text, encoding="utf-8")
        (folder / f"{stem}_16k.id").write_text("0 3 0 2 \n" * len(names), encoding="utf-8")


def write_model(folder: Path, *, published_layout: bool) -> None:
    """A checkpoint as the Hub has it: weights and feature extractor, no tokenizer."""
    tokenizer = PhoneTokenizer.from_inventory(PHONES, "original")
    settings = ModelConfig(from_scratch=True, config=TINY_MODEL)
    built = build_model(settings, MaskConfig(), DataConfig(), tokenizer, seed=1)
    built.model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16000}))
    assert published_layout == (not (folder / "vocab.json").exists())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("reproduce")
    write_lists(place / "lists" / "ky")
    make_stand_in(place / "lists", place / "release", "ky")
    write_model(place / "models" / MODEL, published_layout=True)
    write_model(place / "models" / "unispeech-large-1500h-cv", published_layout=True)
    return place


def reproduce(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(REPOSITORY / "scripts" / "reproduce.py"),
        "--root",
        str(place / "release"),
        "--splits",
        str(place / "lists"),
        "--languages",
        "ky",
        "--models",
        str(place / "models"),
        "--work",
        str(place / "work"),
        "--output",
        str(place / "pages"),
        *words,
    ]
    return run_script(*command)


def test_plan_measure_resume_and_train(place):
    planned = reproduce(place, "--dry_run")
    assert planned.returncode == 0, planned.stderr
    assert "4 clips there, 0 lacking" in planned.stdout
    assert not (place / "work").exists()
    assert not (place / "pages").exists()

    measured = reproduce(place)
    assert measured.returncode == 0, measured.stderr
    summary_file = place / "work" / MODEL / "summary.json"
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    page = next((place / "pages").glob("*.md")).read_text(encoding="utf-8")
    assert f"{100 * summary['per']:.2f} (" in page
    assert "NOT the published split, synthetic speech | 6.1 | not comparable" in page
    assert summary["published_split"] is False
    assert summary["reference_phones"] == 16

    before = summary_file.stat().st_mtime_ns
    overrides = (
        "--schedule.updates",
        "2",
        "--schedule.freeze_encoder_updates",
        "1",
        "--data.cache_dir",
        str(place / "cache"),
    )
    trained = reproduce(place, "--train", *overrides)
    assert trained.returncode == 0, trained.stderr
    assert summary_file.stat().st_mtime_ns == before
    assert "done already" in trained.stdout
    page = next((place / "pages").glob("*.md")).read_text(encoding="utf-8")
    assert "| ky | training |" in page
    assert "not measured |" not in page


def test_a_model_that_is_missing_is_not_measured(place, tmp_path):
    result = reproduce(
        place, "--models", str(tmp_path), "--work", str(tmp_path / "work"), "--output", str(tmp_path / "pages")
    )
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()[-1:]) == 1
    assert "Traceback" not in result.stderr
    page = next((tmp_path / "pages").glob("*.md")).read_text(encoding="utf-8")
    assert "not measured" in page
    assert "6.1" in page
