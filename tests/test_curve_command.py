"""`unispeech-ft curve`: the runs that it asks for, those that it keeps, and what it says of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import merged, tiny_settings, write_settings

from unispeech_ft.config.reading import to_yaml
from unispeech_ft.config.sections import DataConfig, PhonemesConfig
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.speech import open_speech
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.ctc_phoneme.config import load_config

SHARES = (0.125, 0.25, 0.5, 1.0)


def leave_results(folder: Path, errors: int, hours: float, split: str = "test") -> None:
    (folder / "eval" / split).mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps({"splits": {"train": {"hours": hours}}}), encoding="utf-8")
    counts = {"substitutions": errors - 7, "deletions": 4, "insertions": 3, "reference_phones": 1_000}
    (folder / "eval" / split / "summary.json").write_text(json.dumps(counts), encoding="utf-8")
    line: dict[str, Any] = {"id": "u", "reference": ["a", "b"] * 500}
    line |= {"hypothesis": ["p" if place < 2 * errors and place % 2 else "ab"[place % 2] for place in range(1_000)]}
    line |= {"substitutions": errors, "deletions": 0, "insertions": 0, "duration_s": None, "speaker": None}
    (folder / "eval" / split / "hypotheses.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")


@pytest.fixture
def config(tiny_speech: Path, tmp_path: Path) -> Path:
    return write_settings(tmp_path / "tiny.yaml", tiny_settings(tiny_speech, tmp_path))


@pytest.fixture
def asked(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have made runs; each leaves results of a power law instead."""
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        given = dict(zip(command[1::2], command[2::2], strict=False))
        given |= {word[2:]: command[place + 1] for place, word in enumerate(command) if word.startswith("--")}
        folder, share = Path(given["output_dir"]), float(given["data.share"])
        leave_results(folder, round(200 * share**-0.3), share / 3)
        overrides = {"data.share": f"{share}", "output_dir": str(folder), "resume": "auto"}
        (folder / "config.yaml").write_text(to_yaml(load_config(config, overrides)), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_each_share_is_trained_once(command: Any, config: Path, asked: list[list[str]], tmp_path: Path) -> None:
    status, out, _ = command("curve", config, "--more", "10", "20")
    assert status == 0
    assert [words[words.index("--data.share") + 1] for words in asked] == ["0.125", "0.25", "0.5", "1.0"]
    lines = out.splitlines()
    start = next(place for place, line in enumerate(lines) if "95 % interval of a run" in line)
    assert [line.split()[1] for line in lines[start + 1 : start + 5]] == ["37.30", "30.30", "24.60", "20.00"]
    assert [line.split()[:2] for line in lines[start + 5 : start + 7]] == [["+", "10"], ["+", "20"]]
    assert lines[start + 8].startswith("record words with these phones, where an example more spares most errors: b")
    assert "b (200 of 500 missed, " in lines[start + 8]
    said = json.loads((tmp_path / "run-curve" / "curve.json").read_text(encoding="utf-8"))
    assert [point["per"] for point in said["points"]] == [0.373, 0.303, 0.246, 0.2]
    assert [item["phone"] for item in said["phones_to_record"]] == ["b"]
    assert said["speakers"] is None
    twice = said["more"][1]
    assert twice["hours"] == pytest.approx(2 / 3)
    assert twice["low"] < 0.2 * 2**-0.3 < twice["high"]
    asked.clear()
    assert command("curve", config, "--more", "10", "20")[:2] == (0, "\n".join(lines[start - 1 :]) + "\n")
    assert asked == [], "what is there is kept"


def test_runs_of_another_configuration_are_left_alone(command: Any, config: Path, asked: list[list[str]]) -> None:
    command("curve", config)
    asked.clear()
    status, _, err = command("curve", config, "--optimizer.lr", "1e-4")
    assert status == 2
    assert "holds a run of another configuration" in err
    assert asked == []


def test_without_the_speech_only_the_phones_are_missing(
    command: Any, config: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise UserError("data.root: no folder of that name", remedy="check it")

    monkeypatch.setattr("unispeech_ft.data.speech.open_speech", gone)
    status, out, _ = command("curve", config)
    assert status == 0
    assert "which phones to record is not told, since training has to be counted: data.root: no folder" in out


def test_a_run_that_fails_ends_it(command: Any, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess([], 2)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert command("curve", config)[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shares", "1", "0.5"), "makes no curve"),
        (("--shares", "0", "0.5", "1"), "makes no curve"),
        (("--more", "-5"), "cannot be used"),
        (("--more", "nan"), "cannot be used"),
        (("--data.share", "0.5"), "--shares says what is used"),
        (("--resume", "true"), "goes on by itself"),
        (("--no.such", "1"), "no.such"),
    ],
)
def test_faults(command: Any, config: Path, words: tuple[str, ...], said: str) -> None:
    status, _, err = command("curve", config, *words)
    assert status == 2
    assert said in err
    assert "Traceback" not in err


def split_of(speakers: list[str | None], seconds: list[int]) -> LabelledSplit:
    class Lengths:
        num_samples = np.array(seconds) * 16_000

    ids = [f"clip{number}" for number in range(len(seconds))]
    return LabelledSplit("train", ids, [["a"]] * len(ids), list(range(len(ids))), speakers, Lengths())  # type: ignore[arg-type]


def test_portions_are_nested_and_of_whole_speakers() -> None:
    random = np.random.default_rng(2)
    split = split_of([f"s{number % 16}" for number in range(320)], random.integers(2, 9, 320).tolist())
    before: set[str] = set()
    for share in SHARES:
        part = split.portion(share)
        assert before < set(part.ids)
        assert part.num_samples.sum() == pytest.approx(share * split.num_samples.sum(), rel=0.05)
        whole = [name for name in set(part.speakers) if part.speakers.count(name) == 20]
        assert len(whole) >= len(set(part.speakers)) - 1, "the last speaker alone may be there in part"
        assert part.ids == [name for name in split.ids if name in set(part.ids)], "in the order of the source"
        before = set(part.ids)
    assert len(before) == 320


def test_portions_of_few_speakers_are_of_all_of_them() -> None:
    split = split_of(["a", "b", None] * 100, [3] * 300)
    part = split.portion(0.25)
    assert len(part) == 75
    assert set(part.speakers) == {"a", "b", None}
    assert len(split.portion(1e-9)) == 1


def test_the_rest_of_a_corpus_stays(tiny_speech: Path, tmp_path: Path) -> None:
    data = DataConfig(root=str(tiny_speech), language="ky", cache_dir=str(tmp_path), num_workers=0)
    whole, half = (open_speech(data.model_copy(update={"share": s}), PhonemesConfig()) for s in (1.0, 0.5))
    assert set(half.splits["train"].ids) < set(whole.splits["train"].ids)
    assert half.splits["test"].ids == whole.splits["test"].ids
    assert [item.id for item in half.corpus.splits["train"]] == half.splits["train"].ids
    assert f"train: {len(half.splits['train'])} clips are used, 50 % of its speech" in half.notes


@pytest.mark.long
def test_real_runs(command: Any, tiny_speech: Path, tmp_path: Path) -> None:
    settings = merged(tiny_settings(tiny_speech, tmp_path), {"schedule": {"updates": 2}})
    file = write_settings(tmp_path / "tiny.yaml", settings)
    status, _, err = command("curve", file, "--shares", "0.3", "0.6", "1")
    assert status == 2
    assert "a curve needs runs on 3 amounts of speech with a PER from above 0 to 80 %" in err
    hours = [
        json.loads((tmp_path / "run-curve" / f"share-{share}" / "training.json").read_text(encoding="utf-8"))["splits"]
        for share in ("0.3", "0.6", "1")
    ]
    assert hours[0]["train"]["hours"] < hours[1]["train"]["hours"] < hours[2]["train"]["hours"]
    assert hours[0]["test"] == hours[2]["test"]
