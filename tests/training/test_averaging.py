"""Means of the weights, a running one and one of the best: formulas, place in the network, and which is kept."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from unispeech_ft.training.averaging import AveragedWeights, BestWeights
from unispeech_ft.training.loop import _found
from unispeech_ft.training.task import Score

DECAY = 0.9


def network() -> nn.Linear:
    torch.manual_seed(1)
    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    return module


def trained(module: nn.Linear, average: AveragedWeights, updates: int) -> list[torch.Tensor]:
    history = []
    for number in range(updates):
        with torch.no_grad():
            module.weight.add_(torch.full((2, 3), 0.1 * (number + 1)))
        average.update()
        history.append(module.weight.detach().clone())
    return history


def test_the_formula() -> None:
    module = network()
    expected = module.weight.detach().double()
    average = AveragedWeights(module, DECAY)
    for number, weight in enumerate(trained(module, average, 200)):
        decay = min(DECAY, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weight.double()
    torch.testing.assert_close(average.values["weight"].double(), expected, rtol=1e-5, atol=0)
    assert list(average.values) == ["weight"], "what does not train needs no mean"


def test_the_network_is_left_as_it_was() -> None:
    module = network()
    average = AveragedWeights(module, DECAY)
    trained(module, average, 5)
    before = module.weight.detach().clone()
    assert not torch.equal(before, average.values["weight"])
    with average.in_place():
        assert torch.equal(module.weight, average.values["weight"])
    assert torch.equal(module.weight, before)


def test_going_on_is_exact() -> None:
    module = network()
    straight = AveragedWeights(module, DECAY)
    trained(module, straight, 5)
    again = AveragedWeights(network(), DECAY)
    again.load(straight.state())
    copy = network()
    copy.load_state_dict(module.state_dict())
    again._weights = {"weight": copy.weight}
    trained(module, straight, 5)
    trained(copy, again, 5)
    assert torch.equal(straight.values["weight"], again.values["weight"])


@pytest.mark.parametrize(
    ("errors", "kept"),
    [((0.3, 0.2), 0.2), ((0.2, 0.3), 0.2), ((0.2, 0.2), 0.2), ((float("nan"), 0.3), 0.3), ((0.3, float("nan")), 0.3)],
)
def test_the_better_is_kept(errors: tuple[float, float], kept: float) -> None:
    module = network()
    average = AveragedWeights(module, DECAY)
    trained(module, average, 5)

    def score() -> Score:
        error = errors[int(torch.equal(module.weight, average.values["weight"]))]
        values: Mapping[str, Any] = {"per": error}
        return Score(values, error, "said")

    found, mean = _found(SimpleNamespace(score=score), average, None, 5)  # type: ignore[arg-type]
    assert found.error == kept
    assert (mean is average) == (kept == errors[1] != errors[0])
    assert list(found.values) == ["per", "averaged_per"]


def put(module: nn.Linear, value: float) -> None:
    with torch.no_grad():
        module.weight.fill_(value)


def test_the_mean_of_the_best() -> None:
    module = network()
    best = BestWeights(module, 3)
    errors = [0.5, float("nan"), 0.4, 0.6, 0.3, 0.5, 0.7, 0.2]
    taken = []
    for number, error in enumerate(errors):
        put(module, number)
        taken.append(best.take(None if error != error else error, number))
    # The first makes no mean yet; of two as good the earlier stays.
    assert taken == [False, False, True, True, True, False, False, True]
    assert best.updates == [2, 4, 7]
    torch.testing.assert_close(best.mean()["weight"], torch.full((2, 3), (2 + 4 + 7) / 3))
    again = BestWeights(module, 3)
    again.load(best.state())
    assert again.updates == best.updates
    assert torch.equal(again.mean()["weight"], best.mean()["weight"])
    with best.in_place():
        assert torch.equal(module.weight, best.mean()["weight"])
    assert torch.equal(module.weight, torch.full((2, 3), 7.0)), "the network is left as it was"


@pytest.mark.parametrize(("mean_error", "is_kept"), [(0.1, True), (0.3, False), (float("nan"), False)])
def test_the_mean_of_the_best_is_kept_where_it_is_better(mean_error: float, is_kept: bool) -> None:
    module = network()
    best = BestWeights(module, 2)
    for number, error in enumerate((0.25, 0.2)):
        put(module, float(number))

        def score(error: float = error) -> Score:
            found = mean_error if module.weight[0, 0] == 0.5 else error
            return Score({"per": found}, found, "said")

        found, mean = _found(SimpleNamespace(score=score), None, best, number)  # type: ignore[arg-type]
    assert (mean is best) == is_kept
    assert found.error == (mean_error if is_kept else 0.2)
    assert found.text == ("said of the mean of updates 0, 1" if is_kept else "said")
    assert list(found.values) == ["per", "mean_of_best_per"]
