"""The parts of masked prediction and of UniSpeech-SAT, each against what it is said to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from running import TINY_MODEL
from transformers import WavLMConfig

from unispeech_ft.data.row import lay_out
from unispeech_ft.models.prediction import WavLMForPreTraining, start_heads
from unispeech_ft.tasks.pretraining.batches import pad_waveforms
from unispeech_ft.tasks.pretraining.draws import draw_instances
from unispeech_ft.tasks.pretraining.forward import Speech
from unispeech_ft.tasks.pretraining.prediction import PredictionTerms, PredictionWeights, prediction_terms
from unispeech_ft.tasks.pretraining.prediction_loss import class_scores, feature_penalty, predict, utterance_contrast

CLASSES = 7


def test_prediction_against_a_loop() -> None:
    random = torch.Generator().manual_seed(1)
    projected, embeddings = torch.randn(9, 5, generator=random), torch.rand(CLASSES, 5, generator=random)
    classes = torch.randint(0, CLASSES, (9,), generator=random)
    found = predict(class_scores(projected, embeddings, 0.1), classes)
    loss, correct, entropy = 0.0, 0, 0.0
    for frame, true in zip(projected, classes.tolist(), strict=True):
        scores = torch.stack([torch.cosine_similarity(frame, one, dim=0) / 0.1 for one in embeddings])
        loss += float(torch.logsumexp(scores, 0) - scores[true])
        correct += int(scores.argmax() == true)
        entropy += float(torch.distributions.Categorical(logits=scores).entropy())
    assert found.loss_sum.item() == pytest.approx(loss, rel=1e-5)
    assert found.correct.item() == correct
    assert found.entropy_sum.item() == pytest.approx(entropy, rel=1e-5)
    best = [int(row.argmax()) for row in class_scores(projected, embeddings, 0.1)]
    assert found.best.tolist() == [best.count(number) for number in range(CLASSES)]
    with torch.autocast("cpu", torch.bfloat16):
        again = predict(class_scores(projected, embeddings, 0.1), classes)
    assert again.loss_sum.item() == pytest.approx(loss, rel=1e-5), "16 bits are too few here"
    same = predict(torch.zeros(4, CLASSES), torch.arange(4))
    assert same.correct.item() == 0, "where all classes are alike, none is told"


def test_utterance_contrast_against_a_loop() -> None:
    random = torch.Generator().manual_seed(2)
    predictions = torch.randn(6, 4, generator=random).requires_grad_()
    targets = torch.randn(6, 4, generator=random).requires_grad_()
    clips, sampled = torch.tensor([0, 0, 0, 1, 1, 2]), torch.randint(0, 6, (6, 3), generator=random)
    losses = []
    for frame in range(6):
        for other in [frame, *sampled[frame].tolist()]:
            score = torch.cosine_similarity(predictions[frame], targets[other], dim=0) / 0.1
            same = (clips[frame] == clips[other]).float()
            losses.append(torch.nn.functional.binary_cross_entropy_with_logits(score, same))
    found = utterance_contrast(predictions, targets, sampled, clips, 0.1)
    assert found.loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    found.loss.backward()
    assert predictions.grad.abs().sum() > 0
    assert targets.grad.abs().sum() > 0


def test_instances_come_from_all_masked_frames() -> None:
    drawn = draw_instances(12, 400, (7, 0, 0), with_itself=False)
    assert (drawn != np.arange(12)[:, None]).all(), "a frame is no instance of itself"
    assert all(len(np.unique(row)) == 11 for row in drawn)
    assert (drawn == draw_instances(12, 400, (7, 0, 0), with_itself=False)).all()
    assert (drawn != draw_instances(12, 400, (7, 0, 1), with_itself=False)).any()
    itself = draw_instances(12, 400, (7, 0, 0), with_itself=True)
    assert all(len(np.unique(row)) == 12 for row in itself)
    assert draw_instances(1, 3, (7, 0, 0), with_itself=False).tolist() == [[0, 0, 0]]


@pytest.fixture(scope="module")
def network() -> WavLMForPreTraining:
    """A Base model, whose extractor normalises over time."""
    torch.manual_seed(0)
    settings = TINY_MODEL | {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
    settings.pop("model_type")
    config = WavLMConfig(**settings, num_clusters=CLASSES, proj_codevector_dim=8, prediction_layers=[1, 3])
    network = WavLMForPreTraining(config).eval()
    start_heads(network)
    return network


def terms_of(network: WavLMForPreTraining, clips: list[np.ndarray], weights: PredictionWeights) -> PredictionTerms:
    """The terms on clips with frames 3 to 11 of each masked, and classes that rise."""
    frames = [int(network._get_feat_extract_output_lengths(torch.tensor(len(clip)))) for clip in clips]
    mask = torch.cat([torch.isin(torch.arange(count), torch.arange(3, 12)) for count in frames])
    classes = torch.cat([torch.arange(count) % CLASSES for count in frames])
    speech = Speech(
        pad_waveforms(clips),
        lay_out(frames),
        mask,
        mask.nonzero()[:, 0],
        [9] * len(clips),
        num_samples=[*map(len, clips)],
    )
    return prediction_terms(network, speech, classes, weights)


def test_company_changes_nothing_unless_the_extractor_sees_padding(network: WavLMForPreTraining) -> None:
    random = np.random.default_rng(3)
    clips = [random.normal(size=length).astype(np.float32) for length in (9_000, 5_500)]
    weights = PredictionWeights(penalty=0.0)

    def apart_and_together(weights: PredictionWeights) -> tuple[float, float]:
        alone = sum(terms_of(network, [clip], weights).loss.item() for clip in clips)
        return alone, terms_of(network, clips, weights).loss.item()

    alone, together = apart_and_together(weights)
    assert together == pytest.approx(alone, rel=1e-5)
    alone, together = apart_and_together(replace(weights, extractor_sees_padding=True))
    assert together != pytest.approx(alone, rel=1e-4)


def test_frames_count_as_they_are_weighed(network: WavLMForPreTraining) -> None:
    clips = [np.random.default_rng(4).normal(size=9_000).astype(np.float32)]
    masked = terms_of(network, clips, PredictionWeights(penalty=0.0))
    both = terms_of(network, clips, PredictionWeights(penalty=0.0, unmasked=0.5))
    assert masked.num_frames == 9
    assert both.num_frames > 9
    assert masked.loss.item() == pytest.approx(sum(head.loss_sum.item() for head in masked.masked), rel=1e-6)
    rest = sum(head.loss_sum.item() for head in both.unmasked)
    assert both.loss.item() == pytest.approx(masked.loss.item() + 0.5 * rest, rel=1e-5)
    assert not masked.unmasked[0].loss_sum.requires_grad
    penalised = terms_of(network, clips, PredictionWeights(penalty=10.0))
    assert penalised.loss.item() == pytest.approx(masked.loss.item() + 9 * 10 * penalised.penalty.item(), rel=1e-5)
    assert feature_penalty(torch.tensor([[1.0, 3.0]])).item() == 5
