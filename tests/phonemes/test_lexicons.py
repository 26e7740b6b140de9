"""Lexicons, tables of letters, phone columns, tones, and the characters that espeak-ng cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from unispeech_ft.config.sections import PhonemesConfig
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.articulatory import feature_table
from unispeech_ft.phonemes.columns import check_column, column_rule
from unispeech_ft.phonemes.g2p import G2P, differing_words, pronounce, pronounce_words
from unispeech_ft.phonemes.lexicon import read_letters, read_lexicon, spell
from unispeech_ft.phonemes.normalise import normalise_sentence
from unispeech_ft.phonemes.notation import split_tone
from unispeech_ft.phonemes.unreadable import unreadable_characters


def by_lexicon(tmp_path: Path, content: str, sentence: str, **keys: object) -> list[str]:
    (tmp_path / "lexicon").write_text(content, encoding="utf-8")
    section = PhonemesConfig(labels="lexicon", lexicon=str(tmp_path / "lexicon"), **keys)
    return pronounce([sentence], G2P.from_config(section, None))[0].phones


@pytest.mark.parametrize(
    "line",
    [
        "кот\tk o t", "кот k o t", "кот\t0.9\tk o t", "кот 1.0 k o t", "кот\t1\t0.0\t0.0\t0.0\tk o t",
        "кот\t0.99 0.17 1.03 0.95 k o t", "КОТ\tk o t", "кот(2)\tk o t", ";;; comment\nкот  k o t",
    ],
)  # fmt: skip
def test_lexicons_of_mfa_kaldi_and_by_hand(line: str, tmp_path: Path) -> None:
    assert by_lexicon(tmp_path, line + "\n", "Кот!") == ["k", "o", "t"]


@pytest.mark.parametrize(
    ("content", "phones"),
    [
        ("œuf\t9 f\nà\ta\n", "9 f"), ("œuf 9 f\nà 2\n", "9 f"), ("œuf 1.0 9 f\nà 0.5 a\n", "9 f"),
        ("œuf\t1 2 a\nà\ta\n", "1 2 a"), ("œuf 1 9 f\nà 0 a\n", "9 f"), ("œuf\t1\t9 f\nà\ta\n", "9 f"),
        ("œuf 1 0.5 1 0.3 9 f\nà a\n", "9 f"), ("œuf 5 4\n", "5 4"),
    ],
)  # fmt: skip
def test_numbers_are_probabilities_or_phones(content: str, phones: str, tmp_path: Path) -> None:
    assert by_lexicon(tmp_path, content, "œuf") == phones.split()


@pytest.mark.parametrize(
    "line", ["tab\tt a b\ttˤ a b", "tab\tNOUN\tt a b", "tab\tt a b, t o b", "tab,t a b", "tab;t a b", "tab\tt a b\t120"]
)
def test_what_is_not_a_word_and_its_phones_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2 is not word<TAB>phones"):
        by_lexicon(tmp_path, f"to\tt o\n{line}\n", "to")


def test_entries_with_marks_and_spaces_and_the_longest_first(tmp_path: Path) -> None:
    content = "new york\tn j\nnew\tn\nyork\tj\nl'\tl\nami\ta m i\nwell\tw\nknown\tk\nrock'n'roll\tr\n"
    assert by_lexicon(tmp_path, content, "New York, new ... york") == ["n", "j", "n", "j"]
    assert by_lexicon(tmp_path, content, "L’ami well-known rock’n’roll") == ["l", "a", "m", "i", "w", "k", "r"]
    assert by_lexicon(tmp_path, "don't\td\n", "don’t DON'T", normalise="published") == ["d", "d"]


def test_several_pronunciations(tmp_path: Path) -> None:
    (tmp_path / "lexicon").write_text("le\t0.9\tl ə\nle\t0.1\tl\nnez\tn e\n")
    words = pronounce_words("le nez", G2P(None, lexicon=read_lexicon(tmp_path / "lexicon")))
    assert words == [("le", [["l", "ə"], ["l"]]), ("nez", [["n", "e"]])]


@pytest.mark.parametrize(
    ("sentence", "language"), [("Les amis, 3.14 et l'eau", "fr-fr"), ("Бала мектепке барды", "ky")]
)
def test_words_of_a_sentence_have_its_phones(sentence: str, language: str) -> None:
    rule = G2P(language)
    words = pronounce_words(sentence, rule)
    assert [phone for _, said in words for phone in said[0]] == pronounce([sentence], rule)[0].phones
    assert len(words) == len(sentence.split())
    assert all(said[0] for _, said in words)


def test_phones_written_without_spaces(tmp_path: Path) -> None:
    content = "дом\tdom\nкот\tkʰaː\nчай\tt͡ʃaj\n"
    with pytest.raises(UserError, match="each word as one phone") as refused:
        by_lexicon(tmp_path, content, "дом")
    assert "phonemes.segment true" in refused.value.remedy
    for others in ("ma\tma\nna\tna\n", "od\to d\nmot\tm o t\ndom\tdom\n"):
        with pytest.raises(UserError, match="each word as one phone"):
            by_lexicon(tmp_path, others, "a")
    assert by_lexicon(tmp_path, "od\to d\nmot\tm o t\nja\ttʃa\n", "ja") == ["tʃa"]
    pytest.importorskip("panphon")
    assert by_lexicon(tmp_path, content, "дом кот чай", segment=True) == ["d", "o", "m", "kʰ", "aː", "t͡ʃ", "a", "j"]


def test_tables_of_letters(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("sch\tʃ\ns\tz\nch\tx\nu\tuː\nl\tl\ne\tə\nh\t\n", encoding="utf-8")
    table = read_letters(tmp_path / "table")
    assert spell("Schule", table) == (["ʃ", "uː", "l", "ə"], "")
    assert spell("uhu", table) == (["uː", "uː"], "")
    assert spell("dusel", table) == (["uː", "z", "ə", "l"], "d")
    (tmp_path / "table").write_text("a\ta\nh\nbb b\n\tx\nA\tɑ\na\ta\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 3, 4, 5 is not letters"):
        read_letters(tmp_path / "table")


@pytest.fixture
def epitran(monkeypatch: pytest.MonkeyPatch) -> None:
    """epitran builds panphon's table anew, twice for each language; here it copies one that is there."""
    pytest.importorskip("epitran")
    table = feature_table()
    monkeypatch.setattr(type(table), "__init__", lambda self: vars(self).update(vars(table)))


