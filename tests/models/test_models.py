"""All families: the toolkit's path through a model is the stock one, padding changes nothing, heads are taken over by
phone, the extractor stays frozen, and what is exported says how it was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCTC, AutoProcessor

from unispeech_ft.config.sections import DataConfig, MaskConfig, ModelConfig
from unispeech_ft.data.audio import normalise_waveform
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import Batch, TrainingSet
from unispeech_ft.data.prepare import PreparedAudio, prepare_audio
from unispeech_ft.data.row import Row, lay_out, row_of
from unispeech_ft.data.utterances import Corpus, Utterance
from unispeech_ft.errors import UserError
from unispeech_ft.models import forward
from unispeech_ft.models.build import BuiltModel, build_model
from unispeech_ft.models.families import backbone
from unispeech_ft.models.feature_cache import cache_features
from unispeech_ft.models.forward import ctc_loss_sum, encode, head
from unispeech_ft.models.saving import save_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, save_tokenizer
from unispeech_ft.randomness import kept_layers
from unispeech_ft.tasks.ctc_phoneme import task as ctc
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.training import step
from unispeech_ft.training.task import UpdateShare

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "vocab_size": 8,
}
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": [16, 16],
    "conv_kernel": [10, 8],
    "conv_stride": [20, 16],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
BASE = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
FAMILIES = ("unispeech", "unispeech-sat", "wavlm", "wav2vec2", "hubert")
SHAPES = {
    f"{family}-{name}": (family, shape) for family in FAMILIES for name, shape in (("large", LARGE), ("base", BASE))
}
KINDS = [*SHAPES, "wav2vec2-bert"]
LENGTHS = (16_000, 9_321, 4_000)
OLD_PHONES, NEW_PHONES = ["a", "b", "tʃ", "aː"], ["aː", "b", "d", "ʃ", "tʃ"]


def small_config(kind: str) -> Any:
    if kind == "wav2vec2-bert":
        return AutoConfig.for_model(kind, **SMALL, feature_projection_input_dim=160)
    family, shape = SHAPES[kind]
    return AutoConfig.for_model(family, **SMALL, **CONVOLUTIONS, **shape)


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """kind → the folder of a small random model with a head for OLD_PHONES, made once."""
    root = tmp_path_factory.mktemp("bases")

    def make(kind: str) -> Path:
        folder = root / kind
        if not folder.exists():
            torch.manual_seed(3)
            tokenizer = PhoneTokenizer.from_inventory(OLD_PHONES, "transformers")
            network = AutoModelForCTC.from_config(small_config(kind))
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            network.save_pretrained(folder)
            save_tokenizer(tokenizer, folder)
        return folder

    return make


def built(folder: Path, *, phones: list[str] = OLD_PHONES, layout: str = "transformers", **sections: Any) -> BuiltModel:
    tokenizer = PhoneTokenizer.from_inventory(phones, layout)  # type: ignore[arg-type]
    model = ModelConfig(base=str(folder), **sections.get("model", {}))
    return build_model(
        model, MaskConfig(**sections.get("mask", {})), DataConfig(**sections.get("data", {})), tokenizer, seed=5
    )


def clips() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(0.1 * random.normal(size=length)).astype(np.float32) for length in LENGTHS]


@torch.no_grad()
def our_logits(model: BuiltModel, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
    """Logits of some clips that pass through the encoder as one row."""
    model.model.eval()
    row = row_of([model.front_end(waveform).cpu().numpy() for waveform in waveforms])
    return list(head(model.model, encode(model.model, row)).split(row.num_frames))


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_clip_gives_the_stock_models_logits(kind: str, base_of: Callable[[str], Path]) -> None:
    model = built(base_of(kind))
    stock = AutoModelForCTC.from_pretrained(base_of(kind)).eval()
    for waveform in clips():
        [ours] = our_logits(model, [waveform])
        if kind == "wav2vec2-bert":
            from transformers import SeamlessM4TFeatureExtractor

            extractor = SeamlessM4TFeatureExtractor(feature_size=80, stride=2)
            inputs = dict(extractor(waveform, sampling_rate=16_000, return_tensors="pt"))
        else:
            assert model.front_end.normalize == kind.endswith("large")
            samples = normalise_waveform(waveform, 1e-5) if model.front_end.normalize else waveform
            inputs = {"input_values": torch.from_numpy(samples)[None]}
        with torch.no_grad():
            expected = stock(**inputs).logits[0]
        assert model.front_end.num_frames(len(waveform)) == len(ours)
        torch.testing.assert_close(ours, expected[: len(ours)], rtol=1e-5, atol=1e-5)
        assert len(expected) - len(ours) <= (kind == "wav2vec2-bert")


@pytest.mark.parametrize("length", [16_000, 16_161, 16_240, 16_319, 4_000, 720, 721, 879])
def test_filter_bank_frames_are_as_many_as_announced(length: int, base_of: Callable[[str], Path]) -> None:
    front_end = built(base_of("wav2vec2-bert")).front_end
    waveform = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
    assert tuple(front_end(waveform).shape) == (front_end.num_frames(length), front_end.num_channels)


def test_filter_banks_as_they_are_would_be_others_in_plain_transformers(base_of: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="plain Transformers normalises"):
        built(base_of("wav2vec2-bert"), data={"normalize": False})


@pytest.mark.parametrize("kind", KINDS)
def test_company_changes_nothing(kind: str, base_of: Callable[[str], Path]) -> None:
    model = built(base_of(kind))
    together = our_logits(model, clips())
    for waveform, row in zip(clips(), together, strict=True):
        [alone] = our_logits(model, [waveform])
        torch.testing.assert_close(row, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["unispeech-large", "wavlm-base", "wav2vec2-bert"])
def test_what_is_masked_has_no_influence(kind: str, base_of: Callable[[str], Path]) -> None:
    network = built(base_of(kind)).model.eval()
    features = torch.randn(50, 160 if kind == "wav2vec2-bert" else 16)
    masked = torch.zeros(50, dtype=torch.bool)
    masked[4:9] = masked[34:39] = True
    other = features.clone()
    other[masked] = 9.0
    layout = lay_out([30, 20])
    with torch.no_grad():
        plain = [encode(network, Row(values, layout)) for values in (features, other)]
        hidden = [encode(network, Row(values, layout, masked)) for values in (features, other)]
        channels = torch.zeros(2, 32, dtype=torch.bool)
        channels[0, 3:20] = True
        without = encode(network, Row(features, layout, None, channels))
    assert not torch.allclose(plain[0], plain[1], atol=1e-3)
    torch.testing.assert_close(hidden[0], hidden[1])
    assert not torch.allclose(hidden[0], plain[0], atol=1e-3)
    assert not torch.allclose(without[:30], plain[0][:30], atol=1e-3)
    torch.testing.assert_close(without[30:], plain[0][30:], rtol=1e-4, atol=1e-5)


# Heads


def test_rows_of_phones_that_both_heads_have_are_taken_over(base_of: Callable[[str], Path]) -> None:
    folder = base_of("unispeech-large")
    model = built(folder, phones=NEW_PHONES)
    old = AutoModelForCTC.from_pretrained(folder).lm_head
    before = PhoneTokenizer.from_inventory(OLD_PHONES, "transformers").ids
    after = PhoneTokenizer.from_inventory(NEW_PHONES, "transformers").ids
    assert (model.kept_rows, model.fresh_rows) == (4 + 3, 2)
    assert model.model.config.vocab_size == model.model.lm_head.out_features == 9
    for phone in ("<pad>", "aː", "b", "tʃ"):
        torch.testing.assert_close(model.model.lm_head.weight[after[phone]], old.weight[before[phone]], rtol=0, atol=0)
        torch.testing.assert_close(model.model.lm_head.bias[after[phone]], old.bias[before[phone]], rtol=0, atol=0)
    for phone in ("d", "ʃ"):
        row = model.model.lm_head.weight[after[phone]]
        assert not any(torch.equal(row, there) for there in old.weight)
        assert model.model.lm_head.bias[after[phone]] == 0
        assert row.std() > 0
    again = built(folder, phones=NEW_PHONES)
    assert torch.equal(again.model.lm_head.weight, model.model.lm_head.weight)


def test_the_blank_is_taken_over_by_the_blank_alone(base_of: Callable[[str], Path]) -> None:
    folder = base_of("unispeech-large")
    old = AutoModelForCTC.from_pretrained(folder).lm_head
    model = built(folder, layout="original")
    tokenizer = PhoneTokenizer.from_inventory(OLD_PHONES, "original")
    blank = old.weight[0]
    rows = [row for row, weight in enumerate(model.model.lm_head.weight) if torch.equal(weight, blank)]
    assert model.model.config.pad_token_id == tokenizer.blank_id == tokenizer.ids["<s>"]
    assert rows == [tokenizer.blank_id], "two rows that start as the blank would share its probability"


def test_a_model_without_a_tokenizer_gets_a_fresh_head(base_of: Callable[[str], Path], tmp_path: Path) -> None:
    network = AutoModelForCTC.from_pretrained(base_of("unispeech-large"))
    backbone(network).save_pretrained(tmp_path)
    model = built(tmp_path, phones=NEW_PHONES)
    assert (model.kept_rows, model.fresh_rows) == (0, 9)
    torch.testing.assert_close(
        backbone(model.model).state_dict()["feature_projection.projection.weight"],
        backbone(network).state_dict()["feature_projection.projection.weight"],
    )


def test_a_base_that_lacks_tensors_of_the_encoder(base_of: Callable[[str], Path], tmp_path: Path) -> None:
    source = base_of("unispeech-large")
    weights = load_file(source / "model.safetensors")
    fewer = {name: tensor for name, tensor in weights.items() if "layers.1." not in name}
    assert len(fewer) < len(weights)
    save_file(fewer, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    with pytest.raises(UserError) as refused:
        built(tmp_path)
    assert f"lacks {len(weights) - len(fewer)} tensors" in str(refused.value)
    assert "layers.1." in str(refused.value)


def test_bases_that_are_not_there_or_not_of_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="neither a local model folder nor"):
        built(tmp_path / "nothing")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    with pytest.raises(UserError, match="type 'bert'"):
        built(tmp_path)


# Freezing, layer drop, loss


def random_batch(model: BuiltModel, num_channels: int = 16) -> Batch:
    torch.manual_seed(0)
    return Batch(
        0,
        0,
        Row(torch.randn(70, num_channels), lay_out([40, 30]), torch.rand(70) < 0.2),
        torch.tensor([4, 5, 5, 6, 7]),
        (3, 2),
    )


def task_of(ready: BuiltModel, **settings: Any) -> ctc.CtcPhonemeTask:
    config = CtcPhonemeConfig.model_validate(settings)
    plan = BatchPlan(np.array([16_000] * 2), 6.0, 6.0, config.seed)
    training_set = TrainingSet(lambda index: np.zeros((1, 1)), [], 1, config.mask, config.seed)
    return ctc.CtcPhonemeTask(config, ready.model, plan, training_set, Accelerator(cpu=True))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_all_but_the_extractor(kind: str, base_of: Callable[[str], Path]) -> None:
    model = built(base_of(kind), model={"hidden_dropout": 0.0, "layerdrop": 0.0})
    network = model.model.train()
    batch = random_batch(model, 160 if kind == "wav2vec2-bert" else 16)
    assert not any(
        parameter.requires_grad for name, parameter in network.named_parameters() if "feature_extractor" in name
    )

    def reached(frozen: bool) -> set[str]:
        network.zero_grad(set_to_none=True)
        task = task_of(model, model={"layerdrop": 0.0}, schedule={"freeze_encoder_updates": int(frozen)})
        task.loss(0, batch).loss.backward()
        return {name for name, parameter in network.named_parameters() if parameter.grad is not None}

    assert reached(frozen=True) == {"lm_head.weight", "lm_head.bias"}
    whole = reached(frozen=False)
    assert not any("feature_extractor" in name for name in whole)
    assert {name for name in whole if "feature_projection" in name}
    assert {name for name in whole if "encoder.layers.2." in name}
    assert any("masked_spec_embed" in name for name in whole)


def test_layers_are_left_out_by_name() -> None:
    draws = [kept_layers(1, update, 12, 0.1, keep_first=False) for update in range(3_000)]
    share = 1 - np.mean([12 if kept is None else len(kept) for kept in draws]) / 12
    assert share == pytest.approx(0.1, abs=0.01)
    assert draws == [kept_layers(1, update, 12, 0.1, keep_first=False) for update in range(3_000)]
    assert draws != [kept_layers(2, update, 12, 0.1, keep_first=False) for update in range(3_000)]
    assert kept_layers(1, 0, 12, 0.0, keep_first=False) is None
    assert any(kept is not None and 0 not in kept for kept in draws)
    always = [kept_layers(1, update, 12, 0.9, keep_first=True) for update in range(300)]
    assert all(kept is None or (kept[0] == 0 and kept == sorted(kept)) for kept in always)


@pytest.mark.parametrize("kind", ["wavlm-large", "wavlm-base", "unispeech-large", "wav2vec2-bert"])
def test_heavy_layer_drop_trains(kind: str, base_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[int]] = []

    def noting(model: Any, row: Row, *, layers: Any = None) -> Any:
        ran.append(list(range(3)) if layers is None else list(layers))
        return encode(model, row, layers=layers)

    monkeypatch.setattr(forward, "encode", noting)
    settings = {"model": {"base": str(base_of(kind)), "layerdrop": 0.8}, "schedule": {"freeze_encoder_updates": 0}}
    model = built(base_of(kind), model={"layerdrop": 0.8})
    task = task_of(model, **settings)
    optimizer = task.accelerator.prepare(step.make_optimizer(model.model, task.config.optimizer))
    model.model.train()
    batch = random_batch(model, 160 if kind == "wav2vec2-bert" else 16)
    for number in range(12):
        before = {name: value.clone() for name, value in backbone(model.model).encoder.layers.state_dict().items()}
        update = UpdateShare(number, iter([batch]), 2, 0.0)
        result = step.run_update(task, optimizer, update, task.config.optimizer, 2e-7, 0, task.accelerator)
        assert torch.isfinite(result.loss)
        assert torch.isfinite(result.grad_norm)
        after = backbone(model.model).encoder.layers.state_dict()
        moved = {int(name.split(".")[0]) for name, value in after.items() if not torch.equal(value, before[name])}
        assert moved == set(ran[-1]), "a layer that did not run must not move"
    assert len(backbone(model.model).encoder.layers) == 3
    assert any(len(places) < 3 for places in ran)
    if kind.startswith("wavlm"):
        assert all(0 in places for places in ran)


def test_an_infeasible_clip_counts_nothing() -> None:
    logits = torch.randn(24, 6, requires_grad=True)
    labels = torch.tensor([4] * 8 + [1, 2, 3])
    loss = ctc_loss_sum(logits, lay_out([12, 12]), labels, (8, 3), blank=0)
    loss.backward()
    assert loss.item() == pytest.approx(ctc_loss_sum(logits[12:], lay_out([12]), labels[8:], (3,), 0).item())
    assert not logits.grad[:12].any()
    assert logits.grad[12:].any()


def test_the_loss_equals_the_sum_over_all_alignments() -> None:
    """Two frames, one label: −log(p(a a) + p(a blank) + p(blank a))."""
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]))
    loss = ctc_loss_sum(logits, lay_out([2]), torch.tensor([1]), (1,), blank=0)
    assert loss.item() == pytest.approx(-np.log(0.3 * 0.6 + 0.3 * 0.1 + 0.5 * 0.6))


# Front ends


@pytest.mark.parametrize(("kind", "normalized"), [("hubert-base", False), ("hubert-large", True)])
def test_whether_the_waveform_is_normalised(
    kind: str, normalized: bool, base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = base_of(kind)
    assert built(folder).front_end.normalize is normalized
    assert built(folder, data={"normalize": not normalized}).front_end.normalize is not normalized
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": not normalized}))
    assert built(tmp_path).front_end.normalize is not normalized


@pytest.fixture
def audio(tmp_path: Path) -> PreparedAudio:
    import soundfile

    utterances = []
    for number, waveform in enumerate(clips()):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, waveform, 16_000, subtype="FLOAT")
        utterances.append(Utterance(str(number), path, "x"))
    corpus = Corpus({"train": utterances, "validation": [], "test": []})
    return prepare_audio(corpus, "train", tmp_path / "cache", num_workers=1, show_progress=False)


@pytest.mark.parametrize("kind", ["unispeech-large", "wavlm-base", "wav2vec2-bert"])
def test_cached_features_are_those_of_each_clip(
    kind: str, base_of: Callable[[str], Path], audio: PreparedAudio, tmp_path: Path
) -> None:
    front_end = built(base_of(kind)).front_end
    store = cache_features(front_end, audio, [2, 0, 1], tmp_path, dtype=np.float32)
    assert store.num_frames.tolist() == [front_end.num_frames(LENGTHS[row]) for row in (2, 0, 1)]
    for place, row in enumerate((2, 0, 1)):
        np.testing.assert_array_equal(store.clip(place), front_end(audio.waveform(row)).numpy())
    half = cache_features(front_end, audio, [2, 0, 1], tmp_path, dtype=np.float16)
    assert half.values.dtype == np.float16
    np.testing.assert_allclose(half.clip(1), store.clip(1), rtol=1e-3, atol=1e-3)


def test_the_cache_is_keyed_by_what_the_features_depend_on(
    base_of: Callable[[str], Path], audio: PreparedAudio, tmp_path: Path
) -> None:
    def stores() -> int:
        return len(list((tmp_path / "features").iterdir()))

    model = built(base_of("unispeech-large"))
    first = cache_features(model.front_end, audio, [0, 1], tmp_path, dtype=np.float32).clip(0).copy()
    with torch.no_grad():
        backbone(model.model).encoder.layers[0].feed_forward.intermediate_dense.weight.add_(1)
        model.model.lm_head.weight.add_(1)
    cache_features(model.front_end, audio, [0, 1], tmp_path, dtype=np.float32)
    assert stores() == 1, "encoder and head are no part of the features"
    with torch.no_grad():
        next(backbone(model.model).feature_extractor.parameters()).add_(0.1)
    second = cache_features(model.front_end, audio, [0, 1], tmp_path, dtype=np.float32).clip(0)
    assert stores() == 2
    assert not np.allclose(first, second)
    plain = built(base_of("unispeech-large"), data={"normalize": False}).front_end
    other_eps = built(base_of("unispeech-large"), data={"normalize_eps": 1e-7}).front_end
    for front_end in (plain, other_eps):
        cache_features(front_end, audio, [0, 1], tmp_path, dtype=np.float32)
    assert stores() == 4


# Export

REGULARISATION = {
    "hidden_dropout": 0.11,
    "attention_dropout": 0.12,
    "activation_dropout": 0.13,
    "feature_projection_dropout": 0.14,
    "final_dropout": 0.15,
    "layerdrop": 0.16,
}
MASKS = {"time_prob": 0.41, "time_length": 7, "feature_prob": 0.17, "feature_length": 9}


@pytest.mark.parametrize("kind", KINDS)
def test_the_export_is_the_trained_model_and_says_how_it_was_trained(
    kind: str, base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    model = built(base_of(kind), phones=NEW_PHONES, model=REGULARISATION, mask=MASKS)
    assert model.model.config.layerdrop == 0, "the stock encoder must not draw layers itself"
    tokenizer = PhoneTokenizer.from_inventory(NEW_PHONES, "transformers")
    expected = our_logits(model, clips())
    save_model(tmp_path / "model", model.model, model.extractor, tokenizer, layerdrop=0.16, card="# card\n")
    loaded = AutoModelForCTC.from_pretrained(tmp_path / "model").eval()
    config = loaded.config
    names = (
        "hidden_dropout",
        "attention_dropout",
        "activation_dropout",
        "feat_proj_dropout",
        "final_dropout",
        "layerdrop",
    )
    assert [getattr(config, name) for name in names] == list(REGULARISATION.values())
    masks = ("mask_time_prob", "mask_time_length", "mask_feature_prob", "mask_feature_length")
    assert [getattr(config, name) for name in masks] == list(MASKS.values())
    assert config.vocab_size == 9
    assert config.pad_token_id == 0
    if kind == "wav2vec2-bert":
        return
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    assert processor.feature_extractor.do_normalize is model.front_end.normalize
    for waveform, row in zip(clips(), expected, strict=True):
        inputs = processor(waveform, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            logits = loaded(inputs["input_values"]).logits[0]
        torch.testing.assert_close(logits, row, rtol=0, atol=5e-3)  # the stock normalisation has another epsilon
        row[:, 1:4] = -torch.inf  # an untrained head also says <s>, </s> and <unk>
        said = processor.batch_decode(row.argmax(-1)[None])[0].split()
        collapsed = torch.unique_consecutive(row.argmax(-1)).tolist()
        assert said == tokenizer.decode([label for label in collapsed if label != 0])


@pytest.mark.parametrize("kind", ["wavlm-large", "wavlm-base", "unispeech-large"])
def test_the_exported_model_trains_in_stock_transformers(
    kind: str, base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    model = built(base_of(kind), mask=MASKS)
    tokenizer = PhoneTokenizer.from_inventory(OLD_PHONES, "transformers")
    save_model(tmp_path / "model", model.model, model.extractor, tokenizer, layerdrop=0.0, card="# card\n")
    network = AutoModelForCTC.from_pretrained(tmp_path / "model").train()
    loss = network(torch.from_numpy(clips()[0])[None], labels=torch.tensor([[4, 5, 6]])).loss
    loss.backward()
    assert torch.isfinite(loss)


def test_a_policy_masks_where_no_probability_does(base_of: Callable[[str], Path]) -> None:
    """The stock class has a vector for masked frames only where a probability is above 0."""
    model = built(base_of("unispeech-large"), mask={"policy": "LD", "time_prob": 0.0, "feature_prob": 0.0})
    assert backbone(model.model).masked_spec_embed.shape == (model.model.config.hidden_size,)
