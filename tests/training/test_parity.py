"""The optimisation does not depend on the number of processes, nor on how an update is cut into micro-batches.

The same YAML runs with one process and with two, everything random switched on and the clip binding at every update.
Losses, gradient norms and final weights must agree; and the comparison must notice each of the faults of
`run_mutant.py` where only one of the two runs has it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from running import RECIPE, events, merged, must_run, tiny_settings, write_settings
from safetensors.numpy import load_file

from unispeech_ft.data.audio import read_audio
from unispeech_ft.data.batch_plan import BatchPlan, MicroBatch
from unispeech_ft.data.collate import TrainingSet
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.models.build import build_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.tasks.ctc_phoneme.task import CtcPhonemeTask
from unispeech_ft.training.step import make_optimizer, run_update
from unispeech_ft.training.task import UpdateShare

UPDATES = 10
RELATIVE, ABSOLUTE = 1e-5, 1e-5
RUNNER = Path(__file__).with_name("run_mutant.py")
# The attention scores' shift cancels in the softmax: what these learn is rounding noise.
NO_EVIDENCE = "k_proj.bias"


@dataclass(frozen=True)
class Outcome:
    losses: np.ndarray
    norms: np.ndarray
    weights: dict[str, np.ndarray]


def disagreements(first: Outcome, second: Outcome) -> list[str]:
    """What differs between two runs by more than rounding."""
    found = []
    for name in ("losses", "norms"):
        one, other = getattr(first, name), getattr(second, name)
        if len(one) != UPDATES or len(other) != UPDATES:
            found.append(f"{name}: {len(one)} and {len(other)} updates")
        elif not np.allclose(one, other, rtol=RELATIVE, atol=0):
            found.append(f"{name}: {np.max(np.abs(one / other - 1)):.1e} relative")
    assert first.weights.keys() == second.weights.keys()
    for name, tensor in first.weights.items():
        apart = float(np.max(np.abs(tensor - second.weights[name])))
        if apart > ABSOLUTE and NO_EVIDENCE not in name:
            found.append(f"weights: {name} {apart:.1e} absolute")
    return found


def seed_with_a_small_update(config: CtcPhonemeConfig) -> int:
    """A seed whose plan holds both updates of several micro-batches and one of a single micro-batch, so that with two
    processes one of them has nothing to do there."""
    clips = list_utterances(config.data).splits["train"]
    lengths = np.array([len(read_audio(str(clip.path))) for clip in clips])
    for seed in range(500):
        plan = BatchPlan(lengths, config.batch.seconds_per_update, config.batch.seconds_per_micro_batch, seed)
        sizes = [len(update.micro_batches) for update in plan.updates(0, UPDATES)]
        if min(sizes) == 1 and max(sizes) >= 4:
            return seed
    raise AssertionError("no such plan; change the sizes of this test")


@pytest.fixture(scope="module")
def outcome(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Outcome]:
    """(fault, processes) → the outcome of that run, each made once."""
    folder = tmp_path_factory.mktemp("parity")
    settings = merged(tiny_settings(tiny_speech, folder), {"optimizer": {"max_grad_norm": 0.5}})
    settings["schedule"]["updates"] = UPDATES
    settings["seed"] = seed_with_a_small_update(CtcPhonemeConfig.model_validate(settings))
    file = write_settings(folder / "parity.yaml", settings)
    done: dict[tuple[str, int], Outcome] = {}

    def run(fault: str, processes: int) -> Outcome:
        if (fault, processes) not in done:
            output = folder / f"{fault}-{processes}"
            must_run("--config", file, "--output_dir", output, processes=processes, script=(RUNNER, fault, RECIPE))
            updates = events(output)
            done[fault, processes] = Outcome(
                np.array([event["loss"] for event in updates]),
                np.array([event["grad_norm"] for event in updates]),
                load_file(output / "model" / "model.safetensors"),
            )
        return done[fault, processes]

    return run


def test_one_process_and_two_agree(outcome: Callable[[str, int], Outcome]) -> None:
    alone, together = outcome("none", 1), outcome("none", 2)
    assert alone.norms.min() > 0.5, "the clip must bind, or its loss would not show"
    assert disagreements(alone, together) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "processes", "shown_by"),
    [
        ("mean_of_means", 1, "losses"),
        ("no_division", 1, "norms"),
        ("no_clip", 1, "weights"),
        ("own_sentences", 2, "losses"),
        ("averaged_gradients", 2, "norms"),
    ],
)
def test_the_comparison_notices(
    fault: str, processes: int, shown_by: str, outcome: Callable[[str, int], Outcome]
) -> None:
    found = disagreements(outcome(fault, processes), outcome("none", 3 - processes))
    assert any(line.startswith(shown_by) for line in found), found


# How an update is cut


CLIPS = 6
NO_RANDOMNESS = {
    "model": dict.fromkeys(
        (
            "hidden_dropout",
            "attention_dropout",
            "activation_dropout",
            "feature_projection_dropout",
            "final_dropout",
            "layerdrop",
        ),
        0.0,
    ),
    "mask": {"time_prob": 0.0, "feature_prob": 0.0},
    "optimizer": {"max_grad_norm": 0.0},
}


def gradients_of(
    cut: list[list[int]], config: CtcPhonemeConfig, accelerator: Accelerator
) -> tuple[Any, dict[str, torch.Tensor]]:
    tokenizer = PhoneTokenizer.from_inventory(["a", "b", "d", "e"], "transformers")
    built = build_model(config.model, config.mask, config.data, tokenizer, config.seed)
    random = np.random.default_rng(0)
    clips = [random.normal(size=(40 + 17 * place, 16)).astype(np.float32) for place in range(CLIPS)]
    labels = [random.integers(4, 8, size=8 + 2 * place).tolist() for place in range(CLIPS)]
    training_set = TrainingSet(clips.__getitem__, labels, 32, config.mask, config.seed)
    micro_batches = [MicroBatch(0, index, tuple(places), 0) for index, places in enumerate(cut)]
    plan = BatchPlan(np.array([16_000] * CLIPS), 6.0, 6.0, config.seed)
    task = CtcPhonemeTask(config, built.model, plan, training_set, accelerator)
    optimizer = accelerator.prepare(make_optimizer(built.model, config.optimizer))
    built.model.train()
    batches = iter([training_set.batch(micro_batch) for micro_batch in micro_batches])
    share = UpdateShare(0, batches, sum(map(len, cut)), 0.0)
    result = run_update(task, optimizer, share, config.optimizer, config.optimizer.lr, config.seed, accelerator)
    return result, {name: value.grad for name, value in built.model.named_parameters() if value.grad is not None}


def test_accumulation_changes_nothing(tiny_speech: Path, tmp_path: Path, accelerator: Accelerator) -> None:
    config = CtcPhonemeConfig.model_validate(merged(tiny_settings(tiny_speech, tmp_path), NO_RANDOMNESS))
    whole, expected = gradients_of([list(range(CLIPS))], config, accelerator)
    for cut in ([[0, 1, 2], [3, 4, 5]], [[5, 0], [4, 1], [3, 2]], [[place] for place in range(CLIPS)]):
        result, gradients = gradients_of(cut, config, accelerator)
        assert result.loss.item() == pytest.approx(whole.loss.item(), rel=1e-5)
        assert result.grad_norm.item() == pytest.approx(whole.grad_norm.item(), rel=1e-5)
        assert gradients.keys() == expected.keys()
        for name in itertools.filterfalse(lambda name: NO_EVIDENCE in name, expected):
            scale = expected[name].abs().max().item()
            apart = (gradients[name] - expected[name]).abs().max().item()
            assert apart <= 1e-5 * max(scale, 1e-3 * whole.grad_norm.item()), name


def test_the_loss_is_the_mean_over_sentences(tiny_speech: Path, tmp_path: Path, accelerator: Accelerator) -> None:
    config = CtcPhonemeConfig.model_validate(merged(tiny_settings(tiny_speech, tmp_path), NO_RANDOMNESS))
    singly = [gradients_of([[place]], config, accelerator)[0].loss.item() for place in range(CLIPS)]
    together = gradients_of([list(range(CLIPS))], config, accelerator)[0].loss.item()
    assert together == pytest.approx(sum(singly) / CLIPS, rel=1e-5)
