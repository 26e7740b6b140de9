"""`unispeech-ft verify`: what holds is called true, and every way to bend the claims is caught by its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hub.publishing import edit_json, edit_text, phones, read_summary, resummarize, rewrite, write_card

from unispeech_ft.hub.verify import check_folder
from unispeech_ft.runs.evidence import read_evidence
from unispeech_ft.tasks.ctc_phoneme.config import load_config


@pytest.fixture
def verify(command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Verifies a folder: status, first line, the rest of the output."""

    def run(folder: Path, *words: object) -> tuple[int, str, str]:
        status, out, err = command("verify", folder, *words)
        assert "Traceback" not in err
        first, _, rest = out.partition("\n")
        return status, first, rest

    return run


def test_an_honest_folder(verify, folder, small_config):
    assert verify(folder) == (0, "self-consistent", "")
    assert verify(folder, "--config", small_config)[:2] == (0, "true")


def test_a_run_before_it_is_published(verify, small_run, small_config):
    assert verify(small_run.output_dir)[:2] == (0, "self-consistent")
    assert verify(small_run.output_dir, "--config", small_config)[:2] == (0, "true")


def test_the_published_configuration_serves_with_the_data(verify, folder, spoken_corpus, tmp_path):
    words = ["--config", folder / "config.yaml", "--data.root", spoken_corpus]
    assert verify(folder, *words, "--data.cache_dir", tmp_path / "cache")[:2] == (0, "true")


def better_value(folder: Path) -> None:
    per = round(100 * read_summary(folder / "eval" / "test").per, 2)
    edit_text(folder / "README.md", f"value: {per}", "value: 3.1")


def better_row(folder: Path) -> None:
    per = f"{100 * read_summary(folder / 'eval' / 'test').per:.2f} %"
    edit_text(folder / "README.md", f"| test | {per} |", "| test | 3.10 % |")


def better_everywhere(folder: Path) -> None:
    better_value(folder)
    better_row(folder)


def praise(folder: Path) -> None:
    edit_text(folder / "README.md", "## Data", "It reaches 2 % on Common Voice.\n\n## Data")


def no_warning(folder: Path) -> None:
    edit_text(folder / "README.md", "**Synthetic speech: trained", "**Human speech: trained")


def other_licence(folder: Path) -> None:
    edit_text(folder / "README.md", "license: unknown", "license: apache-2.0")


def no_header(folder: Path) -> None:
    (folder / "README.md").write_text("# The best model\n", encoding="utf-8")


@pytest.mark.parametrize(
    "edit",
    [better_value, better_row, better_everywhere, praise, no_warning, other_licence, no_header],
)
def test_a_card_edited_by_hand(edit, verify, folder):
    edit(folder)
    status, first, rest = verify(folder)
    assert (status, first) == (3, "not true: card")
    assert rest.strip()


def test_a_card_with_results_of_another_split(verify, folder):
    edit_text(folder / "README.md", "split: validation", "split: train")
    status, first, rest = verify(folder)
    assert (status, first) == (3, "not true: missing")
    assert "eval/train/summary.json" in rest


def test_the_edited_line_is_shown(verify, folder):
    better_row(folder)
    _, _, rest = verify(folder)
    assert "3.10 %" in rest


def rotated(hypotheses: dict[str, list[str]]) -> dict[str, list[str]]:
    names = list(hypotheses)
    return {name: hypotheses[other] for name, other in zip(names, [*names[1:], names[0]], strict=True)}


def test_hypotheses_swapped(verify, folder, small_config):
    # What a run of seconds recognises is too little to change the counts when swapped; whole sentences do.
    references, _ = phones(folder / "eval" / "test")
    rewrite(folder / "eval" / "test", references, rotated(references))
    assert verify(folder)[:2] == (3, "not true: hypotheses")
    assert verify(folder, "--config", small_config)[:2] == (3, "not true: hypotheses")


