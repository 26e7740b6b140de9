"""What leaves the machine: no local path, no token; and nothing else is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hub.publishing import REPO, TOKEN, edit_json, edit_text

from unispeech_ft.errors import UserError
from unispeech_ft.hub.public import public_command, public_config, public_evidence, public_path, without_tokens
from unispeech_ft.hub.stage import stage
from unispeech_ft.runs.evidence import read_evidence
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/home/anna/corpora/cv", "cv"),
        ("~/cv", "cv"),
        ("../anna/cv", "cv"),
        ("data/demo", "data/demo"),
        ("C:\\Users\\anna\\cv", "cv"),
        ("microsoft/unispeech-large-1500h-cv", "microsoft/unispeech-large-1500h-cv"),
        ("release", "release"),
        ("", ""),
        ("/", "."),
        ("https://anna:secret@hub.example/cv", "https://hub.example/cv"),
        ("file:///home/anna/cv", "cv"),
    ],
)
def test_public_path(path, public):
    assert public_path(path) == public
    assert public_path(public) == public


def test_public_command():
    command = ["/home/anna/repo/recipes/ctc_phoneme.py", "--config", "/home/anna/my.yaml", "--data.root=/mnt/anna/cv"]
    assert public_command([*command, "--seed", "7"]) == [
        *("recipes/ctc_phoneme.py", "--config", "my.yaml", "--data.root=cv", "--seed", "7")
    ]
    assert public_command(["/usr/bin/train.py", "--password", "secret"]) is None
    assert public_command(["recipes/ctc_phoneme.py", f"--tracking.trackers={TOKEN}"])[1] == "--tracking.trackers=hf_…"


def test_paths_within_lists_and_inline_settings_are_made_public_too():
    config = CtcPhonemeConfig.model_validate(
        {
            "model": {"from_scratch": True, "config": {"model_type": "unispeech", "notes": ["/home/anna/a", "/"]}},
            "tracking": {"trackers": ["/home/anna/tracker.py"]},
        }
    )
    public = public_config(config, local=[], repo=None, private=True, license=None)
    assert public.model.config == {"model_type": "unispeech", "notes": ["a", "/"]}
    assert public.tracking.trackers == ["tracker.py"]
    assert "anna" not in str(public)


def test_only_files_of_a_model_are_published(small_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(small_run.output_dir, run)
    (run / "model" / "diary.txt").write_text("private", encoding="utf-8")
    (run / "model" / "modeling_evil.py").write_text("", encoding="utf-8")
    (run / "secret").write_text("private", encoding="utf-8")
    (run / "model" / "special_tokens_map.json").symlink_to(run / "secret")
    (tmp_path / "staged").mkdir()
    stage(run, tmp_path / "staged", repo=REPO)
    assert not {"diary.txt", "modeling_evil.py", "special_tokens_map.json"} & {
        path.name for path in (tmp_path / "staged").rglob("*")
    }
    assert "diary.txt, modeling_evil.py, special_tokens_map.json" in capsys.readouterr().err


def test_tokens_are_replaced():
    assert without_tokens(f"Bearer {TOKEN}!") == "Bearer hf_…!"
    assert without_tokens("hf_hub_download") == "hf_hub_download"


def test_public_config():
    config = CtcPhonemeConfig.model_validate(
        {
            "output_dir": "/home/anna/runs/ky",
            "resume": "/home/anna/runs/ky/checkpoints/update-000100",
            "model": {"base": "/home/anna/models/large"},
            "data": {"root": "/home/anna/cv-corpus-25.0/ky", "language": "ky", "cache_dir": "/home/anna/.cache"},
            "phonemes": {"labels": "lexicon", "lexicon": "/home/anna/lexicon.tsv", "map": "/home/anna/map.tsv"},
            "hub": {"push": True, "repo": "anna/old", "private": False},
        }
    )
    options = {"local": ["model.base"], "repo": REPO, "private": True, "license": "mit"}
    public = public_config(config, **options)
    assert "anna" not in str(public.model_dump())
    assert public.data.root == "cv-corpus-25.0/ky"
    assert public.phonemes.map == "map.tsv"
    assert public.hub.model_dump() == {
        **{"push": False, "repo": REPO, "private": True},
        **{"license": "mit", "base_license": None},
    }
    assert public_config(public, **options | {"local": []}) == public
    assert public.optimizer == config.optimizer


def test_a_local_parquet_folder_is_no_dataset_of_the_hub():
    config = CtcPhonemeConfig.model_validate({"data": {"source": "hub", "root": "data/parquet", "language": "ky"}})
    options = {"repo": REPO, "private": True, "license": None}
    assert public_config(config, local=["data.root"], **options).data.root == "parquet"
    assert public_config(config, local=[], **options).data.root == "data/parquet"


def test_evidence_is_public_once_and_for_all(small_run):
    once = public_evidence(read_evidence(small_run.output_dir), local=[], repo=REPO)
    assert public_evidence(once, local=[], repo=REPO) == once
    assert once.summaries["test"].model == REPO


def test_no_local_path_is_published(published, small_run, tmp_path_factory):
    for file in published.rglob("*"):
        if file.is_file():
            assert str(tmp_path_factory.getbasetemp()).encode() not in file.read_bytes(), file


def test_a_token_in_a_file_of_the_run_stops_the_push(small_run, tmp_path):
    run = Path(shutil.copytree(small_run.output_dir, tmp_path / "run"))
    edit_json(run / "model" / "tokenizer_config.json", auth=TOKEN)
    (tmp_path / "staged").mkdir()
    with pytest.raises(UserError, match="tokenizer_config.json") as raised:
        stage(run, tmp_path / "staged", repo=REPO)
    assert TOKEN not in str(raised.value)


def test_sentences_need_the_speech(small_run, tmp_path):
    run = Path(shutil.copytree(small_run.output_dir, tmp_path / "run"))
    config = (run / "config.yaml").read_text(encoding="utf-8")
    root = next(line for line in config.splitlines() if line.strip().startswith("root: "))
    edit_text(run / "config.yaml", root, "  root: /nowhere")
    (tmp_path / "staged").mkdir()
    with pytest.raises(UserError, match="/nowhere"):
        stage(run, tmp_path / "staged", repo=REPO, sentences=True)


def test_staging_a_run_that_has_not_ended(small_run, tmp_path):
    run = Path(shutil.copytree(small_run.output_dir, tmp_path / "run"))
    (run / "training.json").unlink()
    (tmp_path / "staged").mkdir()
    with pytest.raises(UserError, match="missing: training.json"):
        stage(run, tmp_path / "staged", repo=REPO)
