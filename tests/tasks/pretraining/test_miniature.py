"""The miniature experiment from end to end, with a few updates; and the model that is packaged from it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from running import REPOSITORY
from warm import run_script

from unispeech_ft.config.reading import read_config
from unispeech_ft.config.sections import ModelConfig
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import read_model_config
from unispeech_ft.models.loader import PACKAGED_FOLDER, packaged
from unispeech_ft.tasks.pretraining.config import FILE
from unispeech_ft.testing.pretrained import MAX_BYTES, provenance
from unispeech_ft.testing.prompts import prompt_book
from unispeech_ft.testing.voices import client_id, voices

SCRIPTS = REPOSITORY / "scripts"
DEMO = PACKAGED_FOLDER / "demo"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature")
    words = ["--dry", "--speech", folder / "speech", "--output", folder / "runs", "--page", folder / "page.md"]
    ended = run_script(SCRIPTS / "miniature.py", *words)
    assert ended.returncode == 0, ended.stderr
    return folder


def test_the_arms_make_a_table(experiment: Path) -> None:
    page = (experiment / "page.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) % \| ([\d.]+)–([\d.]+) \| (.+?) \| (.+?) \|$", page, flags=re.M)
    titles = ["from scratch", "CTC-Transfer", "contrastive only", "UniSpeech", "UniSpeech+"]
    titles += ["masked prediction", "masked prediction, mixing"]
    assert [row[0] for row in rows] == titles
    assert [row[5] for row in rows] == ["–", "12.9", "13.7", "11.4", "6.8", "–", "–"]
    arms = ("scratch", "ctc_transfer", "contrastive", "unispeech", "unispeech_plus", "masked", "masked_mixing")
    for arm, row in zip(arms, rows, strict=True):
        summary = json.loads((experiment / "runs" / f"{arm}-1337" / "eval/test/summary.json").read_text())
        assert row[1] == f"{100 * summary['per']:.1f}"
    for expected in ("synthetic", "Order here", "Order in the paper: UniSpeech+ < UniSpeech", "dry run"):
        assert expected in page
    probes = re.findall(r"^\| (.+?) \| ([\d.]+) % \| ([\d.]+)–([\d.]+) \| [\d.]+ % \|$", page, flags=re.M)
    for arm, probe in zip(("masked", "masked_mixing"), probes, strict=True):
        summary = json.loads((experiment / "runs" / f"{arm}-diarization-1337" / "eval/test/summary.json").read_text())
        assert probe[1] == f"{100 * summary['der']:.1f}"


def test_each_arm_started_where_it_should(experiment: Path) -> None:
    runs = experiment / "runs"
    heads = {arm: (runs / "logs" / f"{arm}-1337.log").read_text() for arm in ("scratch", "unispeech", "contrastive")}
    for arm in ("scratch", "contrastive"):
        assert re.search(r"head: \d+ rows that start at random$", heads[arm], flags=re.M), arm
    kept = re.search(r"head: (\d+) rows taken over", heads["unispeech"])
    assert kept is not None
    assert int(kept.group(1)) > 4, "phones that both languages have keep their rows"
    stage_2 = read_config(FILE, runs / "unispeech_plus-pretraining-1337" / "config.yaml", {})
    assert stage_2.model.base == str(runs / "unispeech-pretraining-1337" / "model")
    assert stage_2.data.root is None
    heard = (experiment / "speech/pretraining/ky/unlabelled.tsv").read_text().split()
    assert heard[0] == "path"
    assert all(re.fullmatch(r"clips/synthetic_ky_0\d{5}\.mp3", name) for name in heard[1:]), "training clips alone"


def test_what_may_be_packaged(experiment: Path) -> None:
    run = experiment / "runs" / "unispeech-pretraining-1337"
    config = read_config(FILE, run / "config.yaml", {})
    said = provenance(config, "command")
    assert (said.labelled, said.unlabelled) == ("en", None)
    kyrgyz = config.model_copy(update={"data": config.data.model_copy(update={"language": "ky"})})
    with pytest.raises(UserError, match="Kyrgyz labels"):
        provenance(kyrgyz, "command")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_other_voices_are_refused(split: str, experiment: Path, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    shutil.copytree(experiment / "speech" / "pretraining", speech, ignore=shutil.ignore_patterns("*.mp3"))
    (speech / "en" / "train.tsv").write_bytes((speech / "en" / f"{split}.tsv").read_bytes())
    run = experiment / "runs" / "unispeech-pretraining-1337"
    config = read_config(FILE, run / "config.yaml", {"data.root": str(speech)})
    with pytest.raises(UserError, match="not for training"):
        provenance(config, "command")


# The model that is in the package


def test_the_packaged_model_is_small_and_says_what_it_is() -> None:
    assert sum(file.stat().st_size for file in DEMO.iterdir()) <= MAX_BYTES
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    for expected in ("synthetic", "Nothing that this model heard is a human voice", "configs/pretrain/demo.yaml"):
        assert expected in card


def test_the_packaged_model_heard_no_test_voice_and_no_kyrgyz_label() -> None:
    said = json.loads((DEMO / "provenance.json").read_text(encoding="utf-8"))
    heard = set(said["speakers"])
    assert heard <= {client_id(voice) for voice in voices("train")}
    assert not heard & {client_id(voice) for split in ("dev", "test") for voice in voices(split)}
    config = read_config(FILE, DEMO / "pretraining.yaml", {})
    assert said["labelled"] == config.data.language == "en"
    assert config.data.languages is None
    assert said["seed"] == config.seed
    assert said["updates"] == config.schedule.updates
    assert said["synthetic"] is True
    books = [prompt_book(language) for language in ("en", "ky")]
    assert not set(books[0].train_frames) & set(books[1].test_frames)
    names = json.loads((DEMO / "vocab.json").read_text(encoding="utf-8"))
    assert "θ" in names, "the rows of its head are English phones"


def test_the_packaged_model_loads_whole() -> None:
    from transformers import UniSpeechForPreTraining

    network, info = UniSpeechForPreTraining.from_pretrained(DEMO, output_loading_info=True)
    assert not any(info.values()), info
    assert 1e6 < sum(parameter.numel() for parameter in network.parameters()) < 2e6


def test_packaged_names() -> None:
    assert packaged("packaged:demo") == str(DEMO)
    assert packaged("microsoft/wavlm-base") == "microsoft/wavlm-base"
    assert read_model_config(ModelConfig(base="packaged:demo")).model_type == "unispeech"
    with pytest.raises(UserError, match=r"packaged:nothing.*demo"):
        read_model_config(ModelConfig(base="packaged:nothing"))
