"""What is added to CTC, against plain torch and the stock modules; and what it leaves as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tasks.ctc_phoneme.test_golden_step import PHONES, make_config
from torch.nn.functional import ctc_loss

from unispeech_ft.data.batch_plan import BatchPlan, MicroBatch
from unispeech_ft.data.collate import Batch, TrainingSet
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import build_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig, LossConfig
from unispeech_ft.tasks.ctc_phoneme.losses import certainty, check_layers, consistency
from unispeech_ft.tasks.ctc_phoneme.task import CtcPhonemeTask

LENGTHS = (14_000, 31_000, 22_000)
MICRO_BATCH = MicroBatch(0, 0, (0, 1, 2), 3 * max(LENGTHS))
ALL = LossConfig(intermediate_layers=(1,), intermediate_weight=0.4, consistency_weight=0.2, entropy_weight=0.1)


def configured(**loss: object) -> CtcPhonemeConfig:
    return make_config().model_copy(update={"loss": LossConfig.model_validate(loss)})


def task_of(config: CtcPhonemeConfig, accelerator: Accelerator) -> CtcPhonemeTask:
    """A task of three clips of noise, in double precision."""
    random = np.random.default_rng(3)
    tokenizer = PhoneTokenizer.from_inventory(PHONES, "original")
    built = build_model(
        config.model,
        config.mask,
        config.data,
        tokenizer,
        config.seed,
        conditioned_layers=config.loss.conditioned_layers,
    )
    clips = [built.front_end(random.normal(0, 0.1, n).astype(np.float32)).double().numpy() for n in LENGTHS]
    labels = [random.integers(0, len(PHONES), 7).tolist() for _ in LENGTHS]
    built.model.double().train()
    training_set = TrainingSet(
        clips.__getitem__, labels, 32, config.mask, config.seed, two_views=config.loss.consistency_weight > 0
    )
    plan = BatchPlan(np.array(LENGTHS), 12.0, 6.0, config.seed)
    return CtcPhonemeTask(config, built.model, plan, training_set, accelerator)


def reference_logits(task: CtcPhonemeTask, batch: Batch, view: int) -> list[list[torch.Tensor]]:
    """Each clip alone through the stock modules: the head's logits of layer 1 and of the last."""
    model, row = task.network, batch.views[view]
    base, found = model.unispeech, []
    for clip, features in enumerate(row.features.split(row.num_frames)):
        time = row.time_mask.split(row.num_frames)[clip]
        hidden, _ = base.feature_projection(features[None])
        hidden = torch.where(time[None, :, None], base.masked_spec_embed, hidden) * ~row.channel_mask[clip]
        left: list[torch.Tensor] = []
        hook = base.encoder.layers[0].register_forward_hook(lambda _, __, output, left=left: left.append(output))
        last = base.encoder(hidden).last_hidden_state
        hook.remove()
        first = left[0] if isinstance(left[0], torch.Tensor) else left[0][0]
        found.append([model.lm_head(state)[0] for state in (base.encoder.layer_norm(first), last)])
    return found


