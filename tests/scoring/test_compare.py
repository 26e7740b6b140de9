"""The paired comparison: against a computation by hand, its calibration, and the command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.runs.compare import known_speakers
from unispeech_ft.scoring import UtteranceScore, read_hypotheses
from unispeech_ft.scoring.compare import check_same_references, compare, format_comparison, swap_p_value

PHONES = [f"p{number}" for number in range(20)]


def results(errors: list[int], phones: int = 20, speakers: int = 0) -> list[UtteranceScore]:
    reference = PHONES[:phones]
    return [
        UtteranceScore(
            f"u{n:04d}", reference, ["x"] * k + reference[k:], k, 0, 0, speaker=f"s{n % speakers}" if speakers else None
        )
        for n, k in enumerate(errors)
    ]


def test_figures_by_hand():
    found = compare(results([2, 0, 4, 1]), results([1, 0, 5, 0]))
    assert (found.per_a, found.per_b) == (7 / 80, 6 / 80)
    assert found.difference == pytest.approx(-1 / 80)
    assert (found.better_a, found.better_b, found.equal) == (1, 2, 1)
    assert (found.utterances, found.units, found.reference_phones) == (4, 4, 80)
    assert found.bootstrap_unit == "utterance"


def test_a_result_against_itself_does_not_differ():
    found = compare(results([1, 2, 3]), results([1, 2, 3]))
    assert (found.difference, found.difference_ci95, found.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert "no difference" in format_comparison(found, ("a", "b"))


def test_order_does_not_matter_and_swapping_turns_the_sign():
    first, second = results([3, 1, 4, 1, 5, 9, 2, 6]), results([2, 7, 1, 8, 2, 8, 1, 8])
    found, shuffled = compare(first, second), compare(first[::-1], second[3:] + second[:3])
    assert found == shuffled
    turned = compare(second, first)
    assert turned.difference == -found.difference
    assert turned.difference_ci95 == pytest.approx((-found.difference_ci95[1], -found.difference_ci95[0]), abs=0.01)
    assert turned.p_value == found.p_value


def test_p_equals_that_of_all_sign_changes():
    differences = np.array([3, -1, 2, 5, 1, -2, 4, 1])
    sums = [abs(int(np.dot(signs, differences))) for signs in product((-1, 1), repeat=len(differences))]
    exact = np.mean(np.array(sums) >= abs(differences.sum()))
    assert swap_p_value(differences, 10_000, 0) == pytest.approx(exact, abs=0.015)


def test_interval_equals_a_bootstrap_written_out():
    random = np.random.default_rng(5)
    first, second = random.integers(0, 8, 60), random.integers(0, 7, 60)
    found = compare(results(first.tolist()), results(second.tolist()))
    drawn = np.random.default_rng(99).integers(0, 60, size=(20_000, 60))
    expected = np.percentile((second - first)[drawn].sum(axis=1) / (60 * 20), [2.5, 97.5])
    assert found.difference_ci95 == pytest.approx(tuple(expected), abs=0.004)


def test_pairing_narrows_the_interval():
    hard = np.random.default_rng(1).integers(0, 18, 100)
    worse = hard + np.arange(100) % 2
    low, high = compare(results(hard.tolist()), results(worse.tolist())).difference_ci95
    assert 0 < low < 0.025 < high < 0.05
    shuffled = compare(results(hard.tolist()), results(worse[::-1].tolist())).difference_ci95
    assert shuffled[0] < 0 < shuffled[1]


def test_by_speaker_from_ten_on():
    errors = [n % 7 for n in range(40)]
    assert compare(results(errors, speakers=10), results(errors)).bootstrap_unit == "speaker"
    assert compare(results(errors, speakers=10), results(errors)).units == 10
    assert compare(results(errors, speakers=9), results(errors)).bootstrap_unit == "utterance"


def test_speakers_that_err_alike_widen_the_interval():
    random = np.random.default_rng(3)
    bias = random.integers(-2, 3, 12)
    first = random.integers(4, 8, 240)
    second = (first + bias[np.arange(240) % 12]).tolist()
    by_speaker = compare(results(first.tolist(), speakers=12), results(second))
    by_utterance = compare(results(first.tolist()), results(second))
    widths = [high - low for low, high in (by_speaker.difference_ci95, by_utterance.difference_ci95)]
    assert widths[0] > 2 * widths[1]
    assert by_speaker.p_value > by_utterance.p_value


def test_p_is_calibrated_without_a_difference():
    random = np.random.default_rng(11)
    values = [swap_p_value(np.rint(random.normal(0, 3, 15)).astype(np.int64), 500, trial) for trial in range(400)]
    assert 0.02 < np.mean(np.array(values) < 0.05) < 0.08


def test_other_references_are_refused_and_named():
    first = results([1, 2, 3])
    second = [*results([1, 2])[:1], replace(results([1, 2])[1], reference=["q"]), *results([0] * 5)[4:]]
    with pytest.raises(UserError) as refused:
        compare(first, second)
    said = str(refused.value)
    assert "utterances 1 only in A (u0002)" in said
    assert "1 only in B (u0004)" in said
    assert "1 with other phones (u0001)" in said
    assert check_same_references(first, first[::-1])


def test_no_reference_phones():
    with pytest.raises(UserError, match="no phones"):
        compare(results([0], phones=0), results([0], phones=0))


def better_copy(run, folder):
    """A copy of a run, its test hypotheses all right."""
    shutil.copytree(run.output_dir, folder)
    path = folder / "eval" / "test" / "hypotheses.jsonl"
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        fields |= {"hypothesis": fields["reference"], "substitutions": 0, "deletions": 0, "insertions": 0}
        lines.append(json.dumps(fields, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_command(command, small_run, tmp_path):
    better = better_copy(small_run, tmp_path / "better")
    status, out, err = command("compare", small_run.output_dir, better, "--json")
    assert status == 0, err
    found = json.loads(out)
    scores = read_hypotheses(better / "eval" / "test" / "hypotheses.jsonl")
    assert found["per_b"] == 0.0
    assert found["difference"] == -found["per_a"] < 0
    assert found["utterances"] == len(scores)
    summary = json.loads((small_run.output_dir / "eval" / "test" / "summary.json").read_text(encoding="utf-8"))
    assert found["reference_sha256"] == summary["reference_sha256"]
    assert found["per_a"] == summary["per"]
    assert found["bootstrap_unit"] == summary["bootstrap_unit"]
    assert command("compare", small_run.output_dir / "eval" / "test", better)[0] == 0
    assert "points" in command("compare", better / "eval" / "test" / "hypotheses.jsonl", better)[1]


def test_command_says_where_speakers_are_out_of_reach(command, small_run, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(small_run.output_dir / "eval" / "test", tmp_path / name)
        file = tmp_path / name / "hypotheses.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        # As earlier versions wrote them.
        without = [{key: value for key, value in line.items() if key != "speaker"} for line in lines]
        file.write_text("".join(json.dumps(line) + "\n" for line in without), encoding="utf-8")
    _, out, _ = command("compare", tmp_path / "a", tmp_path / "b")
    assert "by utterance, not by speaker: none is known" in out


def test_command_refuses_other_references_and_missing_results(command, small_run, tmp_path):
    test, validation = (small_run.output_dir / "eval" / split for split in ("test", "validation"))
    status, _, err = command("compare", test, validation)
    assert status == 2
    assert "different references" in err
    status, _, err = command("compare", test, tmp_path)
    assert status == 2
    assert "no hypotheses.jsonl" in err


def test_speakers_come_from_the_speech_of_the_run(small_run):
    test = small_run.output_dir / "eval" / "test"
    speakers = known_speakers([test])
    assert {u.id for u in read_hypotheses(test / "hypotheses.jsonl")} <= speakers.keys()
    assert len(set(speakers.values())) > 1
