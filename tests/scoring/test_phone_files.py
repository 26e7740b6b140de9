import dataclasses
import json
import subprocess
import sys

import pytest

from unispeech_ft.errors import UserError, UserErrors
from unispeech_ft.scoring import format_summary, read_phone_file, score_files, summarize


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


def test_reads_what_editors_write(tmp_path):
    text = "\ufeffb\ttʃ  a \r\n\r\n   \na\taː\nempty\t\nbare\nid with spaces\td[ t[\nlast\tʃ\u0303"
    assert read_phone_file(write(tmp_path / "ref", text)) == {
        "b": ["tʃ", "a"],
        "a": ["aː"],
        "empty": [],
        "bare": [],
        "id with spaces": ["d[", "t["],
        "last": ["ʃ\u0303"],
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\tt\na\tt\n", r"f:2: the id 'a' was already given in line 1"),
        ("a\tt\n\nb t a\n", r"f:3: there is no tab"),
        ("a\tt\ta\n", r"f:1: there is more than one tab"),
        ("\tt a\n", r"f:1: there is no id"),
        ("a\tt\u00a0a\n", r"f:1: .* white space"),
        (b"a\tt\nb\t\xff\n", r"f:2: not UTF-8"),
        ("a\tt\n".encode("utf-16"), r"f:1: not UTF-8"),
        ("", r"f: holds no utterance"),
        ("\n\n", r"f: holds no utterance"),
    ],
)
def test_faults_name_file_line_and_remedy(tmp_path, data, message):
    with pytest.raises(UserError, match=message) as caught:
        read_phone_file(write(tmp_path / "f", data))
    assert caught.value.remedy


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        read_phone_file(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        read_phone_file(tmp_path / "missing")


def test_faults_of_both_files_come_together(tmp_path):
    reference = write(tmp_path / "ref", "a t\nb\tt\nb\tt\n")
    with pytest.raises(UserErrors) as caught:
        score_files(reference, tmp_path / "hyp")
    assert len(caught.value.lines) == 3
    assert "hyp" in caught.value.lines[-1]


def test_a_flood_of_faults_is_cut(tmp_path):
    with pytest.raises(UserErrors) as caught:
        read_phone_file(write(tmp_path / "ref", "a b\n" * 1000))
    assert len(caught.value.lines) == 21
    assert "980 more" in caught.value.lines[-1]


def test_scores_two_files(tmp_path):
    reference = write(tmp_path / "ref", "a\ttʃ a\nb\tt\n")
    hypothesis = write(tmp_path / "hyp", "b\t\na\tt a\n")
    scores, summary = score_files(reference, hypothesis)
    assert [utterance.id for utterance in scores] == ["a", "b"]
    assert summary.per == pytest.approx(2 / 3)
    assert summary.model is summary.seconds is summary.blank_share is None
    json.dumps(dataclasses.asdict(summary))


def test_ids_must_be_the_same(tmp_path):
    with pytest.raises(UserError, match="have no hypothesis: b"):
        score_files(write(tmp_path / "ref", "a\tt\nb\tt\n"), write(tmp_path / "hyp", "a\tt\n"))


def test_summary_for_people(tmp_path):
    text = format_summary(score_files(write(tmp_path / "r", "a\tt a\n"), write(tmp_path / "h", "a\tt\n"))[1])
    assert text.startswith("PER 50.00 % (95 % interval 50.00–50.00 %, by utterance)")
    assert "deletions          1" in text
    assert "None" not in text
    assert format_summary(summarize([])).startswith("PER unknown")


def test_import_is_light():
    heavy = "{'torch', 'transformers', 'evaluate', 'datasets', 'pydantic'}"
    code = f"import sys, unispeech_ft.scoring; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
