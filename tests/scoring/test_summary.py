import dataclasses
import hashlib
import json
import os
import stat

import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.scoring import (
    GREEDY_RULE,
    read_hypotheses,
    reference_sha256,
    score,
    summarize,
    write_results,
)

REFERENCES = {"b": ["tʃ", "a"], "a": ["aː"], "c": []}
HYPOTHESES = {"b": ["t", "a"], "a": [], "c": ["ʃ"]}
DESIGN_FIELDS = [
    "per",
    "per_ci95",
    "utterances",
    "reference_phones",
    "substitutions",
    "deletions",
    "insertions",
    "blank_share",
    "reference_sha256",
    "model",
    "split",
    "seconds",
]
ADDED_FIELDS = [
    "normalise",
    "speakers",
    "speakers_in_training",
    "pfer",
    "pfer_segments",
    "bootstrap_unit",
    "per_shuffled",
    "synthetic",
    "labels",
    "published_split",
    "scoring",
    "reference_floor",
]


@pytest.fixture
def scores():
    return score(REFERENCES, HYPOTHESES, durations_s={"a": 1.25})


def test_hash_is_of_the_sorted_lines():
    lines = "a\taː\nb\ttʃ a\nc\t\n"
    assert reference_sha256(REFERENCES) == hashlib.sha256(lines.encode("utf-8")).hexdigest()
    assert reference_sha256(dict(sorted(REFERENCES.items()))) == reference_sha256(REFERENCES)


def test_summary_file_has_the_fields_of_the_design(scores, tmp_path):
    write_results(tmp_path / "eval" / "test", scores, summarize(scores, model="m", scoring=GREEDY_RULE))
    found = json.loads((tmp_path / "eval" / "test" / "summary.json").read_text(encoding="utf-8"))
    assert sorted(found) == sorted(DESIGN_FIELDS + ADDED_FIELDS)
    assert found["per"] == 1.0
    assert (found["substitutions"], found["deletions"], found["insertions"]) == (1, 1, 1)
    assert (found["utterances"], found["reference_phones"]) == (3, 3)
    assert found["per_ci95"][0] <= found["per"] <= found["per_ci95"][1]
    assert found["bootstrap_unit"] == "utterance"
    assert found["model"] == "m"
    assert "Greedy" in found["scoring"]
    unknown = ["blank_share", "split", "seconds", "synthetic", "labels", "published_split"]
    assert [found[name] for name in unknown] == [None] * len(unknown)


def test_no_reference_phones_gives_null(tmp_path):
    empty = score({"a": []}, {"a": ["t"]})
    write_results(tmp_path, empty, summarize(empty))
    found = json.loads((tmp_path / "summary.json").read_text())
    assert (found["per"], found["per_ci95"], found["bootstrap_unit"], found["insertions"]) == (None, None, None, 1)


def test_hypotheses_file_holds_lists_of_phones(scores, tmp_path):
    write_results(tmp_path, scores, summarize(scores))
    text = (tmp_path / "hypotheses.jsonl").read_text(encoding="utf-8")
    first = json.loads(text.splitlines()[0])
    assert list(first) == [
        "id",
        "reference",
        "hypothesis",
        "substitutions",
        "deletions",
        "insertions",
        "duration_s",
        "speaker",
    ]
    assert first["reference"] == ["tʃ", "a"]
    assert "tʃ" in text
    assert read_hypotheses(tmp_path / "hypotheses.jsonl") == scores


def test_written_files_are_whole_readable_and_replace_old_ones(scores, tmp_path):
    (tmp_path / "summary.json").write_text("old")
    write_results(tmp_path, scores, summarize(scores))
    write_results(tmp_path, scores, summarize(scores))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hypotheses.jsonl", "summary.json"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "summary.json").stat().st_mode) == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file(scores, tmp_path, monkeypatch):
    write_results(tmp_path, scores, summarize(scores))
    before = (tmp_path / "summary.json").read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(tmp_path, [], dataclasses.replace(summarize(scores), seconds=float("nan")))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        write_results(tmp_path, [], summarize(scores))
    assert (tmp_path / "summary.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
    assert read_hypotheses(tmp_path / "hypotheses.jsonl") == scores


def test_a_folder_that_is_a_file_is_refused(scores, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_results(tmp_path / "file", scores, summarize(scores))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"id": "a"}',
        "\\xff",
        '{"id":1,"reference":[],"hypothesis":[],"substitutions":0,"deletions":0,"insertions":0,"duration_s":null}',
    ],
)
def test_broken_hypotheses_are_named_by_line(line, tmp_path):
    path = tmp_path / "hypotheses.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(UserError, match="hypotheses.jsonl:2: "):
        read_hypotheses(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_hypotheses(tmp_path / "missing")
