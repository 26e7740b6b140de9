"""The published lists, joined to a release, and their labels made again. Needs the material beside the project."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from fetch_splits import fetch
from rapidfuzz.distance import Levenshtein

from unispeech_ft.config.sections import DataConfig, PhonemesConfig
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.sources.published import LACKS, read_dictionary, read_list
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.g2p import G2P, pronounce
from unispeech_ft.phonemes.notation import merged, phone_map

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("UNISPEECH_FT_SHARED", REPOSITORY.parent / "shared"))
LISTS = SHARED / "data" / "unispeech_splits"
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason=f"no published lists in {LISTS}")
CLIPS = {"es": (818, 245), "fr": (844, 254), "it": (720, 223), "ky": (750, 227, 752)}
# % of label tokens that differ between espeak-ng 1.52 and the published labels, over the lists that are there.
DIFFERENCE = {"ky": 0.0, "fr": 0.170, "es": 1.593, "it": 0.652}


@needs_lists
@pytest.mark.parametrize("language", sorted(DIFFERENCE))
def test_labels_made_again(language, tmp_path, capsys):
    folder = tmp_path / language
    shutil.copytree(LISTS / language, folder)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for path in folder.glob("*.id"):
        shutil.move(path, hidden)
    clips = [clip for split in ("train", "validation", "test") for clip in read_list(folder, split, with_labels=False)]
    rule = G2P.from_config(PhonemesConfig(normalise="published"), language)
    made = pronounce([clip.text for clip in clips], rule)
    for path in hidden.glob("*.id"):
        shutil.move(path, folder)
    labelled = [
        clip for split in ("train", "validation", "test") for clip in read_list(folder, split, with_labels=True)
    ]
    errors = sum(Levenshtein.distance(c.phones, p.phones) for c, p in zip(labelled, made, strict=True))
    difference = 100 * errors / sum(len(clip.phones) for clip in labelled)
    with capsys.disabled():
        print(f"\nlabels made again, {language}: {difference:.3f} % differ, expected {DIFFERENCE[language]:.3f}")
    assert difference == pytest.approx(DIFFERENCE[language], abs=0.02)


@needs_lists
def test_french_phone_files_are_the_text_rule_to_the_last_phone():
    text, said = (LISTS / "fr" / f"valSeqs_1.0_uniform_new_version{ending}" for ending in (".text", ".phone"))
    sentences = [line.partition("\t")[2] for line in text.read_text(encoding="utf-8").splitlines()]
    printed = [line.replace("|", " ").split() for line in said.read_text(encoding="utf-8").splitlines()]
    assert [item.phones for item in pronounce(sentences, G2P.from_config(PhonemesConfig(), "fr"))] == printed


@needs_lists
@pytest.mark.parametrize("language", sorted(CLIPS))
def test_lists_have_the_published_counts(language):
    data = DataConfig(language=language, splits=str(LISTS))
    corpus = list_utterances(data, published_labels=True)
    counts = tuple(len(corpus.splits[split]) for split in ("train", "validation", "test"))
    assert counts[: len(CLIPS[language])] == CLIPS[language]
    assert all(utterance.phones for utterance in corpus.splits["train"])


@needs_lists
def test_kyrgyz_test_list_has_the_published_number_of_labels():
    assert sum(len(clip.phones) for clip in read_list(LISTS / "ky", "test", with_labels=True)) == 30_562


@needs_lists
@pytest.mark.parametrize("language", sorted(CLIPS))
def test_ipa_map_is_reversible_and_clean(language):
    mapping = phone_map("ipa")
    phones = [phone for phone in read_dictionary(LISTS / language) if not phone.startswith("<unused")]
    assert merged(phones, mapping) == {}
    assert not {letter for phone in phones for letter in mapping(phone)[0]} & set("[]:SZNXA0123456789\"'`")


def make_lists(folder: Path, language: str = "ky", clips: int = 4) -> None:
    """Small lists in the published layout, three of them."""
    folder.mkdir(parents=True)
    (folder / "phonesMatches_reduced.json").write_text(json.dumps({"a": 0, "": 1, "tS": 2}), encoding="utf-8")
    for number, stem in enumerate(("trainSeqs_1.0", "valSeqs_1.0", "testSeqs")):
        names = [f"common_voice_{language}_{number}{clip}" for clip in range(clips)]
        rows = "".join(f"{name}.wav\t32000\t16000\n" for name in names)
        (folder / f"{stem}_16k.tsv").write_text("WAV_PATH\n" + rows, encoding="utf-8")
        (folder / f"{stem}.text").write_text("".join(f"{name}\tача\n" for name in names), encoding="utf-8")
        (folder / f"{stem}_16k.id").write_text("0 2 0 \n" * clips, encoding="utf-8")


@pytest.fixture
def release(tmp_path):
    make_lists(tmp_path / "lists" / "ky")
    folder = tmp_path / "release" / "ky"
    (folder / "clips" / "deep").mkdir(parents=True)
    (folder / "other.tsv").write_text(
        "client_id\tpath\tsentence\nspeaker7\tcommon_voice_ky_00.mp3\tx\n", encoding="utf-8"
    )
    for number in range(3):
        for clip in range(4):
            place = folder / "clips" / ("deep" if clip == 3 else "") / f"common_voice_ky_{number}{clip}.mp3"
            place.write_bytes(b"x")
    return tmp_path


def listed(release: Path):
    data = DataConfig(root=str(release / "release"), language="ky", splits=str(release / "lists"))
    return list_utterances(data, published_labels=True)


def test_clips_are_found_wherever_they_stand(release):
    corpus = listed(release)
    assert [len(corpus.splits[split]) for split in ("train", "validation", "test")] == [4, 4, 4]
    assert corpus.splits["train"][3].path.parent.name == "deep"
    assert corpus.splits["train"][0].speaker == "speaker7"
    assert corpus.splits["train"][0].phones == ("a", "tS", "a")
    assert not corpus.rejected


def test_lacking_clips_are_named_counted_and_timed(release):
    (release / "release" / "ky" / "clips" / "common_voice_ky_11.mp3").unlink()
    corpus = listed(release)
    assert [(item.split, item.id, item.reason) for item in corpus.rejected] == [
        ("validation", "common_voice_ky_11", LACKS)
    ]
    assert any("lacks 1 of 4 published clips (0.001 h)" in note for note in corpus.notes)
    assert corpus.published_split is False


def test_unlike_lists_are_never_the_published_split(release):
    assert listed(release).published_split is False


def test_files_that_disagree_are_refused(release):
    text = release / "lists" / "ky" / "testSeqs.text"
    text.write_text(text.read_text(encoding="utf-8").replace("_20\t", "_29\t"), encoding="utf-8")
    with pytest.raises(UserError, match="line by line"):
        listed(release)


def test_missing_lists_say_how_to_fetch_them(tmp_path):
    data = DataConfig(root=str(tmp_path), language="ky", splits=str(tmp_path))
    with pytest.raises(UserError, match=r"fetch_splits\.py"):
        list_utterances(data, published_labels=True)


@needs_lists
def test_a_fetched_list_that_somebody_changed_is_refused(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(LISTS / "ky", source / "ky")
    assert "clips in" in fetch(tmp_path / "there", "ky", source)
    text = source / "ky" / "trainSeqs_1.0_uniform_new_version.text"
    text.write_text(text.read_text(encoding="utf-8").replace("а", "о", 1), encoding="utf-8")
    with pytest.raises(UserError, match="SHA-256"):
        fetch(tmp_path / "again", "ky", source)
    assert not (tmp_path / "again" / "ky").exists()
