"""Known phones placed in time."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import soundfile

import unispeech_ft
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def clip(spoken_corpus):
    return sorted((spoken_corpus / "ky" / "clips").glob("*.mp3"))[0]


def test_phones_come_in_order_within_the_clip(small_model, clip):
    phones = [*small_model.tokenizer.phones[:5], *small_model.tokenizer.phones[4:6]]
    aligned = unispeech_ft.align(small_model, clip, phones)
    assert [item.phone for item in aligned.phones] == phones
    times = [time for item in aligned.phones for time in (item.start_s, item.end_s)]
    assert times == sorted(times)
    assert all(item.end_s > item.start_s for item in aligned.phones)
    assert times[-1] <= soundfile.info(clip).duration + 1e-4


def test_impossible_alignments_say_why(small_model, clip):
    with pytest.raises(UserError, match="cannot be aligned"):
        unispeech_ft.align(small_model, clip, small_model.tokenizer.phones * 50)
    with pytest.raises(UserError, match=rf"{clip.name}: phones outside the inventory"):
        unispeech_ft.align(small_model, clip, ["no such phone"])
    with pytest.raises(UserError, match="no such file"):
        unispeech_ft.align(small_model, clip.with_name("none.mp3"), small_model.tokenizer.phones[:2])


def test_command_prints_a_line_for_each_phone(command, small_run, clip):
    phones = small_run_phones(small_run)
    status, out, _ = command("align", small_run.model_dir, clip, "--phones", " ".join(phones))
    assert status == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[3] for row in rows] == phones
    assert all(0 <= float(row[2]) <= 1 for row in rows)
    status, _, err = command("align", small_run.model_dir, clip, "--text", "ата")
    assert status == 2
    assert "--language" in err


def small_run_phones(run):
    return load_tokenizer(run.model_dir).phones[:4]


def test_words_and_alternatives(command, small_run, small_model, clip, tmp_path):
    first, second, third = small_model.tokenizer.phones[:3]
    (tmp_path / "lexicon").write_text(f"Бал\t{first} {second}\nбал\t{third}\nа\t{second} {first}\n", encoding="utf-8")
    words = ("align", small_run.output_dir, clip, "--text", "Бал, а!", "--lexicon", tmp_path / "lexicon")
    status, out, _ = command(*words, "--json", "--textgrid", tmp_path / "grids")
    assert status == 0
    found = json.loads(out)
    assert [item["word"] for item in found["words"]] == ["Бал", "а"]
    assert found["words"][0]["start_s"] == found["phones"][0]["start_s"]
    assert found["words"][1]["end_s"] == found["phones"][-1]["end_s"]
    grid = (tmp_path / "grids" / f"{clip.stem}.TextGrid").read_text(encoding="utf-8")
    assert grid.index('name = "words"') < grid.index('name = "phones"')
    assert all(len(number.split(".")[-1].strip()) <= 6 for number in re.findall(r"xm(?:in|ax) = ([0-9.]+)", grid))


def test_a_corpus(command, small_run, small_config, tmp_path):
    table = tmp_path / "times.csv"
    words = ("align", small_run.model_dir, "--corpus", small_config, "--split", "test", "--json", "--csv", table)
    status, out, err = command(*words, "--textgrid", tmp_path / "grids")
    lines = [json.loads(line) for line in out.splitlines()]
    refused = err.count("error:")
    assert lines
    assert (status == 0) is (refused == 0)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for line in lines:
        assert line["words"]
        mine = [row for row in rows if row["id"] == line["path"]]
        assert [row["label"] for row in mine if row["tier"] == "phones"] == [item["phone"] for item in line["phones"]]
        assert (tmp_path / "grids" / f"{line['path']}.TextGrid").is_file()
    assert command("align", small_run.model_dir, "x.wav", "--corpus", small_config)[0] == 2


def test_one_channel_of_several(command, small_run, clip, tmp_path):
    samples, rate_hz = soundfile.read(clip)
    other = np.random.default_rng(0).normal(0, 0.1, len(samples))
    for name, channels in (("alone", [samples]), ("both", [other, samples])):
        soundfile.write(tmp_path / f"{name}.wav", np.stack(channels, axis=1), rate_hz)
    phones = " ".join(small_run_phones(small_run))

    def aligned(name, *options):
        return command("align", small_run.model_dir, tmp_path / f"{name}.wav", "--phones", phones, *options)

    assert aligned("both", "--channel", 1)[:2] == aligned("alone")[:2] != aligned("both")[:2]
    assert aligned("both")[0] == 0
    for channel in (2, -1):
        status, _, err = aligned("both", "--channel", channel)
        assert (status, f"channel {channel} is asked for, but the file has 2" in err) == (2, True)
        assert err.endswith("--channel): name one that it has\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--phones", "a", "--language", "ky"), "--language goes with --text"),
        (("--phones", ""), "no model is neither"),
        (("--phones", "a", "--split", "test"), "--split goes with --corpus"),
        (("--phones", "a", "--data.channel", "0"), "--data.channel goes with --corpus"),
    ],
)
def test_options_without_effect_are_refused(options, said, command, clip):
    status, _, err = command("align", "no model", clip, *options)
    assert (status, said in err) == (2, True)
