"""`unispeech-ft evaluate`: the results of the run again, whatever the configuration says on the model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import jiwer
import pytest

from unispeech_ft.config.overrides import parse_overrides
from unispeech_ft.scoring import ladder, read_hypotheses, report


@pytest.fixture
def run_copy(small_run, tmp_path) -> Path:
    run = Path(shutil.copytree(small_run.output_dir, tmp_path / "run"))
    shutil.rmtree(run / "eval")
    return run


def summary_of(folder: Path) -> dict[str, object]:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_the_results_of_the_run_again(command, small_config, small_run, run_copy):
    status, out, err = command("evaluate", run_copy / "model", "--config", small_config, "--split", "test")
    assert status == 0, err
    again, first = run_copy / "eval" / "test", small_run.output_dir / "eval" / "test"
    assert f"results: {again}" in out
    assert "test PER" in out
    for name in ("hypotheses.jsonl", "report.html", "summary.json"):
        assert (again / name).is_file()
    assert (again / "hypotheses.jsonl").read_bytes() == (first / "hypotheses.jsonl").read_bytes()
    differing = {"model", "seconds"}
    found, expected = summary_of(again), summary_of(first)
    assert {key for key in expected if found[key] != expected[key]} <= differing
    assert found["model"] == str(run_copy / "model")


def test_jiwer_counts_the_same_errors(small_run):
    for split in ("validation", "test"):
        folder = small_run.output_dir / "eval" / split
        scores, summary = read_hypotheses(folder / "hypotheses.jsonl"), summary_of(folder)
        spoken = [item for item in scores if item.reference]
        theirs = jiwer.process_words(
            [" ".join(item.reference) for item in spoken], [" ".join(item.hypothesis) for item in spoken]
        )
        unexpected = sum(len(item.hypothesis) for item in scores if not item.reference)
        counted = theirs.substitutions + theirs.deletions + theirs.insertions + unexpected
        assert counted == summary["substitutions"] + summary["deletions"] + summary["insertions"]


def test_broken_optional_libraries_cost_a_warning_and_no_result(command, small_config, run_copy, monkeypatch):
    def broken(*_):
        raise OSError("libsndfile.so: cannot open\nshared object file")

    monkeypatch.setattr(report.data, "encode_sound", broken)
    monkeypatch.setattr(ladder, "has_features", lambda: True)
    monkeypatch.setitem(sys.modules, "panphon", None)
    status, out, err = command("evaluate", run_copy / "model", "--config", small_config, "--split", "test")
    assert status == 0, err
    folder = run_copy / "eval" / "test"
    assert (folder / "summary.json").is_file()
    assert (folder / "hypotheses.jsonl").is_file()
    assert not (folder / "report.html").exists()
    assert "by broad class" in out
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert sum("report.html was not written (OSError: libsndfile.so: cannot open" in line for line in told) == 1
    assert any("panphon fails (ModuleNotFoundError" in line for line in told)


def test_only_the_chosen_split_is_decoded(command, small_config, run_copy, tmp_path):
    cache, output = tmp_path / "cache", tmp_path / "results"
    overrides = [f"--data.cache_dir={cache}", "--data.num_workers", "0"]
    words = [*overrides, run_copy / "model", "--split", "validation", "--config", small_config, "--output", output]
    status, _, err = command("evaluate", *words)
    assert status == 0, err
    assert [folder.name.split("-")[0] for folder in (cache / "audio").iterdir()] == ["validation"]
    assert summary_of(output)["split"] == "validation"
    assert not (run_copy / "eval").exists()


def test_only_the_table_of_the_chosen_split_is_needed(
    command, small_config, small_run, run_copy, spoken_corpus, tmp_path
):
    root = Path(shutil.copytree(spoken_corpus / "ky", tmp_path / "ky"))
    for name in ("train", "dev"):
        (root / f"{name}.tsv").unlink()
    words = [run_copy / "model", "--config", small_config, "--split", "test", "--data.root", root]
    status, out, err = command("evaluate", *words, "--output", tmp_path / "results")
    assert (status, "train is not read" in out) == (0, True), err
    found, expected = summary_of(tmp_path / "results"), summary_of(small_run.output_dir / "eval" / "test")
    assert (found["reference_sha256"], found["per"]) == (expected["reference_sha256"], expected["per"])
    assert found["speakers_in_training"] is None


def test_other_speech_leaves_the_results_of_the_run(command, small_config, run_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--config", small_config, "--split", "test", "--data.max_duration_s", "4.0"]
    status, out, err = command("evaluate", run_copy / "model", *words)
    assert status == 0, err
    assert "results: eval/run/test" in out
    assert (tmp_path / "eval" / "run" / "test" / "summary.json").is_file()
    assert not (run_copy / "eval").exists()


def test_phones_that_the_model_lacks_stay_in_the_references(command, small_config, small_run, run_copy):
    vocabulary = json.loads((run_copy / "model" / "vocab.json").read_text(encoding="utf-8"))
    row = vocabulary.pop("e")
    (run_copy / "model" / "vocab.json").write_text(json.dumps(vocabulary | {"œ̃": row}), encoding="utf-8")
    status, out, err = command("evaluate", run_copy / "model", "--config", small_config, "--split", "test")
    assert status == 0, err
    (lacking,) = (line for line in out.splitlines() if "phones that the model lacks" in line)
    assert "e" in lacking.partition("error:")[2].split()
    again, first = (run / "eval" / "test" for run in (run_copy, small_run.output_dir))
    assert summary_of(again)["reference_sha256"] == summary_of(first)["reference_sha256"]
    assert not any("e" in item.hypothesis for item in read_hypotheses(again / "hypotheses.jsonl"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--split", "test", "--model.base", "other"], "--model.base has no effect here"),
        (["--split", "test", "--data.rot", "x"], "did you mean data.root?"),
        (["--split", "test", "--data.root", "nowhere"], "nowhere"),
        (["--split", "test", "--data.root"], "--data.root has no value"),
        (["--split", "dev"], "invalid choice: 'dev'"),
        (["--split", "test", "--speed", "3"], "unrecognized arguments: --speed 3"),
    ],
)
def test_faults_end_with_2(command, small_config, run_copy, words, reason):
    status, out, err = command("evaluate", run_copy / "model", "--config", small_config, *words)
    assert (status, out) == (2, "")
    assert reason in err
    assert "Traceback" not in err


def test_other_commands_take_no_overrides(command):
    status, _, err = command("schema", "--data.root", "x")
    assert status == 2
    assert "unrecognized arguments: --data.root" in err


def test_overrides_are_told_from_options():
    words = ["evaluate", "--data.root", "-5", "M", "--a.b=c d", "--config", "C", "--mask.time_prob", "--split", "test"]
    overrides, rest, faults = parse_overrides([*words, "--", "--x.y", "z"], dotted=True)
    assert rest == ["evaluate", "M", "--config", "C", "--split", "test", "--", "--x.y", "z"]
    assert overrides == {"data.root": "-5", "a.b": "c d"}
    assert [fault.what for fault in faults] == ["--mask.time_prob has no value"]
