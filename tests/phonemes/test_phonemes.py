import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unispeech_ft.config.sections import PhonemesConfig
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes import espeak
from unispeech_ft.phonemes.espeak import espeak_language, espeak_phones, espeak_version, supported_languages
from unispeech_ft.phonemes.g2p import G2P, pronounce, unknown_words
from unispeech_ft.phonemes.lexicon import read_lexicon
from unispeech_ft.phonemes.normalise import normalise_sentence
from unispeech_ft.phonemes.notation import ipa_phone, phone_map

# espeakng-loader 0.2.4 lists these voices, but ships no dictionaries for them.
WITHOUT_DICTIONARY = {"fo", "kaa", "xex"}


def phones(sentence, **rule):
    return pronounce([sentence], G2P(**rule))[0].phones


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("l'été—c’est-à-dire  «OK» !", "l été c est à dire OK"),
        ("a_b\u200dc\u00add", "a b c d"),
        ("e\u0301te\u0301", "été"),
        ("a\u2028b\tc\r", "a b c"),
        ("5 % + 3 = 8 €", "5 + 3 = 8 €"),
        ("…¿?", ""),
        ("", ""),
    ],
)
def test_published_rule(raw, normal):
    assert normalise_sentence(raw, rule="published") == normal


@pytest.mark.parametrize(
    ("raw", "language", "normal"),
    [
        ("l\u2019été—c\u02bcest-à-dire  «OK» !", "fr", "l'été c'est-à-dire OK"),
        ("Wort\u00adtrennung Auf\u200clage a\u200bb\u2060c\ufeff", "de", "Worttrennung Auflage abc"),
        ("می\u200cخواهم", "fa", "می\u200cخواهم"),
        ("ไป\u200bไหน", "th", "ไป ไหน"),
        ("3.14, 1,000; 12:30 – 5–6 (-5)!", "en", "3.14 1,000 12:30 5–6 -5"),
        ("50% AT&T 5 € foo@bar.com", "en", "50% AT&T 5 € foo@bar.com"),
        ("U.S.A. und z.B. am 3. Mai. Ende.", "de", "U.S.A. und z.B. am 3. Mai Ende"),
        ("２０２６ ﬁn ½ m² 1º ทำ", "en", "2026 fin ½ m² 1º ทำ"),
        ("'yes' 't huis, un po' d'acqua rock 'n' roll", "en", "yes 't huis un po' d'acqua rock n roll"),
        ("你好，世界。", "zh-CN", "你好 世界"),
        ("col·legi • x", "ca", "col·legi x"),
        ("ÖĞLE IŞIK İZMİR", "tr", "öğle ışık izmir"),
        ("ΟΔΟΣ ΑΒΓ", "el", "οδος αβγ"),
        ("USA", "en", "USA"),
        ("A::B U", "en", "a b u"),
        ("DIE STRAßE 1º", "de", "die straße 1º"),
        ("The USA won", "en", "The USA won"),
        ("e\u0301te\u0301…¿?", None, "été"),
        ("ŉ ἀλλ᾽ ᾿αλλ Ꞌa", "af", "'n ἀλλ' 'αλλ 'a"),
        ("ｶﾞﾗｽ ﾊﾟﾝ", "ja", "ガラス パン"),
        ("٣٫١٤ ١٬٠٠٠ ٪٥٠", "ar", "٣.١٤ ١٬٠٠٠ %٥٠"),
        ("۳٫۱۴", "fa", "۳٫۱۴"),
        ("Καλά· ναι", "el", "Καλά ναι"),
        ("ինչպե՞ս, Բարեւ՛", "hy", "ինչպես Բարեւ"),
        ('צה"ל אמר "שלום"', "he", "צה״ל אמר שלום"),
        ("ISPARTA IŞIK", "tur-Latn", "ısparta ışık"),
        ("", None, ""),
    ],
)
def test_text_rule(raw, language, normal):
    assert normalise_sentence(raw, language=language) == normal


def test_normalise_can_keep_punctuation():
    assert normalise_sentence("Oui,  l'été\u2028!", keep_punctuation=True) == "Oui , l'été !"


