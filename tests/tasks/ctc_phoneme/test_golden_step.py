"""Three updates of the recipe against plain torch: loss, gradient norm before clipping, parameters.

The reference side below knows nothing of the project but the model: it normalises, masks, runs the stock modules,
sums CTC over the clips, divides by the sentences, clips, and steps Adam by its formula.
"""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import TrainingSet
from unispeech_ft.models.build import build_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme import task
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.training import step

SEED, LR, CLIP, UPDATES = 11, 1e-3, 2.0, 3
TIME, CHANNELS = (0.75, 10, 2), (0.25, 8, 0)  # probability, span, spans at least
PHONES = ["a", "b", "d[", "tʃ", "aː"]


def make_config() -> CtcPhonemeConfig:
    none = dict.fromkeys(
        ("hidden_dropout", "attention_dropout", "activation_dropout", "feature_projection_dropout", "final_dropout"),
        0.0,
    )
    shape = {
        "model_type": "unispeech",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "conv_dim": [16, 16, 16],
        "conv_kernel": [10, 8, 4],
        "conv_stride": [5, 8, 8],
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    }
    return CtcPhonemeConfig.model_validate(
        {
            "seed": SEED,
            "model": {**none, "layerdrop": 0.0, "from_scratch": True, "config": shape},
            "data": {"root": "unused", "language": "ky", "max_duration_s": 3.0},
            "batch": {"seconds_per_update": 12.0, "seconds_per_micro_batch": 6.0},
            "mask": {
                "time_prob": TIME[0],
                "time_length": TIME[1],
                "feature_prob": CHANNELS[0],
                "feature_length": CHANNELS[1],
            },
            "optimizer": {"lr": LR, "max_grad_norm": CLIP},
            "schedule": {"updates": UPDATES, "warmup": 0, "hold": 10, "decay": 10, "freeze_encoder_updates": 0},
        }
    )


@pytest.fixture(scope="module")
def clips():
    random = np.random.default_rng(5)
    lengths = random.integers(14_000, 40_000, 14)
    waveforms = [random.normal(0, 0.003 if n % 2 else 0.2, n).astype(np.float32) for n in lengths]
    labels = [random.integers(0, len(PHONES), 9).tolist() for _ in lengths]
    return SimpleNamespace(waveforms=waveforms, labels=labels)


# The recipe's side -------------------------------------------------------------------------------------------------


def recipe_run(clips, change_config=lambda config: config, change_model=lambda model, optimizer: None):
    config = change_config(make_config())
    tokenizer = PhoneTokenizer.from_inventory(PHONES, "original")
    built = build_model(config.model, config.mask, config.data, tokenizer, config.seed)
    start = copy.deepcopy(built.model)
    # In double precision, so that rounding does not hide a small fault of the recipe.
    features = [built.front_end(waveform).double().numpy() for waveform in clips.waveforms]
    built.model.double()
    training_set = TrainingSet(features.__getitem__, clips.labels, 32, config.mask, config.seed)
    samples = np.array([len(waveform) for waveform in clips.waveforms])
    plan = BatchPlan(samples, config.batch.seconds_per_update, config.batch.seconds_per_micro_batch, config.seed)
    accelerator = Accelerator(cpu=True)
    optimizer = accelerator.prepare(step.make_optimizer(built.model, config.optimizer))
    change_model(built.model, optimizer)
    built.model.train()
    updates = list(plan.updates(0, UPDATES))
    assert len(updates[0].micro_batches) > 1
    ctc = task.CtcPhonemeTask(config, built.model, plan, training_set, accelerator)
    results = [
        step.run_update(ctc, optimizer, share, config.optimizer, LR, SEED, accelerator)
        for share in ctc.updates(0, UPDATES, None)
    ]
    log = [(float(result.loss), float(result.grad_norm)) for result in results]
    planned = [[(s.epoch, s.index, s.clips) for s in update.micro_batches] for update in updates]
    return start, log, dict(built.model.named_parameters()), planned


# The reference side: plain torch and numpy -------------------------------------------------------------------------


def reference_mask(lengths, width, prob, span, min_spans, name):
    """The sampler of the original recipe: spans without overlap control, then every row cut to the fewest."""
    random = np.random.default_rng(name)
    rows = []
    for length in lengths:
        spans = max(min_spans, int(prob * length / span + random.random()))
        starts = random.choice(length - span + 1, min(spans, length - span), replace=False)
        rows.append(np.array(sorted({start + offset for start in starts for offset in range(span)})))
    fewest = min(map(len, rows))
    mask = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, positions in enumerate(rows):
        keep = positions if len(positions) == fewest else random.choice(positions, fewest, replace=False)
        mask[row, torch.as_tensor(keep)] = True
    return mask


