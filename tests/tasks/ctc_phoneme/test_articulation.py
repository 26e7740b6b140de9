"""Articulatory features as targets: the loss against all paths of CTC, what it sends back, and what it is made from."""

from __future__ import annotations

import sys
from itertools import groupby, product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tasks.ctc_phoneme.test_golden_step import PHONES
from tasks.ctc_phoneme.test_losses import MICRO_BATCH, configured, ctc, reference_logits, task_of
from torch.nn.functional import ctc_loss, logsigmoid

from unispeech_ft.errors import UserError
from unispeech_ft.models.articulation import add_articulation, feature_tables, remove_articulation
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme.losses import features_loss, label_posteriors
from unispeech_ft.tasks.ctc_phoneme.task import CtcPhonemeTask, identity

pytest.importorskip("panphon")

FRAMES, ROWS, BLANK, LABELS = 5, 4, 0, (1, 2, 2)
TOKENIZER = PhoneTokenizer.from_inventory(PHONES, "original")


def plain_ctc(logits: torch.Tensor, labels: tuple[int, ...] = LABELS) -> torch.Tensor:
    sizes = torch.tensor([len(logits)]), torch.tensor([len(labels)])
    log_probs = logits.log_softmax(-1)[:, None]
    return ctc_loss(log_probs, torch.tensor([labels]), *sizes, blank=BLANK, reduction="sum", zero_infinity=True)


def paths() -> list[tuple[int, ...]]:
    """Every path of the labels."""
    found = product(range(ROWS), repeat=FRAMES)
    return [path for path in found if tuple(row for row, _ in groupby(path) if row != BLANK) == LABELS]


