"""TextGrids that Praat reads, read back with praatio."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from eaf_rules import faults
from praatio import textgrid

import unispeech_ft
from unispeech_ft.data.sources.praat import read_grid
from unispeech_ft.errors import UserError
from unispeech_ft.scoring.alternatives import likeliest
from unispeech_ft.transcription.annotation import tiers_of, write_annotation
from unispeech_ft.transcription.decoding import ChunkPhones, joined
from unispeech_ft.transcription.textgrid import ENDING, output_paths
from unispeech_ft.transcription.timed import TimedPhone, TimedWord, Transcript


def intervals(path: Path) -> list[tuple[float, float, str]]:
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
    assert grid.tierNames == ("phones",)
    return [tuple(entry) for entry in grid.getTier("phones").entries]


def assert_contiguous(found: list[tuple[float, float, str]], duration_s: float) -> None:
    assert found[0][0] == 0
    assert found[-1][1] == pytest.approx(duration_s, abs=6e-4)
    assert all(first[1] == second[0] for first, second in zip(found, found[1:], strict=False))
    assert all(start < end for start, end, _ in found)


def test_any_phone_comes_back_and_pauses_are_empty(tmp_path):
    phones = [TimedPhone('u"', 0.1, 0.2, 0.9), TimedPhone("t͡ʃʼ", 0.2, 0.3, 0.8), TimedPhone("oe:", 0.5, 0.75, 0.7)]
    write_annotation(tmp_path / "new" / "a.TextGrid", Path("a.wav"), tiers_of(Transcript("a.wav", 1.0, phones)), 1.0)
    found = intervals(tmp_path / "new" / "a.TextGrid")
    assert_contiguous(found, 1.0)
    assert [label for _, _, label in found] == ["", 'u"', "t͡ʃʼ", "", "oe:", ""]
    assert [entry[:2] for entry in found if entry[2]] == [(item.start_s, item.end_s) for item in phones]


def test_silence_is_one_empty_interval(tmp_path):
    write_annotation(tmp_path / "a.TextGrid", Path("a.wav"), tiers_of(Transcript("a.wav", 1.5, [])), 1.5)
    assert intervals(tmp_path / "a.TextGrid") == [(0, 1.5, "")]


def test_files_lie_as_the_recordings_do(tmp_path):
    (tmp_path / "in" / "one").mkdir(parents=True)
    files = [tmp_path / "in" / "one" / "a.wav", tmp_path / "in" / "b.x.wav", Path("elsewhere/c.mp3")]
    found = output_paths(tmp_path / "out", [tmp_path / "in", "elsewhere/c.mp3"], files, ENDING)
    assert [str(path.relative_to(tmp_path / "out")) for path in found] == [
        "one/a.TextGrid",
        "b.x.TextGrid",
        "c.TextGrid",
    ]
    with pytest.raises(UserError, match="several recordings would write"):
        output_paths(tmp_path, [], [Path("x/a.wav"), Path("y/a.mp3")], ENDING)


def test_commands_write_what_they_print(command, small_run, small_model, spoken_corpus, tmp_path):
    recordings = tmp_path / "in"
    recordings.mkdir()
    for clip in sorted((spoken_corpus / "ky" / "clips").glob("*.mp3"))[:2]:
        shutil.copy(clip, recordings)
    words = ["transcribe", small_run.model_dir, recordings, "--json", "--textgrid", tmp_path / "out"]
    status, out, err = command(*words)
    assert status == 0, err
    printed = [json.loads(line) for line in out.splitlines()]
    assert len(printed) == 2
    for item in printed:
        assert all(0 < phone["posterior"] <= 1 for phone in item["phones"])
        found = intervals(tmp_path / "out" / f"{Path(item['path']).stem}.TextGrid")
        assert_contiguous(found, item["duration_s"])
        said = [(phone["start_s"], phone["end_s"], phone["phone"]) for phone in item["phones"]]
        assert [(round(start, 3), round(end, 3), label) for start, end, label in found if label] == said

    clip, phones = recordings / Path(printed[0]["path"]).name, small_model.tokenizer.phones[:4]
    status, out, err = command(
        "align", small_run.model_dir, clip, "--phones", " ".join(phones), "--textgrid", tmp_path / "aligned"
    )
    assert status == 0, err
    found = intervals(tmp_path / "aligned" / f"{clip.stem}.TextGrid")
    assert [label for _, _, label in found if label] == phones
    assert unispeech_ft.align(small_model, clip, phones).phones[0].posterior > 0


def timed(phone: str, start_s: float, posterior: float) -> TimedPhone:
    return TimedPhone(phone, start_s, start_s + 0.1, posterior)


def test_a_phone_on_both_sides_of_a_cut_is_one():
    before = ChunkPhones([timed("a", 0.0, 1.0), timed("s", 0.9, 0.5)], closing_frames=3)
    after = ChunkPhones([timed("s", 1.0, 0.9), timed("t", 1.2, 1.0)], opening_frames=1, closing_frames=2)
    whole = joined(before, after)
    assert [item.phone for item in whole.phones] == ["a", "s", "t"]
    assert (whole.phones[1].start_s, whole.phones[1].end_s) == (0.9, 1.1)
    assert whole.phones[1].posterior == pytest.approx((3 * 0.5 + 1 * 0.9) / 4)
    assert whole.closing_frames == 2


def test_phones_apart_from_a_cut_or_unlike_stay_two():
    before = ChunkPhones([timed("s", 0.9, 0.5)], closing_frames=1)
    apart = ChunkPhones([timed("s", 1.1, 0.5)])
    unlike = ChunkPhones([timed("z", 1.0, 0.5)], opening_frames=1)
    for after in (apart, unlike):
        assert [item.phone for item in joined(before, after).phones] == ["s", after.phones[0].phone]
    silence = joined(before, ChunkPhones([]))
    assert len(joined(silence, ChunkPhones([timed("s", 2.0, 0.5)], opening_frames=1)).phones) == 2


def test_a_phone_may_last_through_a_whole_chunk():
    one = ChunkPhones([timed("s", 0.0, 0.2)], opening_frames=2, closing_frames=2)
    three = joined(joined(one, one), ChunkPhones([timed("s", 1.0, 0.8)], opening_frames=4))
    assert len(three.phones) == 1
    assert three.phones[0].posterior == pytest.approx((4 * 0.2 + 4 * 0.8) / 8)


def test_alternatives_of_a_phone_on_both_sides_of_a_cut_are_means_of_both():
    def chunk(frames, **means):
        others = likeliest(means, "s", 1)
        phones = [TimedPhone("s", 0.0, 0.1, means["s"], others)]
        return ChunkPhones(phones, frames, frames, opening_means=means, closing_means=means)

    left, right = chunk(1, s=0.5, z=0.3, t=0.1), chunk(3, s=0.6, z=0.1, t=0.2)
    (phone,) = joined(joined(left, right), right).phones
    assert phone.posterior == pytest.approx((0.5 + 6 * 0.6) / 7)
    assert phone.alternatives == (("t", pytest.approx((0.1 + 6 * 0.2) / 7)),)


def test_words_on_both_sides_of_a_cut_stay_two():
    before = ChunkPhones([timed("s", 0.0, 1.0)], closing_frames=1, words=[TimedWord("as", 0.0, 0.1)])
    after = ChunkPhones([timed("s", 0.1, 1.0)], opening_frames=1, words=[TimedWord("sa", 0.1, 0.2)])
    whole = joined(before, after)
    assert [item.phone for item in whole.phones] == ["s", "s"]
    assert [item.word for item in whole.words] == ["as", "sa"]


def test_words_of_a_lexicon_are_found_in_what_is_heard(command, small_run, spoken_corpus, tmp_path):
    clip = sorted((spoken_corpus / "ky" / "clips").iterdir())[0]
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    words = ("transcribe", small_run.model_dir, tmp_path / clip.name)
    heard = command(*words)[1].rstrip("\n").split("\t")[1].split()
    assert len(heard) > 2
    lexicon = tmp_path / "lexicon"
    lexicon.write_text(f"бар\t{' '.join(heard)}\nжок\t{heard[0]} {heard[0]}\nл\tlacked\n", encoding="utf-8")
    status, out, err = command(*words, "--lexicon", lexicon)
    assert status == 0
    assert out.rstrip("\n").split("\t")[1:] == [" ".join(heard), "бар"]
    assert "1 of 3 pronunciations are left out, since the model lacks lacked" in err
    grid, eaf = tmp_path / "grid", tmp_path / "eaf"
    more = ("--json", "--alternatives", 2, "--textgrid", grid, "--eaf", eaf)
    found = json.loads(command(*words, "--lexicon", lexicon, *more)[1])
    first, last = found["phones"][0], found["phones"][-1]
    assert found["words"] == [{"word": "бар", "start_s": first["start_s"], "end_s": last["end_s"]}]
    assert all(len(phone["alternatives"]) == 2 for phone in found["phones"])
    tiers = {tier.name: tier.intervals for tier in read_grid(next(grid.iterdir()).read_bytes()).tiers}
    assert [label for _, _, label in tiers["words"] if label] == ["бар"]
    others = ", ".join(f"{item['phone']} {item['posterior']:.2f}" for item in first["alternatives"])
    labels = [label for _, _, label in tiers["alternatives"] if label]
    assert labels[0].split()[::2] == others.split()[::2]
    assert not faults(next(eaf.iterdir()).read_bytes())
    lexicon.write_text("л\tq̃ v̥\n", encoding="utf-8")
    status, _, err = command(*words, "--lexicon", lexicon)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "the model lacks phones of every word: q̃ v̥" in err


def test_alternatives_of_an_alignment(command, small_run, small_model, spoken_corpus):
    clip = sorted((spoken_corpus / "ky" / "clips").iterdir())[0]
    phones = small_model.tokenizer.phones
    words = ("align", small_run.model_dir, clip, "--phones", " ".join(phones[:3]), "--alternatives")
    status, out, _ = command(*words, len(phones) + 5)
    assert status == 0
    for line in out.splitlines():
        *_, posterior, phone, others = line.split("\t")
        assert {phone, *others.split()[::2]} == set(phones)
        assert 0 <= float(posterior) <= 1
    status, _, err = command(*words, 0)
    assert (status, "0 is not a number from 1" in err) == (2, True)
    status, _, err = command("transcribe", small_run.model_dir, clip, "--alternatives", 1)
    assert (status, "--alternatives goes with --json" in err) == (2, True)


def test_known_texts_beside_recordings_are_aligned(command, small_run, small_model, spoken_corpus, tmp_path):
    clips = sorted((spoken_corpus / "ky" / "clips").iterdir())[:2]
    for clip in clips:
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
    (tmp_path / clips[0].with_suffix(".txt").name).write_text("ба аб\n", encoding="utf-8")
    first, second = small_model.tokenizer.phones[:2]
    (tmp_path / "lexicon").write_text(f"ба\t{first} {second}\nаб\t{second}\n", encoding="utf-8")
    words = ("transcribe", small_run.model_dir, tmp_path, "--textgrid", tmp_path / "grids")
    status, _, err = command(*words, "--lexicon", tmp_path / "lexicon")
    assert status == 0
    assert (
        f"1 recordings have no .txt or .lab beside them, so what is heard is written: {tmp_path / clips[1].name}" in err
    )
    texts = [(tmp_path / "grids" / f"{clip.stem}.TextGrid").read_text(encoding="utf-8") for clip in clips]
    assert ['name = "words"' in text for text in texts] == [True, False]
    assert 'text = "ба"' in texts[0]


@pytest.mark.parametrize("beside", [True, False])
def test_known_phones_are_aligned(beside, command, small_run, small_model, spoken_corpus, tmp_path):
    clip = sorted((spoken_corpus / "ky" / "clips").iterdir())[0]
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    phones = small_model.tokenizer.phones[:3]
    marked = f"/{phones[0]} {phones[1]} | {phones[2]}/"
    (tmp_path / clip.with_suffix(".lab").name).write_text(marked if beside else "not this", encoding="utf-8")
    words = ("transcribe", small_run.model_dir, tmp_path, "--textgrid", tmp_path / "grids", "--phones")
    status, _, err = command(*words, *([] if beside else [marked]))
    assert (status, "warning" in err) == (0, False)
    grid = (tmp_path / "grids" / f"{clip.stem}.TextGrid").read_text(encoding="utf-8")
    assert re.findall(r'text = "(.+)"', grid) == phones
    assert 'name = "words"' not in grid


def test_what_would_have_no_effect_on_known_texts_is_said(command, small_run, spoken_corpus, tmp_path):
    clip, other = sorted((spoken_corpus / "ky" / "clips").iterdir())[:2]
    words = ("transcribe", small_run.model_dir, clip)
    assert "--phones goes with --textgrid" in command(*words, "--phones")[2]
    both = (*words, "--textgrid", tmp_path, "--phones", "a", "--language", "ky")
    assert "--language and --phones are both given" in command(*both)[2]
    status, _, err = command(*words, other, "--textgrid", tmp_path, "--phones", "a b")
    assert status == 2
    assert "given for 2 recordings" in err
    status, _, err = command(*words, "--textgrid", tmp_path, "--phones")
    assert (status, "warning: 1 recordings have no .txt or .lab beside them" in err) == (0, True)


def test_a_file_that_stands_where_a_folder_should_is_refused_before_anything_is_heard(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"a.wav is a file, and no .TextGrid"):
        output_paths(tmp_path / "a.wav", [tmp_path / "a.wav"], [tmp_path / "a.wav"], ".TextGrid")