@given(st.text(), st.sampled_from(["text", "published"]))
@example("A::A", "text")
@example("1\u0640٫2", "text")
def test_normalise_gives_single_spaces_and_is_stable(text, rule):
    normal = normalise_sentence(text, rule=rule)
    assert normal == " ".join(normal.split())
    assert normalise_sentence(normal, rule=rule) == normal
    assert len(normal.splitlines()) <= 1


def test_phones_of_several_characters_stay_whole():
    assert phones("ciao", language="it") == ["tʃ", "a", "o"]
    assert "d[" in phones("дүйнө", language="ky")
    assert "ɑ̃" in phones("en", language="fr-fr")
    assert "ɑː" in phones("Wagen", language="de")


def test_language_flags():
    removed, kept = pronounce(["le football", "le monde"], G2P("fr-fr"))
    assert removed.phones == ["l", "ə", "f", "ʊ", "t", "b", "ɔː", "l"]
    dropped, same = pronounce(["le football", "le monde"], G2P("fr-fr", language_flags="drop"))
    assert (dropped.phones, dropped.fault) == ([], "read in another language (en)")
    assert same == kept


def test_order_and_number_of_sentences():
    sentences = ["uno", "", "…", "dos tres", "uno", "\u2028", "cinco mil"] * 40
    together = pronounce(sentences, G2P("es"))
    assert together == [pronounce([sentence], G2P("es"))[0] for sentence in sentences]
    assert [bool(item.phones) for item in together[:7]] == [True, False, False, True, True, False, True]
    assert all(bool(item.phones) is (item.fault is None) for item in together)
    assert pronounce([], G2P("es")) == []


def test_stress():
    assert any("ˈ" in phone for phone in phones("hola mundo", language="es", stress=True))
    assert not any("ˈ" in phone for phone in phones("hola mundo", language="es"))


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Bon, là !", ["b", "ɔ̃", ",", "l", "a", "!"]),
        ("(a) b", ["(", "a", ")", "b", "e"]),
        ("«a»", ["«", "a", "»"]),
    ],
)
def test_punctuation_marks_are_phones_of_their_own(sentence, expected):
    assert phones(sentence, language="fr-fr", punctuation=True) == expected


@pytest.mark.parametrize(
    ("code", "name"),
    [("fr", "fr-fr"), ("fr-fr", "fr-fr"), ("sv-SE", "sv"), ("zh-CN", "cmn"), ("zh-HK", "yue"), ("en", "en-us"),
     ("nn-NO", "nb"), ("no", "nb"), ("pt", "pt"), ("pt-BR", "pt-br"), ("ky", "ky"), ("kmr", "ku"), ("hy-AM", "hy")],
)  # fmt: skip
def test_language_names(code, name):
    assert espeak_language(code) == name


@pytest.mark.parametrize("code", ["klingonese", "xx", "", "ab"])
def test_unknown_languages(code):
    with pytest.raises(UserError, match="espeak-ng has no language") as caught:
        espeak_language(code)
    assert "phonemize --list" in caught.value.remedy


def test_every_language_speaks():
    assert len(supported_languages()) > 100
    silent = {name for name in supported_languages() if not phones("banana", language=name)}
    assert silent <= WITHOUT_DICTIONARY


def test_one_backend_serves_all_calls():
    espeak_phones(["uno"], "es")
    before = espeak._backend.cache_info()
    for _ in range(50):
        espeak_phones(["uno", "dos"], "es")
    after = espeak._backend.cache_info()
    assert (after.currsize, after.misses, after.hits) == (before.currsize, before.misses, before.hits + 50)
    assert espeak_version().split(".")[0].isdigit()


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "lexicon.tsv"
    path.write_text("\ufeffgo\tg oː\r\nTscha\ttʃ a\n\ngo\tx\nl'ou\tl u\nÉté\te t e\n", encoding="utf-8")
    return path


