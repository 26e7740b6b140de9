"""The parts of the objective, each against what it is said to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import UniSpeechConfig, UniSpeechForPreTraining

from unispeech_ft.data.row import lay_out
from unispeech_ft.tasks.pretraining.batches import pad_waveforms
from unispeech_ft.tasks.pretraining.draws import draw_negatives, draw_replacement
from unispeech_ft.tasks.pretraining.forward import Draws, Speech, Weights, pretraining_terms, quantise, scale_gradient
from unispeech_ft.tasks.pretraining.objective import (
    choose_codes,
    contrastive_loss,
    gumbel_noise,
    gumbel_temperature,
    perplexity,
    replace_frames,
    same_codes,
)

FRAMES = [17, 9, 30]


def masks() -> np.ndarray:
    return np.random.default_rng(0).random(sum(FRAMES)) < 0.4


def test_negatives_come_from_the_same_clip() -> None:
    mask = masks()
    drawn = draw_negatives(FRAMES, mask, 500, (7, 0, 0))
    masked = np.flatnonzero(mask)
    clips = np.repeat(np.arange(len(FRAMES)), FRAMES)
    assert drawn.shape == (mask.sum(), 500)
    assert (clips[drawn] == clips[masked][:, None]).all()
    assert (drawn != masked[:, None]).all(), "a frame is no negative of itself"
    for clip, others in enumerate(FRAMES):
        found = np.unique(drawn[clips[masked] == clip])
        assert len(found) == others, "all frames of the clip take part, masked or not"


def test_draws_are_named() -> None:
    mask = masks()
    first = draw_negatives(FRAMES, mask, 20, (7, 3, 1))
    assert (first == draw_negatives(FRAMES, mask, 20, (7, 3, 1))).all()
    for other in ((8, 3, 1), (7, 4, 1), (7, 3, 2)):
        assert (first != draw_negatives(FRAMES, mask, 20, other)).any()
    replaced = draw_replacement(4_000, 0.3, (7, 3, 1))
    assert replaced.mean() == pytest.approx(0.3, abs=0.03)
    assert (replaced != draw_replacement(4_000, 0.3, (7, 3, 2))).any()
    assert not draw_replacement(40, 0.0, (7, 3, 1)).any()


def test_the_temperature_falls_to_its_floor() -> None:
    assert gumbel_temperature(0, 2.0, 0.1, 0.999995) == 2.0
    assert gumbel_temperature(200_000, 2.0, 0.1, 0.999995) == pytest.approx(0.7358, abs=1e-4)
    assert gumbel_temperature(10_000_000, 2.0, 0.1, 0.999995) == 0.1


def test_gumbel_noise_is_gumbel() -> None:
    noise = gumbel_noise((200_000,), torch.Generator().manual_seed(0))
    assert torch.isfinite(noise).all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.std().item() == pytest.approx(1.2825, abs=0.01)


def test_contrastive_loss_against_a_loop() -> None:
    random = torch.Generator().manual_seed(1)
    predictions, targets = torch.randn(5, 8, generator=random), torch.randn(5, 8, generator=random)
    candidates = torch.randn(12, 8, generator=random)
    negatives = torch.tensor([[0, 1, 2], [3, 4, 5], [1, 1, 0], [6, 7, 8], [11, 9, 9]])
    same = torch.zeros(5, 3, dtype=torch.bool)
    same[3, 1] = True
    expected = torch.zeros(())
    correct = 0
    for row in range(5):
        others = [
            torch.cosine_similarity(predictions[row], candidates[place], dim=0) / 0.1
            for place, left_out in zip(negatives[row], same[row], strict=True)
            if not left_out
        ]
        own = torch.cosine_similarity(predictions[row], targets[row], dim=0) / 0.1
        expected += torch.logsumexp(torch.stack([own, *others]), 0) - own
        correct += int(own >= max(others))
    found = contrastive_loss(
        predictions, targets, candidates, negatives, same, 0.1, num_frames=(6, 6), num_masked=(3, 2)
    )
    assert found.loss_sum.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.correct.item() == correct
    with torch.autocast("cpu", torch.bfloat16):
        again = contrastive_loss(
            predictions, targets, candidates, negatives, same, 0.1, num_frames=(6, 6), num_masked=(3, 2)
        )
    assert again.loss_sum.item() == pytest.approx(expected.item(), rel=1e-5), "16 bits are too few here"


def test_equal_codes_are_found_by_their_numbers() -> None:
    everywhere = torch.tensor([[0, 1], [0, 2], [3, 1], [0, 1]])
    found = same_codes(torch.tensor([[0, 1], [3, 1]]), everywhere, torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]]))
    assert found.tolist() == [[True, False, False, True], [False, False, True, False]]


def test_perplexity_counts_codes() -> None:
    assert perplexity(torch.full((3, 2, 10), 0.1)).item() == pytest.approx(20, rel=1e-4)
    one_code = torch.zeros(3, 2, 10)
    one_code[..., 0] = 1
    assert perplexity(one_code).item() == pytest.approx(2, rel=1e-4)


def test_gradients_pass_straight_through() -> None:
    logits = torch.randn(4, 2, 6, requires_grad=True)
    codevectors = torch.randn(2, 6, 3, requires_grad=True)
    noise = gumbel_noise((4, 2, 6), torch.Generator().manual_seed(0))
    chosen = choose_codes(logits, codevectors, noise, 2.0)
    expected = torch.stack([codevectors[group, chosen.codes[:, group]] for group in range(2)], 1).flatten(1)
    assert torch.allclose(chosen.vectors, expected, atol=1e-6)
    assert (chosen.codes == (logits + noise).argmax(-1)).all()
    chosen.vectors.sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() > 0
    soft = torch.softmax((logits.detach() + noise) / 2.0, -1).requires_grad_()
    torch.einsum("ngv,gvd->ngd", soft, codevectors.detach()).sum().backward()
    assert soft.grad is not None


def test_scaled_gradient() -> None:
    values = torch.randn(5, requires_grad=True)
    scaled = scale_gradient(values, 0.1)
    assert torch.equal(scaled, values)
    scaled.sum().backward()
    assert torch.allclose(values.grad, torch.full((5,), 0.1))


def test_replacement_takes_the_latent_where_it_says() -> None:
    hidden, latents = torch.zeros(6, 4), torch.ones(6, 4)
    replaced = torch.tensor([True, False, False, False, True, True])
    assert torch.equal(replace_frames(hidden, latents, replaced)[..., 0].bool(), replaced)


@pytest.fixture(scope="module")
def network() -> UniSpeechForPreTraining:
    torch.manual_seed(0)
    config = UniSpeechConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=[24, 16],
        conv_kernel=[64, 4],
        conv_stride=[40, 8],
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
        num_codevectors_per_group=16,
        codevector_dim=16,
        proj_codevector_dim=16,
        num_ctc_classes=9,
        mask_time_prob=0.5,
    )
    return UniSpeechForPreTraining(config).eval()


def test_the_stock_quantiser_chooses_the_same(network: UniSpeechForPreTraining) -> None:
    latents = torch.randn(2, 7, 16)
    ours = quantise(network, latents.flatten(0, 1), None, 1.0)
    stock, _ = network.quantizer(latents)
    assert torch.allclose(ours.vectors.view_as(stock), stock, atol=1e-6)


def speech_and_draws(network: UniSpeechForPreTraining, clips: list[np.ndarray]) -> tuple[Speech, Draws]:
    """Clips with frames 3 to 11 of each masked, and what is drawn for them."""
    frames = [int(network._get_feat_extract_output_lengths(torch.tensor(len(clip)))) for clip in clips]
    masks = [np.isin(np.arange(count), np.arange(3, 12)) for count in frames]
    mask = np.concatenate(masks)
    speech = Speech(
        pad_waveforms(clips),
        lay_out(frames),
        torch.from_numpy(mask),
        torch.from_numpy(np.flatnonzero(mask)),
        [int(part.sum()) for part in masks],
    )
    negatives = torch.from_numpy(draw_negatives(frames, mask, 10, (1, 2, 3)))
    replaced = torch.from_numpy(draw_replacement(sum(frames), 0.5, (1, 2, 3)))
    return speech, Draws(negatives, replaced, None, 1.0)


def test_padding_changes_no_term(network: UniSpeechForPreTraining) -> None:
    waveform = np.random.default_rng(3).normal(size=9_000).astype(np.float32)
    speech, draws = speech_and_draws(network, [waveform])
    labels = (torch.tensor([3, 4, 5]), (3,))
    weights = Weights(alpha=0.5, diversity=0.1, temperature=0.1)
    alone = pretraining_terms(network, speech, draws, weights, labels)
    longer = torch.nn.functional.pad(speech.waveforms, (0, 320 * 9))
    padded = pretraining_terms(network, replace(speech, waveforms=longer), draws, weights, labels)
    for name in ("loss", "ctc_sum", "contrastive_sum", "diversity", "code_perplexity"):
        assert getattr(padded, name).item() == pytest.approx(getattr(alone, name).item(), rel=1e-5), name


def test_branches_that_count_for_nothing_are_not_run(network: UniSpeechForPreTraining) -> None:
    speech, draws = speech_and_draws(network, [np.random.default_rng(4).normal(size=9_000).astype(np.float32)])
    draws = replace(draws, replace=torch.zeros_like(draws.replace))
    labels = (torch.tensor([3, 4, 5]), (3,))
    both = pretraining_terms(network, speech, draws, Weights(0.5, 0.1, 0.1), labels)
    ctc = pretraining_terms(network, speech, draws, Weights(1.0, 0.1, 0.1), labels)
    contrast = pretraining_terms(network, speech, draws, Weights(0.0, 0.1, 0.1), labels)
    unlabelled = pretraining_terms(network, speech, draws, Weights(0.5, 0.1, 0.1), None)
    assert ctc.loss.item() == pytest.approx(both.ctc_sum.item(), rel=1e-6)
    assert ctc.contrastive_sum == 0
    assert contrast.ctc_logits is None
    assert both.loss.item() == pytest.approx(0.5 * ctc.loss.item() + 0.5 * contrast.loss.item(), rel=1e-5)
    assert unlabelled.loss.item() == pytest.approx(0.5 * contrast.loss.item(), rel=1e-5)
