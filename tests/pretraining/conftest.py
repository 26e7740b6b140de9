from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import REPOSITORY, merged

RECIPE = REPOSITORY / "recipes" / "pretrain_unispeech.py"


def tiny_pretraining(corpus: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """A complete pre-training of seconds, with every kind of randomness switched on."""
    settings = {
        "seed": 7,
        "output_dir": str(folder / "run"),
        "model": {
            "from_scratch": True,
            "layerdrop": 0.2,
            "quantizer_dropout": 0.1,
            "config": {
                "model_type": "unispeech",
                "hidden_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "intermediate_size": 48,
                "conv_dim": [32, 16],
                "conv_kernel": [256, 8],
                "conv_stride": [40, 8],
                "conv_bias": True,
                "feat_extract_norm": "layer",
                "do_stable_layer_norm": True,
                "num_conv_pos_embeddings": 8,
                "num_conv_pos_embedding_groups": 4,
                "num_codevectors_per_group": 16,
                "codevector_dim": 16,
                "proj_codevector_dim": 16,
            },
        },
        "data": {
            "root": str(corpus),
            "language": "ky",
            "cache_dir": str(folder.parent / "cache"),
            "max_duration_s": 6.0,
            "num_workers": 1,
        },
        "objective": {"negatives": 10, "gumbel_decay": 0.9},
        "batch": {"seconds_per_update": 24.0, "seconds_per_sub_batch": 6.0},
        "mask": {"time_prob": 0.5, "time_length": 5, "feature_prob": 0.2, "feature_length": 4},
        "schedule": {"name": "constant", "updates": 6, "warmup": 0},
        "evaluation": {"every_updates": 3},
        "checkpointing": {"every_updates": 3, "keep_last": 9},
        "tracking": {"trackers": []},
    }
    return merged(settings, changes)


@pytest.fixture
def pretrain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the recipe in this process: words → exit status."""

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", [str(RECIPE), *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(RECIPE), run_name="__main__")
        return int(ended.value.code or 0)

    return run