def test_lexicon(lexicon):
    words = read_lexicon(lexicon)
    assert words.entries == {
        "go": (("g", "oː"), ("x",)), "Tscha": (("tʃ", "a"),), "l'ou": (("l", "u"),), "Été": (("e", "t", "e"),),
    }  # fmt: skip
    assert phones("GO, tscha! été", language=None, lexicon=words) == ["g", "oː", "tʃ", "a", "e", "t", "e"]


def test_words_that_the_lexicon_lacks(lexicon):
    rule = G2P(None, lexicon=read_lexicon(lexicon))
    results = pronounce(["go xu", "go", "xu ga xu", ""], rule)
    assert [item.phones for item in results] == [[], ["g", "oː"], [], []]
    assert unknown_words(item.fault for item in results) == {"xu": 3, "ga": 1}


def test_lexicon_fallback(lexicon):
    words = read_lexicon(lexicon)
    with_espeak = G2P("es", lexicon=words, lexicon_fallback=True)
    assert pronounce(["go uno"], with_espeak)[0].phones == ["g", "oː", *phones("uno", language="es")]


def test_lexicon_fallback_drops_sentences_in_another_language(lexicon):
    rule = G2P("fr-fr", lexicon=read_lexicon(lexicon), lexicon_fallback=True, language_flags="drop")
    assert pronounce(["go football"], rule)[0].phones == []


def test_lexicon_fallback_maps_phones_once(lexicon):
    rule = G2P("es", lexicon=read_lexicon(lexicon), lexicon_fallback=True, map_phone=lambda phone: (f"<{phone}>",))
    assert pronounce(["uno"], rule)[0].phones == ["<u>", "<n>", "<o>"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"go\n", "line 1 is not word"),
        (b"a\tb\nc\t\n\td\n", "line 2, 3 is not"),
        (b"\n", "is empty"),
        (b"\xff", "UTF-8"),
    ],
)
def test_malformed_lexicons(tmp_path, content, message):
    (tmp_path / "lexicon").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_lexicon(tmp_path / "lexicon")
    with pytest.raises(UserError, match="cannot be read"):
        read_lexicon(tmp_path)


def test_phone_maps(tmp_path):
    assert [ipa_phone(phone) for phone in ("d[", "t[", "oe:", "N", "tʃ", "aː", "i:")] == [
        "d̪", "t̪", "øː", "ŋ", "tʃ", "aː", "iː",
    ]  # fmt: skip
    path = tmp_path / "map"
    path.write_text("tʃ\tt ʃ\nə\t\n\n", encoding="utf-8")
    mapping = phone_map(str(path))
    assert [list(mapping(phone)) for phone in ("tʃ", "ə", "a")] == [["t", "ʃ"], [], ["a"]]
    assert list(phone_map("none")("d[")) == ["d["]
    path.write_text("a b\tc\n", encoding="utf-8")
    for name, message in ((str(path), "line 1 is not phone"), (str(tmp_path / "none"), "cannot be read")):
        with pytest.raises(UserError, match=message):
            phone_map(name)


def test_rule_of_a_configuration(lexicon):
    rule = G2P.from_config(PhonemesConfig(map="ipa", stress=True, language_flags="drop"), "sv-SE")
    assert (rule.language, rule.lexicon, rule.stress, rule.language_flags) == ("sv", None, True, "drop")
    assert list(rule.map_phone("d[")) == ["d̪"]
    assert G2P.from_config(PhonemesConfig(language="fr-be"), "fr").language == "fr-be"
    only_lexicon = G2P.from_config(PhonemesConfig(labels="lexicon", lexicon=str(lexicon)), "unwritten")
    assert only_lexicon.language is None
    with pytest.raises(UserError, match="no language"):
        G2P.from_config(PhonemesConfig(labels="lexicon", lexicon=str(lexicon), lexicon_fallback=True), "unwritten")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(), max_size=6))
def test_any_text_keeps_its_place(sentences):
    results = pronounce(sentences, G2P("ky"))
    assert len(results) == len(sentences)
    assert results == [pronounce([sentence], G2P("ky"))[0] for sentence in sentences]
    assert all(phone.split() == [phone] for item in results for phone in item.phones)