def test_perfect_hypotheses(verify, folder):
    references, _ = phones(folder / "eval" / "test")
    rewrite(folder / "eval" / "test", references, references)
    status, first, rest = verify(folder)
    assert (status, first) == (3, "not true: hypotheses")
    assert "substitutions" in rest


def test_errors_struck_out_of_a_line(verify, folder):
    file = folder / "eval" / "test" / "hypotheses.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    head, _, tail = lines[0].partition('"substitutions": ')
    lines[0] = head + '"substitutions": 0' + tail[tail.index(",") :]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    status, first, rest = verify(folder)
    assert (status, first) == (3, "not true: hypotheses")
    assert "the errors of 1 of" in rest


def test_an_utterance_left_out(verify, folder):
    file = folder / "eval" / "test" / "hypotheses.jsonl"
    file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    assert verify(folder)[:2] == (3, "not true: references")


def test_the_summary_of_another_split(verify, folder):
    shutil.copy(folder / "eval" / "validation" / "summary.json", folder / "eval" / "test" / "summary.json")
    status, first, rest = verify(folder)
    assert (status, first) == (3, "not true: split")
    assert "the summary of validation, not of test" in rest
    edit_json(folder / "eval" / "test" / "summary.json", split="test")
    assert verify(folder)[:2] == (3, "not true: references")


def test_the_results_of_another_split(verify, folder, small_config):
    """Summary, hypotheses and card agree with each other; only the speech tells."""
    shutil.copytree(folder / "eval" / "validation", folder / "eval" / "test", dirs_exist_ok=True)
    edit_json(folder / "eval" / "test" / "summary.json", split="test")
    assert verify(folder)[:2] == (3, "not true: card")
    write_card(folder)
    assert verify(folder)[:2] == (0, "self-consistent")
    status, first, rest = verify(folder, "--config", small_config)
    assert (status, first) == (3, "not true: references")
    assert "are not published" in rest
    assert "are not in the data" in rest


def test_a_summary_edited(verify, folder):
    edit_json(folder / "eval" / "test" / "summary.json", per=0.031)
    assert verify(folder)[:2] == (3, "not true: summary")


@pytest.mark.parametrize("key", ["per_ci95", "per_shuffled", "utterances", "bootstrap_unit"])
def test_a_lesser_figure_edited(key, verify, folder):
    value = {"per_ci95": [0.1, 0.2], "per_shuffled": 0.9, "utterances": 600, "bootstrap_unit": None}[key]
    edit_json(folder / "eval" / "test" / "summary.json", **{key: value})
    status, first, rest = verify(folder)
    assert (status, first) == (3, "not true: summary")
    assert key in rest


def change_reference(folder: Path) -> None:
    references, hypotheses = phones(folder / "eval" / "test")
    name = next(iter(references))
    references[name] = hypotheses[name]
    rewrite(folder / "eval" / "test", references, hypotheses)


def test_reference_phones_changed(verify, folder, small_config):
    change_reference(folder)
    assert verify(folder)[:2] == (3, "not true: references")
    resummarize(folder / "eval" / "test")
    assert verify(folder)[:2] == (3, "not true: card")
    write_card(folder)
    assert verify(folder)[:2] == (0, "self-consistent"), "without the speech nobody can know"
    status, first, rest = verify(folder, "--config", small_config)
    assert (status, first) == (3, "not true: references")
    assert "1 utterances have other phones" in rest


def test_more_speech_than_there_was(verify, folder, small_config):
    training = folder / "training.json"
    edit_text(training, '"clips": 6', '"clips": 6000')
    assert verify(folder)[:2] == (3, "not true: card")
    write_card(folder)
    assert verify(folder)[:2] == (0, "self-consistent")
    status, first, rest = verify(folder, "--config", small_config)
    assert (status, first) == (3, "not true: data")
    assert "clips 6000 instead of 6" in rest


