"""The warning on codebook collapse: where it is due, once, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from running import events, tiny_pretraining, write_settings

from unispeech_ft.tasks.pretraining.health import CODEBOOK, LOOKED_AT, PREDICTION, QUIET_UPDATES, CollapseWatch


def codebook(codes: int = 320, start_after: int = 0) -> CollapseWatch:
    return CollapseWatch("code_perplexity", 2, codes, start_after, CODEBOOK)


def warnings(watch: CollapseWatch, perplexity: float, updates: int) -> list[str]:
    return [text for _ in range(updates) for text in watch({"code_perplexity": perplexity})]


def test_a_collapsed_codebook_is_told_once_in_a_while() -> None:
    watch = codebook()
    said = warnings(watch, 2.4, LOOKED_AT + QUIET_UPDATES)
    assert len(said) == 1
    assert "the codebook has collapsed" in said[0]
    assert "1.2 of 320" in said[0]
    assert len(warnings(watch, 2.4, QUIET_UPDATES + 1)) == 1


@pytest.mark.parametrize(("perplexity", "codes"), [(20.0, 320), (5.0, 64), (30.0, 320)])
def test_a_living_codebook_is_left_alone(perplexity: float, codes: int) -> None:
    assert warnings(codebook(codes), perplexity, 100) == []


def test_predictions_of_one_class_are_told() -> None:
    watch = CollapseWatch("predicted_classes", 1, 500, 0, PREDICTION)
    assert not [text for _ in range(LOOKED_AT) for text in watch({"predicted_classes": 40.0})]
    said = [text for _ in range(LOOKED_AT) for text in watch({"predicted_classes": 1.5})]
    assert len(said) == 1
    assert "the predictions have collapsed" in said[0]


def test_the_warm_up_is_left_alone() -> None:
    watch = codebook(start_after=60)
    assert warnings(watch, 2.0, 60) == []
    assert len(warnings(watch, 2.0, 30)) == 1


def test_without_the_contrastive_task_there_is_nothing_to_watch() -> None:
    assert codebook()({"ctc_loss": 1.0}) == []


def test_a_run_says_so(
    spoken_corpus: Path, tmp_path: Path, pretrain: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codebook that can only collapse: no diversity, and a rate that pushes it to a few codes."""
    changes = {
        "objective": {"diversity_weight": 0.0, "alpha": 0.0, "replacement": 0.0},
        "optimizer": {"lr": 0.1},
        "batch": {"seconds_per_update": 6.0},
        "schedule": {"updates": 45},
        "checkpointing": {"every_updates": 100},
    }
    file = write_settings(tmp_path / "collapse.yaml", tiny_pretraining(spoken_corpus, tmp_path, **changes))
    assert pretrain("--config", file) == 0
    said = events(tmp_path / "run", "warning")
    last = events(tmp_path / "run")[-1]
    assert last["code_perplexity"] < 5, "this codebook did not collapse; the trial is no trial"
    assert len(said) == 1, json.dumps(last)
    assert "the codebook has collapsed" in said[0]["text"]
