"""`unispeech-ft audit`: clean speech passes, each planted fault is found, and so are those of the published lists."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from running import REPOSITORY, tiny_settings, write_settings

from unispeech_ft.audit import labels, published, sound
from unispeech_ft.audit.findings import Finding, format_audit, some
from unispeech_ft.data.sources.published import LIST_PATTERNS
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

SHARED = Path(os.environ.get("UNISPEECH_FT_SHARED", REPOSITORY.parent / "shared"))
LISTS = SHARED / "data" / "unispeech_splits"
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason=f"no published lists in {LISTS}")
RATE_HZ = 16_000
PHONES = ["a", "t", "i", "k", "u", "s", "e", "m"]

Change = Callable[[list[dict[str, Any]]], object]


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE_HZ)).clip(-0.9, 0.9).astype(np.float32)


def rows_of(split: str, clips: int) -> list[dict[str, Any]]:
    """Clips of a second, three speakers in each split, every phone often enough."""
    rows = []
    for number in range(clips):
        phones = [PHONES[(number + place) % len(PHONES)] for place in range(8)]
        rows.append(
            {
                "split": split,
                "path": f"{split}{number}.wav",
                "text": f"{split} says {number}",
                "phones": phones,
                "speaker": f"{split}-{number % 3}",
                "samples": noise(1.0, number),
            }
        )
    return rows


@pytest.fixture
def audited(command, tmp_path):
    """(change) → status and JSON of the audit of a small corpus after the change of its rows."""

    def run(change: Change, **data: Any) -> tuple[int, dict[str, Any]]:
        rows = rows_of("train", 40) + rows_of("validation", 12) + rows_of("test", 12)
        change(rows)
        lines = []
        for row in rows:
            samples = row.pop("samples")
            if samples is not None:
                soundfile.write(tmp_path / row["path"], samples, RATE_HZ)
            lines.append(json.dumps(row, ensure_ascii=False))
        (tmp_path / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        settings = tiny_settings(tmp_path, tmp_path / "runs")
        settings["data"] |= {"source": "manifest", "train": "clips.jsonl", "num_workers": 0, **data}
        settings["phonemes"] = {"labels": "column"}
        config = write_settings(tmp_path / "config.yaml", settings)
        status, out, err = command("audit", config, "--json")
        assert status in (0, 3), err
        return status, json.loads(out)

    return run


def names(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(finding["name"], finding["level"]) for finding in found["findings"]}


def test_clean_speech_has_no_findings_and_figures_by_speaker(audited):
    status, found = audited(lambda rows: None)
    assert status == 0
    assert found["findings"] == []
    assert found["serious"] is False
    train = found["splits"]["train"]
    assert (train["utterances"], train["phones"], train["inventory"]) == (40, 320, 8)
    assert train["hours"] == pytest.approx(40 / 3600)
    assert train["speakers"]["known"] == 3
    first = train["speakers"]["each"]["train-0"]
    assert (first["utterances"], first["phones"]) == (14, 112)
    assert first["hours"] == pytest.approx(14 / 3600)


def with_phones(place: int, phones: list[str]) -> Change:
    return lambda rows: rows[place].update(phones=phones)


def with_sound(places: range, samples: np.ndarray) -> Change:
    return lambda rows: [rows[place].update(samples=samples) for place in places]


SPEECH_THEN_SILENCE = np.concatenate([noise(0.2), np.zeros(RATE_HZ, np.float32) + 1e-5])
FAULTS: list[tuple[str, str, int, Change]] = [
    ("language_flags", "serious", 3, with_phones(0, ["a", "(en)", "t", "(fr)"])),
    ("mixed_notation", "serious", 3, with_phones(0, ["ɡ", "a", "g"])),
    ("look_alikes", "warning", 0, with_phones(0, ["g", "a", "t"])),
    ("mnemonics", "warning", 0, with_phones(0, ["tS", "oe:", "d["])),
    ("not_nfc", "warning", 0, with_phones(0, ["c\u0327", "a", "t"])),
    ("rare_phones", "warning", 0, with_phones(0, ["y", "a", "t"])),
    ("unseen_phones", "serious", 3, with_phones(60, ["h", "ʊː", "t"])),
    ("infeasible", "serious", 3, with_phones(60, ["a", "t"] * 30)),
    ("duration_outliers", "serious", 3, with_phones(60, ["a"])),
    ("shared_sentences", "serious", 3, lambda rows: rows[60].update(text="Train says, 3!")),
    ("shared_sentences", "warning", 0, lambda rows: rows[45].update(text="Train says, 3!")),
    ("shared_speakers", "serious", 3, lambda rows: rows[60].update(speaker="train-1")),
    ("shared_speakers", "warning", 0, lambda rows: rows[45].update(speaker="train-1")),
    ("lopsided_speakers", "warning", 0, lambda rows: [row.update(speaker="train-0") for row in rows[:36]]),
    ("clipping", "warning", 0, with_sound(range(1), np.clip(noise(1.0) * 20, -1, 1))),
    ("clipping", "serious", 3, with_sound(range(3), np.clip(noise(1.0) * 20, -1, 1))),
    ("quiet", "warning", 0, with_sound(range(1), noise(1.0) * 0.003)),
    ("silence", "warning", 0, with_sound(range(1), SPEECH_THEN_SILENCE)),
    ("left_out", "serious", 3, with_sound(range(4), None)),
    ("left_out", "warning", 0, with_sound(range(1), None)),
    ("left_out", "note", 0, with_sound(range(1), noise(0.2))),
]


@pytest.mark.parametrize(("name", "level", "expected", "change"), FAULTS, ids=[f"{n}-{l}" for n, l, _, _ in FAULTS])
def test_each_planted_fault_is_found(audited, name, level, expected, change):
    status, found = audited(change)
    assert (name, level) in names(found), found["findings"]
    assert status == expected, found["findings"]


def test_unseen_phones_below_half_a_percent_only_warn():
    many = {"one": ["a"] * 999 + ["h"]}
    assert [(f.name, f.level) for f in labels.coverage({"train": {"x": ["a"] * 50}, "test": many})] == [
        ("unseen_phones", "warning")
    ]


def test_the_page_names_finding_remedy_and_verdict(command, small_config, tmp_path):
    status, out, err = command("audit", small_config, "--data.max_duration_s", "2.0", f"--data.cache_dir={tmp_path}")
    assert status in (0, 3), err
    assert "outside 0.4 to 2 s" in out
    assert out.splitlines()[-1].startswith("audit: ")


def test_faults_of_the_user_end_with_2(command, small_config, tmp_path):
    assert command("audit", tmp_path / "none.yaml")[0] == 2
    status, _, err = command("audit", small_config, "--data.root", tmp_path / "none")
    assert status == 2
    assert "none" in err
    assert "Traceback" not in err


def test_measures_of_sound():
    loud = sound.measure(np.ones(RATE_HZ, np.float32))
    assert loud.clipped_share == 1.0
    assert loud.loudest_dbfs == pytest.approx(0.0)
    assert sound.measure(SPEECH_THEN_SILENCE).silent_share == pytest.approx(40 / 48)
    assert sound.measure(noise(0.01)).silent_share == 0.0


def test_one_notation_joins_ways_of_writing():
    for first, second in [("g", "ɡ"), ("e:", "eː"), ("t͡ʃ", "tS"), ("oe:", "øː"), ("а", "a"), ("ç", "c\u0327")]:
        assert labels.one_notation(first) == labels.one_notation(second)
    assert labels.one_notation("ɛ") != labels.one_notation("e")


def test_long_examples_are_cut():
    assert some(["x" * 80, "y" * 80]) == f"{'x' * 80} and 1 more"


def write_lists(folder: Path) -> Path:
    """Lists of two splits whose labels hold what FACTS names of the Italian and Spanish ones."""
    folder.mkdir()
    phones = {"a": 0, "t": 1, "": 2, "h": 3, "ʊː": 4}
    (folder / "phonesMatches_reduced.json").write_text(json.dumps(phones), encoding="utf-8")
    lines = {"train": ["a t a t", "t a"], "test": ["h a t", "ʊː a"]}
    for split, listed in lines.items():
        stem = LIST_PATTERNS[split].replace("*_16k.tsv", "_x")
        ids = [f"common_voice_it_{split}{number}" for number in range(len(listed))]
        rows = "".join(f"{name}.wav\t32000\t16000\n" for name in ids)
        (folder / f"{stem}_16k.tsv").write_text(f"WAV_PATH\n{rows}", encoding="utf-8")
        said = "".join(f"{name}\tfrase {name}\n" for name in ids)
        (folder / f"{stem}.text").write_text(said, encoding="utf-8")
        numbers = "".join(" ".join(str(phones[phone]) for phone in line.split()) + "\n" for line in listed)
        (folder / f"{stem}_16k.id").write_text(numbers, encoding="utf-8")
        printed = "".join(line.replace("ʊː", "(en) uː (it)").replace(" ", " | ") + "\n" for line in listed)
        (folder / f"{stem}.phone").write_text(printed, encoding="utf-8")
    return folder


def find(findings: list[Finding] | tuple[Finding, ...], name: str) -> list[Finding]:
    return [finding for finding in findings if finding.name == name]


def test_faults_of_lists(tmp_path):
    findings = published.audit_lists(write_lists(tmp_path / "it"))
    assert find(findings, "empty_dictionary_token")[0].examples == ("2",)
    assert find(findings, "dictionary_phones_untrained")[0].examples == ("h", "ʊː")
    assert [(f.count, f.level) for f in find(findings, "language_flags")] == [(2, "warning")]
    assert [f.count for f in find(findings, "phone_and_id_disagree")] == [3]


def test_a_test_list_with_untrained_phones_spoils_the_result(command, tmp_path):
    write_lists(tmp_path / "it")
    config = REPOSITORY / "configs" / "ctc_phoneme" / "it_1h.yaml"
    local = ["--data.splits", tmp_path, "--data.cache_dir", tmp_path / "cache", "--model.base", tmp_path]
    status, out, err = command("audit", config, *local)
    assert status == 3, err
    assert "h (1), ʊː (1)" in out
    assert "never in training, and so sure errors: 2 phones, 2 tokens (40.00 %)" in out


EXPECTED: dict[str, dict[str, tuple[str, ...]]] = {
    "ky": {"mnemonics": ("N", "S", "dZ", "d[", "e:", "o:", "oe", "oe:", "tS", "t[")},
    "fr": {"language_flags": (), "phone_and_id_disagree": ()},
    "es": {"empty_dictionary_token": ("26",), "shared_sentences": ()},
    "it": {"phone_and_id_disagree": (), "dictionary_phones_untrained": ("h", "ʊː")},
}


@needs_lists
@pytest.mark.parametrize("language", sorted(EXPECTED))
def test_published_lists(command, language, tmp_path):
    config = REPOSITORY / "configs" / "ctc_phoneme" / f"{language}_1h.yaml"
    local = ["--data.splits", LISTS, "--data.cache_dir", tmp_path, "--model.base", tmp_path]
    status, out, err = command("audit", config, "--json", *local)
    assert status == 0, err
    found = json.loads(out)
    for name, examples in EXPECTED[language].items():
        findings = [finding for finding in found["findings"] if finding["name"] == name]
        assert findings, (name, names(found))
        assert set(examples) <= set(findings[0]["examples"])
    foreign = {"ky": {"language_flags", "phone_and_id_disagree"}, "es": {"language_flags"}}
    assert not {name for name, _ in names(found)} & foreign.get(language, set())


def test_text_that_the_rules_and_espeak_disagree_on(tmp_path):
    from unispeech_ft.audit.run import audit

    sentences = ["l'ami, l'eau", "l'ami dort", "私は学生です", "le chat", "le chat 😀"]
    rows = ["path\tsentence"]
    for number, sentence in enumerate(sentences):
        soundfile.write(tmp_path / f"c{number}.wav", 0.1 * np.random.default_rng(number).normal(size=16_000), 16_000)
        rows.append(f"c{number}.wav\t{sentence}")
    (tmp_path / "m.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = {"source": "manifest", "root": str(tmp_path), "train": "m.tsv", "test": "m.tsv", "language": "fr",
            "cache_dir": str(tmp_path / "cache")}  # fmt: skip
    model = {"from_scratch": True, "config": {"model_type": "unispeech"}}
    found = audit(CtcPhonemeConfig.model_validate({"data": data, "model": model}))
    by_name = {finding.name: finding for finding in found.findings}
    assert by_name["unreadable_characters"].level == "serious"
    assert {"私 (1)", "😀 (1)"} <= set(by_name["unreadable_characters"].examples)
    assert by_name["rule_of_text"].examples[0].startswith("l'ami (4 ×; text: l a m i; published: ɛ l a m i)")
    assert by_name["shared_recordings"].level == "serious"
    assert "l'ami" in format_audit(found)