def test_a_split_that_is_no_published_one(verify, folder, small_config):
    edit_json(folder / "eval" / "test" / "summary.json", published_split=True, synthetic=False)
    write_card(folder)
    assert "test (published split)" in (folder / "README.md").read_text(encoding="utf-8")
    status, first, rest = verify(folder, "--config", small_config)
    assert (status, first) == (3, "not true: summary")
    assert "which the data is not" in rest
    assert "is synthetic speech" in rest


@pytest.mark.parametrize(
    "name",
    ["README.md", "config.yaml", "environment.json", "training.json", "eval/test/summary.json"]
    + ["eval/test/hypotheses.jsonl", "eval/test"],
)
def test_a_missing_file(name, verify, folder):
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    status, first, rest = verify(folder)
    assert (status, first) == (3, "not true: missing")
    assert f"missing: {name}" in rest


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eval/test/summary.json", "{"),
        ("eval/test/summary.json", '{"per": 0.01}'),
        ("eval/test/hypotheses.jsonl", "not json\n"),
        ("config.yaml", "seed: maybe\n"),
        ("training.json", "[]"),
    ],
)
def test_an_unreadable_file(name, text, verify, folder):
    (folder / name).write_text(text, encoding="utf-8")
    status, first, rest = verify(folder)
    assert (status, first) == (3, "not true: unreadable")
    assert f"unreadable: {name}" in rest


def test_a_key_that_no_summary_has(verify, folder):
    edit_json(folder / "eval" / "test" / "summary.json", per_on_human_speech=0.02)
    assert verify(folder)[:2] == (3, "not true: unreadable")


def test_other_speech_is_not_the_published_one(verify, folder, small_config):
    words = ["--config", small_config, "--data.max_duration_s", "3.5"]
    status, first, _ = verify(folder, *words)
    assert status == 3
    assert first.startswith("not true: ")


def by_speakers(folder: Path) -> None:
    edit_json(folder / "eval" / "test" / "summary.json", bootstrap_unit="speaker", per_ci95=[0.5, 3.0])
    write_card(folder)


def test_an_interval_by_speakers_needs_the_speech(verify, folder, small_config):
    by_speakers(folder)
    status, first, rest = verify(folder)
    assert (status, first) == (0, "self-consistent")
    assert "not checked: the interval of test was drawn by speakers" in rest
    status, first, rest = verify(folder, "--config", small_config)
    assert (status, first) == (3, "not true: summary")
    assert "bootstrap_unit speaker instead of utterance" in rest


def test_a_sample_of_the_validation_split_is_accepted(folder, small_config):
    from unispeech_ft.data.speech import open_speech
    from unispeech_ft.hub.rebuild import compare_scored

    config = load_config(small_config, {"evaluation.max_utterances": 2})
    data = open_speech(config.data, config.phonemes, wanted=("validation",))
    sample = data.splits["validation"].sample(2, config.seed)
    assert len(sample) == 2
    evidence = read_evidence(folder)
    scores = [item for item in evidence.scores["validation"] if item.id in sample.ids]
    sampled = replace(evidence, scores={"validation": scores})
    assert compare_scored(sampled, "validation", data, config) == []
    whole = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"max_utterances": None})})
    assert [fault.name for fault in compare_scored(sampled, "validation", data, whole)] == ["references"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nowhere/at-all"], "neither a local folder nor a repository"),
        ([Path(__file__).parent], "neither a published model nor a run"),
        ([Path(__file__).parent, "--data.root", "x"], "no effect without --config"),
    ],
)
def test_faults_of_the_user_end_with_2(words, reason, command):
    status, out, err = command("verify", *words)
    assert (status, out) == (2, "")
    assert reason in err


def test_every_fault_is_reported(folder):
    (folder / "eval" / "test" / "summary.json").write_text("{", encoding="utf-8")
    (folder / "training.json").unlink()
    assert sorted(fault.name for fault in check_folder(folder).faults) == ["missing", "unreadable"]