def reference_features(model, waveform):
    wave = torch.from_numpy(waveform).double()
    wave = (wave - wave.mean()) / torch.sqrt(wave.var(unbiased=False) + 1e-5)
    with torch.no_grad():
        return model.unispeech.feature_extractor(wave.float()[None])[0].T.double()


def reference_loss(model, features, labels, time_mask, channel_mask):
    base = model.unispeech
    frames = torch.tensor([len(clip) for clip in features])
    padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
    there = torch.arange(padded.shape[1])[None, :] < frames[:, None]
    hidden, _ = base.feature_projection(padded)
    hidden = torch.where(time_mask[..., None], base.masked_spec_embed, hidden) * (~channel_mask)[:, None, :]
    logits = model.lm_head(base.encoder(hidden, attention_mask=there).last_hidden_state)
    log_probs = torch.log_softmax(logits, -1)
    total = 0.0
    for row, clip_labels in enumerate(labels):
        sizes = frames[row : row + 1], torch.tensor([len(clip_labels)])
        clip = log_probs[row, : frames[row], None]
        targets = torch.tensor([clip_labels])
        total = total + torch.nn.functional.ctc_loss(clip, targets, *sizes, blank=len(PHONES), reduction="sum")
    return total


def reference_run(model, clips, planned):
    features = [reference_features(model, waveform) for waveform in clips.waveforms]
    model.double().train()
    parameters = {name: p for name, p in model.named_parameters() if "feature_extractor" not in name}
    first = {name: torch.zeros_like(p) for name, p in parameters.items()}
    second = {name: torch.zeros_like(p) for name, p in parameters.items()}
    log = []
    for number, micro_batches in enumerate(planned, start=1):
        sentences = sum(len(places) for _, _, places in micro_batches)
        total = 0.0
        for epoch, index, places in micro_batches:
            frames = [int(model._get_feat_extract_output_lengths(len(clips.waveforms[place]))) for place in places]
            times = reference_mask(frames, max(frames), *TIME, [SEED, 2, epoch, index])
            channels = reference_mask([32] * len(places), 32, *CHANNELS, [SEED, 3, epoch, index])
            inputs, labels = [features[place] for place in places], [clips.labels[place] for place in places]
            loss = reference_loss(model, inputs, labels, times, channels)
            (loss / sentences).backward()
            total += loss.item()
        norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in parameters.values()))
        assert norm > CLIP, "the clip must bind, or the test shows nothing of it"
        with torch.no_grad():
            for name, p in parameters.items():
                gradient = p.grad * min(1.0, CLIP / (norm + 1e-6))
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.98 * second[name] + 0.02 * gradient**2
                mean, square = first[name] / (1 - 0.9**number), second[name] / (1 - 0.98**number)
                p -= LR * mean / (square.sqrt() + 1e-8)
                p.grad = None
        log.append((total / sentences, norm))
    return log, parameters


# Comparison --------------------------------------------------------------------------------------------------------


def largest_difference(clips, **changes) -> float:
    """Largest relative difference of any loss, gradient norm or parameter tensor."""
    start, log, trained, planned = recipe_run(clips, **changes)
    expected_log, expected = reference_run(start, clips, planned)
    differences = [
        abs(a - b) / abs(b) for pair in zip(log, expected_log, strict=True) for a, b in zip(*pair, strict=True)
    ]
    # The true gradient of a key bias is zero; what is left of it is rounding.
    names = [name for name in expected if "k_proj.bias" not in name]
    differences += [((trained[n] - expected[n]).norm() / expected[n].norm()).item() for n in names]
    return max(differences)


def test_recipe_equals_first_principles(clips):
    assert largest_difference(clips) <= 1e-6


def lower_head_rate(model, optimizer):
    weight = model.lm_head.weight
    original = optimizer.step

    def step_with_slow_head(*arguments, **keywords):
        before = weight.detach().clone()
        original(*arguments, **keywords)
        with torch.no_grad():
            weight.copy_(before + 0.5 * (weight - before))

    optimizer.step = step_with_slow_head


def freeze_conv_layer_norm(model, optimizer):
    for parameter in model.unispeech.feature_projection.layer_norm.parameters():
        parameter.requires_grad = False


def without(section, **values):
    return lambda config: config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"change_config": without("optimizer", max_grad_norm=0.0)}, id="no clip"),
        pytest.param({"change_config": without("mask", sampling="independent")}, id="wrong mask count"),
        pytest.param({"change_model": freeze_conv_layer_norm}, id="conv LayerNorm frozen"),
        pytest.param({"change_model": lower_head_rate}, id="head at another lr"),
    ],
)
def test_mutants_are_caught(clips, changes):
    assert largest_difference(clips, **changes) > 1e-5


def test_mean_for_sum_is_caught(clips, monkeypatch):
    original = task.ctc_loss_sum
    monkeypatch.setattr(task, "ctc_loss_sum", lambda *a: original(*a) / len(a[3]))
    assert largest_difference(clips) > 1e-5
