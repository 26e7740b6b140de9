"""The reference floor: a second labelling against the references."""

from __future__ import annotations

import json
import shutil

import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.scoring.floor import reference_floor
from unispeech_ft.scoring.summary import read_hypotheses


def test_the_floor_is_over_what_both_have():
    references = {"a": ["x", "y", "z"], "b": ["x"], "c": ["y"]}
    floor = reference_floor(references, {"a": ["x", "y"], "b": ["x"], "d": ["z"]})
    assert (floor.per, floor.utterances, floor.of_utterances) == (1 / 4, 2, 3)
    with pytest.raises(UserError, match="no utterance of the 3 references"):
        reference_floor(references, {"d": ["z"]})


def test_score_prints_it(command, tmp_path):
    for name, text in (("ref", "a\tx y\nb\tz z\n"), ("hyp", "a\tx y\nb\tz\n"), ("second", "a\tx w\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    words = ["score", tmp_path / "ref", tmp_path / "hyp"]
    assert json.loads(command(*words, "--json")[1])["reference_floor"] is None
    assert json.loads(command(*words, "--json", "--floor", tmp_path / "second")[1])["reference_floor"] == 0.5
    status, out, _ = command(*words, "--floor", tmp_path / "second")
    assert status == 0
    assert "reference floor    50.00 %" in out


def test_evaluate_scores_a_file_or_another_labelling(command, small_config, small_run, tmp_path):
    model = tmp_path / "run" / "model"
    shutil.copytree(small_run.model_dir, model)
    lines = [
        f"{item.id}\t{' '.join(item.reference[1:])}"
        for item in read_hypotheses(small_run.output_dir / "eval" / "test" / "hypotheses.jsonl")
    ]
    (tmp_path / "second.tsv").write_text("\n".join(lines[:2]), encoding="utf-8")
    words = ["evaluate", model, "--config", small_config, "--split", "test", "--output", tmp_path / "out"]
    status, out, err = command(*words, "--floor", tmp_path / "second.tsv")
    assert status == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    phones = sum(len(line.split("\t")[1].split()) + 1 for line in lines[:2])
    assert summary["reference_floor"] == pytest.approx(2 / phones)
    assert f"reference floor {200 / phones:.2f} %" in out
    assert f"2 of {len(lines)} utterances" in out
    assert "eference floor" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    status, out, err = command(*words, "--floor", "espeak")
    assert status == 0, err
    assert "reference floor 0.00 %" in out, "the references are espeak-ng's"
    status, _, err = command(*words, "--floor", tmp_path / "none.tsv")
    assert status == 2
    assert "none.tsv" in err