@pytest.mark.usefixtures("epitran")
def test_epitran() -> None:
    rule = G2P.from_config(PhonemesConfig(labels="epitran", language="kaz-Cyrl"), "kk")
    assert pronounce(["Бала, мектеп!"], rule)[0].phones[:4] == ["b", "ɑ", "l", "ɑ"]
    said = pronounce(["Бала 5 %, hello", "п'ять бала-бала"], rule)
    assert said[0].fault == "characters that epitran cannot read: 5 % h e l o"
    assert said[1].fault == "characters that epitran cannot read: ь"
    assert not said[0].phones
    with pytest.raises(UserError, match="epitran has no language"):
        G2P.from_config(PhonemesConfig(labels="epitran", language="xx-Latn"), None)


@pytest.mark.parametrize(
    ("name", "sentence", "phones"),
    [
        ("tur-Latn", "Irmak IŞIK İzmir", "ɯ ɾ m a k ɯ ʃ ɯ k i z m i ɾ"), ("ukr-Cyrl", "п’ять-п'ять", "p ɑ tʲ p ɑ tʲ"),
        ("yor-Latn", "ọjọ́", "ɔ d͡ʒ ɔ́"), ("hin-Deva", "रा\u200cम क्\u200dष", "r aː m ə k ʂ ə"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("epitran")
def test_epitran_reads_words_as_their_script_and_language_have_them(name: str, sentence: str, phones: str) -> None:
    rule = G2P.from_config(PhonemesConfig(labels="epitran", language=name), None)
    assert pronounce([sentence], rule)[0].phones == phones.split()


def test_phone_columns() -> None:
    column = ["/ˈt͡ʃa", "|", "n", "o/", "#", "mo|to"]
    assert column_rule(PhonemesConfig(labels="column"))(column) == ["t͡ʃa", "n", "o", "mo", "to"]
    assert column_rule(PhonemesConfig(labels="column", stress=True))(column)[0] == "ˈt͡ʃa"
    notes = check_column([column], PhonemesConfig(labels="column"))
    assert any("| (2 ×), # (1 ×)" in note for note in notes)
    assert any("stress of 1" in note for note in notes)
    with pytest.raises(UserError, match="many without spaces"):
        check_column([["olamundo", "kasa"]], PhonemesConfig(labels="column"))
    column = ["sil", "(o", "l)", "<eps>", "∥", "a", "SIL", "(en)", "olam"]
    assert column_rule(PhonemesConfig(labels="column"))(column) == ["o", "l", "a", "(en)", "olam"]
    notes = check_column([column], PhonemesConfig(labels="column"))
    assert any("sil (1 ×), <eps> (1 ×), ∥ (1 ×), SIL (1 ×)" in note for note in notes)
    assert any("brackets around 2 phones" in note for note in notes)
    assert any("more than 3 letters: olam (1 ×)" in note for note in notes)


@pytest.mark.parametrize(
    ("phone", "parts"),
    [
        ("a5", ["a", "5"]),
        ("a˥˧", ["a", "˥˧"]),
        ("iɛɜ", ["iɛ", "ɜ"]),
        ("ɜː", ["ɜː"]),
        ("t", ["t"]),
        ("á", ["a", "˦"]),
        ("ɔ̃̀ː", ["ɔ̃ː", "˨"]),
        ("e᷅", ["e", "˩˧"]),
        ("m̌", ["m", "˩˥"]),
        ("č", ["č"]),
        ("ã", ["ã"]),
    ],  # fmt: skip
)
def test_tones(phone: str, parts: list[str]) -> None:
    assert split_tone(phone, "token") == parts
    assert split_tone(phone, "vowel") == [phone]


@pytest.mark.parametrize(
    ("language", "sentence", "unread"),
    [
        ("ja", "わたしは学生", "学生"), ("ru", "слово 漢字 ещё", "漢字"), ("hi", "भारत Москва", "Москва"),
        ("ar", "سؤال أحمد ماء", ""), ("fr-fr", "été où œuvre", ""), ("ko", "우리는 漢", "漢"), ("cmn", "我们学习", ""),
        ("el", "ωραία ώρα", ""), ("th", "ฉันไปโรงเรียน", ""), ("el", "δέλτα έψιλον ω", ""),
        ("en-us", "the Москва of я", "Москва"), ("lt", "ναι καλημέρα", "ναικλημέρ"), ("ru", "мвд ссср мгу", ""),
        # In hexadecimal: within a word, alone, as a mark, in another voice.
        ("ky", "солʹ бала", "лʹ"), ("en-us", "the ⱡ of kaⱡa", "ⱡ"), ("fr-fr", "nước", "ướ"), ("ky", "e̱a", "\u0331"),
        ("de", "ҕ", "ҕ"), ("en-us", "soˈld ˈ", "ˈ"), ("ru", "за́мок", ""), ("fr-fr", "naïve x² § 5", "§"),
        # Pictures, but no signs that are spoken.
        ("en-us", "hi 😀there", "😀"), ("ky", "❤️ бала ☺", "❤☺"), ("fr-fr", "oui 🇫🇷 👍🏽", "🇫🇷👍🏽"),
        ("ru", "5 € и 20 °C, 3 % №", "€°"), ("cmn", "$5", "$"),
        ("fr-fr", "5 ≤ ∞ =a=", "≤∞"), ("tr", "a@b", "@"), ("en-us", "5 ≤ 6 ∞ a@b", ""),
        ("en-us", "a → b", "→"), ("en-us", "20 °C © ™ ½ 3 × 4 5 € №", ""), ("en-us", "♪ la ★ ♪", ""),
    ],
)  # fmt: skip
def test_characters_that_espeak_names(language: str, sentence: str, unread: str) -> None:
    assert unreadable_characters([sentence], language) == [unread]


@pytest.mark.parametrize(
    ("language", "phrase"),
    [("ko", "하늘은 파랗게 "), ("cmn", "我们今天去学校"), ("ja", "わたしはがくせいです"), ("th", "ฉันไปโรงเรียน")],
)
def test_long_lines_are_spoken_to_their_end(language: str, phrase: str) -> None:
    short, long = pronounce([phrase * 2, phrase * 40], G2P(language))
    assert len(long.phones) == pytest.approx(20 * len(short.phones), rel=0.05)


def test_words_that_hang_on_the_rule() -> None:
    words = differing_words(["l'ami l'ami, don", "l'eau pure"], G2P("fr-fr", code="fr"))
    assert [(word, count) for word, count, *_ in words] == [("l'ami", 2), ("l'eau", 1)]
    assert words[0][2] == ["l", "a", "m", "i"]


def test_what_other_dictionaries_write_around_phones(tmp_path: Path) -> None:
    file = tmp_path / "lexicon.txt"
    file.write_text(
        "word\tphones\n!SIL SIL\n<UNK> SPN\n[laugh] LAU\nhi\t/h a j/\nyo\t[j o]\nba\tb a . ˈb a\n"
        "d'artagnan D AH R T # foreign french\nhe .5 h e\nho -0.3 h o\nhu 0,5 h u\n",
        encoding="utf-8",
    )
    lexicon = read_lexicon(file)
    found = {word: lexicon.get(word) for word in ("hi", "yo", "ba", "d'artagnan", "he", "ho", "hu", "laugh", "sil")}
    assert found == {
        "hi": (("h", "a", "j"),),
        "yo": (("j", "o"),),
        "ba": (("b", "a", "b", "a"),),
        "d'artagnan": (("D", "AH", "R", "T"),),
        "he": (("h", "e"),),
        "ho": (("h", "o"),),
        "hu": (("h", "u"),),
        "laugh": None,
        "sil": None,
    }
    assert read_lexicon(file, stress=True).get("ba") == (("b", "a", "ˈb", "a"),)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("l&#39;ami", "l'ami"), ("don&apos;t &amp; go", "don't & go"), ("كــتاب", "كتاب"), ("объʹявление", "объ'явление")],
)
def test_what_is_written_round_about_is_read_as_meant(text: str, plain: str) -> None:
    assert normalise_sentence(text) == normalise_sentence(plain)