def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of the phones, logits of three features, and a table of both kinds with one row for the blank."""
    torch.manual_seed(5)
    logits = torch.randn(FRAMES, ROWS, dtype=torch.float64)
    found = torch.randn(FRAMES, 3, dtype=torch.float64, requires_grad=True)
    present = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0.5], [1, 1, 1]], dtype=torch.float64)
    absent = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 0, 0.5], [0, 0, 0]], dtype=torch.float64)
    return logits, found, present, absent


def test_against_all_paths() -> None:
    logits, found, present, absent = drawn()
    log_probs = logits.log_softmax(-1)
    weights = torch.stack([log_probs[range(FRAMES), path].sum().exp() for path in paths()])
    cost = torch.zeros((), dtype=torch.float64)
    for weight, path in zip(weights / weights.sum(), paths(), strict=True):
        for t, row in enumerate(path):
            said = present[row] * logsigmoid(found[t]) + absent[row] * logsigmoid(-found[t])
            cost = cost - weight * said.sum() / 3
    posteriors = label_posteriors(logits, plain_ctc)
    torch.testing.assert_close(posteriors.sum(-1), torch.ones(FRAMES, dtype=torch.float64))
    torch.testing.assert_close(features_loss(found, posteriors, present, absent), cost)


def test_against_finite_differences() -> None:
    logits, found, present, absent = drawn()
    posteriors = label_posteriors(logits, plain_ctc)
    assert torch.autograd.gradcheck(lambda at: features_loss(at, posteriors, present, absent), (found,))


def test_targets_take_no_gradient() -> None:
    logits, found, present, absent = drawn()
    logits.requires_grad_()
    features_loss(found, label_posteriors(logits, plain_ctc), present, absent).backward()
    assert logits.grad is None
    assert found.grad is not None


def test_a_clip_too_short_for_its_labels_has_what_the_head_says() -> None:
    logits = drawn()[0][:2]
    torch.testing.assert_close(label_posteriors(logits, plain_ctc), logits.softmax(-1))


def with_head(task: CtcPhonemeTask) -> CtcPhonemeTask:
    add_articulation(task.network, TOKENIZER, 1)
    task.network.articulation.double()
    return task


@pytest.mark.parametrize("more", [{}, {"consistency_weight": 0.2}])
def test_in_the_loss_of_a_run(accelerator: Accelerator, more: dict[str, float]) -> None:
    task = with_head(task_of(configured(features_weight=0.5, **more), accelerator))
    batch = task.training_set.batch(MICRO_BATCH)
    found = task.loss(0, batch)
    head = task.network.articulation
    states: list[torch.Tensor] = []
    hook = task.network.lm_head.register_forward_pre_hook(lambda _, given: states.append(given[0]))
    expected, views = torch.zeros((), dtype=torch.float64), range(2 if more else 1)
    for view in views:
        states.clear()
        logits = reference_logits(task, batch, view)
        hidden = [state[0] for state in states[1::2]]
        for clip, labels in enumerate(batch.labels.split(batch.num_labels)):
            posteriors = label_posteriors(logits[clip][1], lambda at, labels=labels: ctc(at, labels))
            said = head.linear(hidden[clip])
            expected = expected + features_loss(said, posteriors, head.present, head.absent) / len(views)
    hook.remove()
    assert found.sums is not None
    figures = task.figures(0, found.sums, torch.tensor(1.0))
    assert figures["features_loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    plus = 0.2 * figures["consistency_loss"] if more else 0
    assert found.loss.item() == pytest.approx((figures["ctc_loss"] + plus + 0.5 * expected).item(), rel=1e-6)
    found.loss.backward()
    assert head.linear.weight.grad.any()
    assert any(parameter is head.linear.weight for parameter in task.trained_parameters(0))


def test_parts_add_up_and_the_frozen_encoder_learns_from_ctc_alone(accelerator: Accelerator) -> None:
    task = with_head(task_of(configured(features_weight=0.5), accelerator))
    batch = task.training_set.batch(MICRO_BATCH)
    parts = batch.parts(batch.row.num_frames[0] + 1)
    assert len(parts) > 1
    whole = task.loss(0, batch).loss.item()
    assert sum(task.loss(0, part).loss.item() for part in parts) == pytest.approx(whole, rel=1e-6)
    task.is_frozen = lambda update: True  # type: ignore[method-assign]
    alone = task.loss(0, batch)
    assert alone.sums is not None
    assert alone.sums.tolist() == pytest.approx([alone.loss.item(), 0])
    assert not any(parameter is task.network.articulation.linear.weight for parameter in task.trained_parameters(0))


def test_tables() -> None:
    import panphon

    present, absent = feature_tables(TOKENIZER)
    names = panphon.FeatureTable().names
    ids = TOKENIZER.ids
    assert present.shape == absent.shape == (len(TOKENIZER.tokens), len(names))
    assert not present[[ids["<s>"], ids["<pad>"], ids["</s>"], ids["<unk>"]]].any()
    voice, long = names.index("voi"), names.index("long")
    assert present[ids["b"], voice] == 1
    assert absent[ids["tʃ"], voice] == 1
    assert (present[ids["aː"], long], absent[ids["a"], long]) == (1, 1)
    assert ((present + absent) <= 1).all()


@pytest.mark.parametrize(
    ("phones", "said"),
    [(["a", "Ж", "Щ"], "these labels: Ж Щ"), (["ˈ", "ˌ"], "these labels: ˈ ˌ")],
)
def test_labels_without_features_are_refused(phones: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        feature_tables(PhoneTokenizer.from_inventory(phones, "original"))


def test_marks_that_stand_alone() -> None:
    """Stress asks for nothing, a tone for what panphon knows of tones."""
    present, absent = feature_tables(PhoneTokenizer.from_inventory(["a", "ˈ", "˥"], "original"))
    assert not present[1].any()
    assert not absent[1].any()
    assert present[2].sum() == 2


def test_a_tone_takes_nothing_from_its_vowel() -> None:
    tokenizer = PhoneTokenizer.from_inventory(["a", "a5", "aɪ"], "original")
    tables = feature_tables(tokenizer)
    for table in tables:
        plain, toned, _ = (table[tokenizer.ids[phone]] for phone in ("a", "a5", "aɪ"))
        np.testing.assert_array_equal(plain[:-2], toned[:-2])
    assert tables[0][tokenizer.ids["a5"], -2:].tolist() == [1, 1]
    assert 0.5 in tables[0][tokenizer.ids["aɪ"]], "a diphthong is half of each"


def test_letters_of_english_that_panphon_writes_otherwise() -> None:
    present, _ = feature_tables(PhoneTokenizer.from_inventory(["ɚ", "ᵻ", "ʧ", "tʃ"], "original"))
    assert present[:4].any(dim=1).all()
    np.testing.assert_array_equal(present[2], present[3])


def test_without_panphon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "panphon", None)
    with pytest.raises(UserError, match="needs panphon"):
        feature_tables(TOKENIZER)


def test_nothing_of_it_is_left(accelerator: Accelerator) -> None:
    task = task_of(configured(features_weight=0.5), accelerator)
    names = list(task.network.state_dict())
    remove_articulation(task.network)
    with_head(task)
    assert {name for name in task.network.state_dict() if name not in names} == {
        "articulation.linear.weight",
        "articulation.linear.bias",
    }
    remove_articulation(task.network)
    assert list(task.network.state_dict()) == names


def test_runs_from_before_the_key_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their identities knew no such key."""
    monkeypatch.setattr("unispeech_ft.tasks.ctc_phoneme.task.identity_of", lambda *said: said)
    train: Any = SimpleNamespace(ids=["u"], phones=[["a"]], num_samples=np.array([16_000]))
    keys = [
        {key for section in identity(configured(**loss), train) if isinstance(section, dict) for key in section}
        for loss in ({"entropy_weight": 0.05}, {"entropy_weight": 0.05, "features_weight": 0.3})
    ]
    assert keys[1] - keys[0] == {"features_weight"}
    assert "entropy_weight" in keys[0]
