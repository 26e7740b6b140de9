"""Known phones placed in time."""

from __future__ import annotations

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
    with pytest.raises(UserError, match="outside the inventory"):
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
