import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, inventory, load_tokenizer, save_tokenizer

PHONES = ["a", "aː", "d[", "tʃ", "ɑ̃", "t", "ʃ", "N", "j"]
LAYOUTS = ["transformers", "original"]
symbols = st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=3).filter(
    lambda text: text.split() == [text] and text not in ("|", "<s>")
)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=st.data())
def test_any_phones_come_back(layout, data):
    phones = data.draw(st.lists(symbols, min_size=1, unique=True))
    tokenizer = PhoneTokenizer.from_inventory(phones, layout)
    utterance = data.draw(st.lists(st.sampled_from(phones)))
    assert tokenizer.decode(tokenizer.encode(utterance)) == utterance
    assert tokenizer.phones == phones
    assert len(tokenizer.tokens) == len(phones) + 4
    assert tokenizer.blank_id not in tokenizer.encode(utterance)


def test_layouts():
    ours = PhoneTokenizer.from_inventory(["a", "b"], "transformers")
    theirs = PhoneTokenizer.from_inventory(["a", "b"], "original")
    assert (ours.tokens, ours.blank_id) == (("<pad>", "<s>", "</s>", "<unk>", "a", "b"), 0)
    assert (theirs.tokens, theirs.blank_id) == (("a", "b", "<s>", "<pad>", "</s>", "<unk>"), 2)
    for tokenizer in (ours, theirs):
        assert tokenizer.decode([tokenizer.blank_id, tokenizer.ids["a"], tokenizer.ids["<unk>"]]) == ["a"]


def test_inventory_is_sorted():
    assert inventory([["b", "a"], [], ["tʃ", "a"]]) == ["a", "b", "tʃ"]


@pytest.mark.parametrize("phones", [["<pad>"], ["<s>"], ["a b"], [""], ["a", "a"], ["a\u00a0b"], [" a"]])
def test_what_cannot_be_a_phone(phones):
    with pytest.raises(UserError, match="cannot be phones") as caught:
        PhoneTokenizer.from_inventory(phones, "transformers")
    assert caught.value.remedy


@pytest.mark.parametrize("phones", [["x"], ["<pad>"], ["a", "x"]])
def test_phones_outside_the_inventory(phones):
    with pytest.raises(UserError, match=phones[-1]):
        PhoneTokenizer.from_inventory(PHONES, "transformers").encode(phones)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_tokenizers(layout, tmp_path):
    from transformers import AutoTokenizer, Wav2Vec2PhonemeCTCTokenizer

    tokenizer = PhoneTokenizer.from_inventory(PHONES, layout)
    save_tokenizer(tokenizer, tmp_path)
    assert load_tokenizer(tmp_path) == tokenizer
    utterance = ["tʃ", "t", "ʃ", "a", "a", "aː", "d[", "d[", "ɑ̃", "N", "j"]
    ids = tokenizer.encode(utterance)
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), Wav2Vec2PhonemeCTCTokenizer.from_pretrained(tmp_path)):
        assert type(loaded).__name__ == "Wav2Vec2PhonemeCTCTokenizer"
        assert loaded.decode(ids, group_tokens=False).split(" ") == utterance
        assert loaded.pad_token_id == tokenizer.blank_id
        assert (loaded.pad_token, len(loaded)) == (tokenizer.blank_token, len(tokenizer.tokens))
        frames = [tokenizer.blank_id, ids[0], ids[0], tokenizer.blank_id, ids[0]]
        assert loaded.decode(frames).split(" ") == ["tʃ", "tʃ"]


def test_folders_without_a_usable_tokenizer(tmp_path):
    assert load_tokenizer(tmp_path) is None
    (tmp_path / "vocab.json").write_text(json.dumps({"fr": {"a": 0}}))
    with pytest.raises(UserError, match="several vocabularies"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0}))
    with pytest.raises(UserError, match="pad token"):
        load_tokenizer(tmp_path)
