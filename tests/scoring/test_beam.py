"""Phone n-grams and beam search."""

from __future__ import annotations

import importlib.util
import json
import math

import numpy as np
import pytest
import torch

from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring.beam import BeamSettings, load_search, make_search, tune, write_settings
from unispeech_ft.scoring.greedy import collapse
from unispeech_ft.scoring.ngram import END, UNKNOWN, arpa, count_grams, probabilities

needs_flashlight = pytest.mark.skipif(
    importlib.util.find_spec("flashlight") is None, reason="flashlight-text is not installed (extra: beam)"
)
SAID = [["t[", "a", "tʃ"], ["t[", "a", "a"], ["tʃ", "a"]] * 4
PHONES = ["t[", "a", "tʃ"]


def chance(found, weights, history, word):
    gram = (*history, word)
    if gram in found[len(history)]:
        return found[len(history)][gram]
    return weights.get(history, 1.0) * chance(found, weights, history[1:], word)


def test_every_history_has_a_whole_distribution():
    found, weights = probabilities(count_grams(SAID, 3))
    words = [*PHONES, END, UNKNOWN]
    for history in [(), ("t[",), ("a",), ("t[", "a"), ("<s>", "t["), ("a", "a"), ("tʃ", "tʃ")]:
        assert sum(chance(found, weights, history, word) for word in words) == pytest.approx(1.0)
    assert chance(found, weights, ("<s>",), "t[") > chance(found, weights, ("<s>",), "a")


def test_arpa_is_complete():
    text = arpa(SAID, 2)
    lines = text.splitlines()
    assert lines[1:3] == [
        f"ngram 1={3 + 3}",
        f"ngram 2={sum(line.count(' ') == 1 and chr(9) in line for line in lines)}",
    ]
    found, _ = probabilities(count_grams(SAID, 2))
    (line,) = (line for line in lines if line.split("\t")[1:2] == ["t[ a"])
    assert float(line.split("\t")[0]) == pytest.approx(math.log10(found[1]["t[", "a"]), abs=1e-6)
    with pytest.raises(UserError, match="no phones"):
        arpa([[], []], 2)


@pytest.fixture
def tokenizer() -> PhoneTokenizer:
    return PhoneTokenizer.from_inventory(PHONES, "transformers")


def frames(tokenizer, *rows):
    """Log posteriors of frames, each a dictionary of phones ("" is the blank) to probabilities."""
    values = np.full((len(rows), len(tokenizer.tokens)), 1e-6)
    for place, row in enumerate(rows):
        for phone, probability in row.items():
            values[place, tokenizer.ids[phone] if phone else tokenizer.blank_id] = probability
    return np.log(values / values.sum(axis=1, keepdims=True)).astype(np.float32)


UNSURE = ({"t[": 0.9, "": 0.1}, {"": 1.0}, {"tʃ": 0.5, "a": 0.45}, {"": 0.9}, {"tʃ": 0.6, "a": 0.3})


@needs_flashlight
def test_the_n_gram_decides_where_the_frames_do_not(tokenizer, tmp_path):
    (tmp_path / "phones.arpa").write_text(arpa(SAID, 3), encoding="utf-8")
    heard = frames(tokenizer, *UNSURE)
    greedy = tokenizer.decode(collapse(heard.argmax(axis=1), tokenizer.blank_id, tokenizer.special_ids))
    assert greedy == ["t[", "tʃ", "tʃ"]
    for weight, expected in ((0.0, greedy), (1.0, ["t[", "a", "tʃ"])):
        write_settings(tmp_path, BeamSettings(3, weight, 0.0))
        search, settings = load_search(tmp_path, tokenizer)
        assert tokenizer.decode(search(heard)) == expected
        assert f"weight {weight:g}" in settings.rule
    assert search(heard[:0]) == []


@needs_flashlight
def test_without_a_weight_it_finds_the_greedy_phones(tokenizer, tmp_path):
    (tmp_path / "phones.arpa").write_text(arpa(SAID, 3), encoding="utf-8")
    search = make_search(
        tmp_path / "phones.arpa", BeamSettings(3, 0, 0), tokenizer.tokens, tokenizer.blank_id, tokenizer.special_ids
    )
    random = np.random.default_rng(0)
    for _ in range(20):
        concentration = np.full(len(tokenizer.tokens), 0.1)
        concentration[sorted(tokenizer.special_ids - {tokenizer.blank_id})] = 1e-9
        sure = np.log(random.dirichlet(concentration, 40) + 1e-8).astype(np.float32)
        assert search(sure) == collapse(sure.argmax(axis=1), tokenizer.blank_id, tokenizer.special_ids)


@needs_flashlight
def test_it_finds_what_torchaudios_decoder_finds(tokenizer, tmp_path):
    decoders = pytest.importorskip("torchaudio.models.decoder")
    (tmp_path / "phones.arpa").write_text(arpa(SAID, 3), encoding="utf-8")
    rows, blank = tokenizer.tokens, tokenizer.blank_id
    (tmp_path / "rows.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    search = make_search(tmp_path / "phones.arpa", BeamSettings(3, 0.7, 0), rows, blank, [])
    oracle = decoders.ctc_decoder(
        lexicon=None,
        tokens=list(rows),
        lm=str(tmp_path / "phones.arpa"),
        lm_dict=str(tmp_path / "rows.txt"),
        beam_size=20,
        beam_threshold=20.0,
        lm_weight=0.7,
        blank_token=rows[blank],
        sil_token=rows[blank],
    )
    random = np.random.default_rng(0)
    for _ in range(20):
        unsure = np.log(random.dirichlet(np.full(len(rows), 0.5), 40) + 1e-8).astype(np.float32)
        assert search(unsure) == [x for x in oracle(torch.from_numpy(unsure)[None])[0][0].tokens.tolist() if x != blank]


@needs_flashlight
def test_weights_are_those_of_the_least_error(tokenizer, tmp_path):
    (tmp_path / "phones.arpa").write_text(arpa(SAID, 3), encoding="utf-8")

    def make(settings):
        return make_search(
            tmp_path / "phones.arpa", settings, tokenizer.tokens, tokenizer.blank_id, tokenizer.special_ids
        )

    heard = frames(tokenizer, *UNSURE)
    best, trials = tune(make, [(heard, tokenizer.encode(["t[", "a", "tʃ"]))], 3)
    assert best.lm_weight > 0
    assert min(per for _, per in trials) == next(per for settings, per in trials if settings == best) == 0
    best, _ = tune(make, [(heard, tokenizer.encode(["t[", "tʃ", "tʃ"]))], 3)
    assert (best.lm_weight, best.blank_penalty) == (0, 0)


@needs_flashlight
def test_commands(command, small_config, small_run, spoken_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("ngram", small_run.model_dir, tmp_path / "lm", "--config", small_config, "--order", "2")
    assert status == 0, err
    assert len(out.splitlines()) >= 20
    words = ["evaluate", small_run.model_dir, "--config", small_config, "--split", "test"]
    status, out, err = command(*words, "--beam", tmp_path / "lm", "--output", tmp_path / "out")
    assert status == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["scoring"].startswith("Beam search")
    clip = next((spoken_corpus / "ky" / "clips").glob("*.mp3"))
    status, out, err = command("transcribe", small_run.model_dir, clip, "--json", "--beam", tmp_path / "lm")
    assert status == 0, err
    assert json.loads(out)["phones"]
    status, _, err = command("transcribe", small_run.model_dir, clip, "--beam", tmp_path)
    assert status == 2
    assert "unispeech-ft ngram" in err
