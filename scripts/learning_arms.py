"""What scripts/learning.py compares: today's recipe and each way of learning more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from learning_corpora import MANIFEST

CONFORMER: dict[str, Any] = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["model"]["config"]


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
        title: what it is called.
        changes: its keys.
        self_trains: it learns from speech without labels as well, one round.
        base: the arm of scripts/miniature.py whose pre-trained model it starts from; Kyrgyz alone has them.
    """

    title: str
    changes: Mapping[str, str]
    self_trains: bool = False
    base: str | None = None


_INNER = {"loss.intermediate_layers": "[2]"}
_CONDITIONED = {**_INNER, "loss.self_conditioned": "true"}
_VIEWS = {"loss.consistency_weight": "0.2"}
_ENTROPY = {"loss.entropy_weight": "0.05"}
_SPEEDS = {"augmentation.speeds": "[0.9, 1.0, 1.1]"}
_AVERAGE = {"training.ema_decay": "0.99"}
_BEST = {"training.average_best": "5"}
_CONFORMER = {"model.config": json.dumps(CONFORMER), "model.activation_dropout": "0.0"}
_VOICES = {"augmentation.speeds": "[0.85, 1.0, 1.18]", "training.ema_decay": "0.995"}
_ROOMS = {"augmentation.copies": "1", "augmentation.noise": "simulated", "augmentation.rooms": "simulated"}
_MORE_SPEEDS = {"augmentation.speeds": "[0.75, 0.85, 1.0, 1.18, 1.33]"}
ARMS = {
    "today": Arm("today's recipe", {}),
    "intermediate": Arm("CTC of an inner layer", _INNER),
    "self_conditioned": Arm("self-conditioned CTC", _CONDITIONED),
    "consistency": Arm("two masked views (CR-CTC)", _VIEWS),
    "consistency_masks": Arm("the same, masks twice as wide", {**_VIEWS, "mask.time_length": "10"}),
    "policy": Arm("SpecAugment by the policy LD", {"mask.policy": "LD"}),
    "entropy": Arm("label smoothing", _ENTROPY),
    "features": Arm("articulatory features beside the phones", {"loss.features_weight": "0.3"}),
    "speeds": Arm("three speeds", _SPEEDS),
    "noise": Arm("a copy with simulated noise and room", _ROOMS),
    "average": Arm("averaged weights", _AVERAGE),
    "average_best": Arm("the mean of the five best", _BEST),
    "averages": Arm("averaged weights or the mean of the five best, as validation prefers", {**_AVERAGE, **_BEST}),
    "self_training": Arm("self-training, one round", {}, self_trains=True),
    "together": Arm(
        "an inner layer, two views, speeds and averaged weights", {**_INNER, **_VIEWS, **_SPEEDS, **_AVERAGE}
    ),
    "conformer": Arm("a conformer on filter banks", _CONFORMER),
    "conformer_together": Arm("the conformer, three speeds farther apart, averaged weights", {**_CONFORMER, **_VOICES}),
    "conformer_rooms": Arm(
        "the conformer, five speeds, a copy with simulated noise and room, averaged weights",
        {**_CONFORMER, **_VOICES, **_MORE_SPEEDS, **_ROOMS},
    ),
    "conformer_self_training": Arm("these and self-training, one round", {**_CONFORMER, **_VOICES}, self_trains=True),
    "unispeech": Arm("today's recipe from UniSpeech, pre-trained on English", {}, base="unispeech"),
    "unispeech_nearest": Arm(
        "UniSpeech, new phones from their nearest ones", {"head.new_phones": "nearest"}, base="unispeech"
    ),
    "unispeech_lora": Arm(
        "UniSpeech, low-rank adapters in all projections",
        {"adapter.kind": "lora", "adapter.where": "[query, key, value, output, feed_forward]"},
        base="unispeech",
    ),
    "unispeech_bottleneck": Arm("UniSpeech, bottlenecks", {"adapter.kind": "bottleneck"}, base="unispeech"),
    "unispeech_self_training": Arm("UniSpeech, then self-training", {}, self_trains=True, base="unispeech"),
    "unispeech_plus_self_training": Arm(
        "UniSpeech, stage 2 on Kyrgyz, then self-training", {}, self_trains=True, base="unispeech_plus"
    ),
}