def ctc(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    sizes = torch.tensor([len(logits)]), torch.tensor([len(labels)])
    return ctc_loss(logits.log_softmax(-1)[:, None], labels[None], *sizes, blank=len(PHONES), reduction="sum")


def test_all_against_first_principles(accelerator: Accelerator) -> None:
    task = task_of(configured(**ALL.model_dump()), accelerator)
    batch = task.training_set.batch(MICRO_BATCH)
    found = task.loss(0, batch)
    last = inner = apart = certain = torch.zeros((), dtype=torch.float64)
    views = [reference_logits(task, batch, view) for view in (0, 1)]
    for clip, labels in enumerate(batch.labels.split(batch.num_labels)):
        for view in views:
            inner, last = inner + ctc(view[clip][0], labels) / 2, last + ctc(view[clip][1], labels) / 2
        p, q = (view[clip][1].softmax(-1) for view in views)
        certain = certain + sum((part * (part * part.shape[1]).log()).sum() / 2 for part in (p, q))
        apart = apart + 0.5 * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
    expected = 0.6 * last + 0.4 * inner + 0.2 * apart + 0.1 * certain
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.sums is not None
    figures = task.figures(0, found.sums, torch.tensor(3.0))
    assert {name: value.item() for name, value in figures.items()} == pytest.approx(
        {
            "ctc_loss": last.item() / 3,
            "intermediate_loss": inner.item() / 3,
            "consistency_loss": apart.item() / 3,
            "entropy_loss": certain.item() / 3,
        }
    )
    assert min(last, inner, apart, certain) > 1, "each must weigh something, or the test shows nothing of it"


def test_posteriors_are_as_far_from_uniform_as_they_are_certain() -> None:
    assert certainty(torch.zeros(5, 4)).item() == pytest.approx(0, abs=1e-6)
    sure = 100 * torch.eye(4)
    assert certainty(sure).item() == pytest.approx(4 * np.log(4))


def test_the_target_of_consistency_takes_no_gradient() -> None:
    first, second = (torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    consistency(first, second).backward()
    p, q = first.detach().softmax(-1), second.detach().softmax(-1)
    # d/dx of KL(q ‖ softmax(x)) is softmax(x) − q.
    torch.testing.assert_close(first.grad, (p - q) / 2)
    torch.testing.assert_close(second.grad, (q - p) / 2)


def test_the_parts_of_a_batch_add_up(accelerator: Accelerator) -> None:
    task = task_of(configured(**ALL.model_dump()), accelerator)
    batch = task.training_set.batch(MICRO_BATCH)
    parts = batch.parts(batch.row.num_frames[0] + 1)
    assert len(parts) > 1
    whole = task.loss(0, batch).loss.item()
    assert sum(task.loss(0, part).loss.item() for part in parts) == pytest.approx(whole, rel=1e-6)


def test_a_layer_left_out_gives_what_came_before_it(accelerator: Accelerator) -> None:
    task = task_of(configured(intermediate_layers=[1]), accelerator)
    batch = task.training_set.batch(MICRO_BATCH)
    whole = task.loss(0, batch).loss.item()
    task.layers = lambda update: [1]  # type: ignore[method-assign]
    assert np.isfinite(task.loss(0, batch).loss.item())
    assert task.loss(0, batch).loss.item() != whole


def test_the_linear_layer_waits_where_no_layer_has_it(accelerator: Accelerator) -> None:
    task = task_of(configured(intermediate_layers=[1], self_conditioned=True), accelerator)
    conditioning = {id(parameter) for parameter in task.network.conditioning.parameters()}
    batch = task.training_set.batch(MICRO_BATCH)
    for layers, trains in (([0, 1], True), ([0], True), ([1], False), (None, True)):
        task.layers = lambda update, layers=layers: layers  # type: ignore[method-assign]
        task.network.zero_grad(set_to_none=True)
        task.loss(0, batch).loss.backward()
        assert (task.network.conditioning.weight.grad is not None) == trains
        assert (conditioning <= {id(parameter) for parameter in task.trained_parameters(0)}) == trains


def test_a_frozen_encoder_learns_from_ctc_alone(accelerator: Accelerator) -> None:
    plain = configured()
    frozen = plain.schedule.model_copy(update={"freeze_encoder_updates": 1})
    plain = plain.model_copy(update={"schedule": frozen})
    added = plain.model_copy(update={"loss": ALL})
    losses = []
    for config in (plain, added):
        task = task_of(config, accelerator)
        losses.append(task.loss(0, task.training_set.batch(MICRO_BATCH)).loss.item())
    assert losses[0] == losses[1]


def test_the_first_view_is_what_it_was(accelerator: Accelerator) -> None:
    one = task_of(configured(), accelerator).training_set
    two = replace(one, two_views=True)
    before, after = one.batch(MICRO_BATCH), two.batch(MICRO_BATCH)
    assert torch.equal(before.row.time_mask, after.row.time_mask)
    assert torch.equal(before.row.channel_mask, after.row.channel_mask)
    assert before.second_masks is None
    assert not torch.equal(after.views[1].time_mask, after.row.time_mask)
    assert not torch.equal(after.views[1].channel_mask, after.row.channel_mask)
    assert torch.equal(two.batch(MICRO_BATCH).views[1].time_mask, after.views[1].time_mask)


def test_a_layer_that_is_not_there(accelerator: Accelerator) -> None:
    encoder = task_of(configured(), accelerator).network.config
    check_layers(LossConfig(intermediate_layers=(1,)), encoder)
    with pytest.raises(UserError, match="layer 2, but the encoder has 2 layers"):
        check_layers(LossConfig(intermediate_layers=(1, 2)), encoder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": {"intermediate_layers": [2, 2]}}, "names a layer twice"),
        ({"loss": {"self_conditioned": True}}, "names no layer"),
        ({"loss": {"intermediate_weight": 0.5}}, "names no layer"),
        ({"augmentation": {"noise": "simulated"}}, "given without augmentation.copies"),
        ({"augmentation": {"rooms": "halls"}}, "given without augmentation.copies"),
        ({"augmentation": {"copies": 1, "noise": "simulated", "share": 0}}, "copies are the clips themselves"),
        ({"loss": {"consistency_weight": 0.2}, "mask": {"time_prob": 0, "feature_prob": 0}}, "both views are the same"),
    ],
)
def test_faults(changes: dict[str, dict[str, object]], said: str) -> None:
    whole = CtcPhonemeConfig.model_validate(
        {"model": {"base": "x"}, "data": {"root": "x", "language": "ky"}, **changes}
    )
    assert [what for wrong, what, _ in whole.checks() if wrong and said in what]
