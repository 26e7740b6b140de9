"""The objective equals the original code's on recorded indices, and the comparison notices faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from golden import GOLDEN
from safetensors.torch import load_file
from torch import Tensor, nn

from unispeech_ft.convert.convert import convert
from unispeech_ft.convert.renaming import BACKBONE, QUANTISER, rename_all
from unispeech_ft.data.row import lay_out
from unispeech_ft.tasks.pretraining import forward as pretraining_forward
from unispeech_ft.tasks.pretraining import objective as pretraining
from unispeech_ft.tasks.pretraining.forward import Draws, Speech, Terms, Weights, pretraining_terms

FILES = sorted(GOLDEN.glob("*/pretraining_loss.safetensors")) if GOLDEN.is_dir() else []
ABSENT = pytest.param(None, marks=pytest.mark.skip(reason=f"no pretraining_loss.safetensors in {GOLDEN}"), id="absent")
RELATIVE = 1e-5
DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")


@dataclass(frozen=True)
class Recorded:
    """A golden file, and the model that it speaks of."""

    tensors: dict[str, Tensor]
    settings: dict
    special: set[int]
    network: nn.Module


@pytest.fixture(scope="module", params=FILES or [ABSENT], ids=[file.parent.name for file in FILES] or None)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    from transformers import UniSpeechConfig, UniSpeechForPreTraining

    file: Path = request.param
    folder = tmp_path_factory.mktemp("golden") / "model"
    convert(file.parent / "checkpoint.pt", folder)
    config = UniSpeechConfig.from_pretrained(folder)
    for name in (*DROPOUTS, "feat_quantizer_dropout", "layerdrop"):
        setattr(config, name, 0.0)
    network, info = UniSpeechForPreTraining.from_pretrained(
        folder, config=config, output_loading_info=True, attn_implementation="eager"
    )
    assert not info["missing_keys"]
    meta = json.loads((file.parent / "meta.json").read_text(encoding="utf-8"))
    settings = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    network.config.pad_token_id = settings["blank"]
    ends = {meta["dictionary"].index(token) for token in ("<pad>", "</s>") if token in meta.get("dictionary", ())}
    return Recorded(load_file(file), settings, ends, network.train())


def terms_of(recorded: Recorded, *, weights: Weights | None = None, **changed: Tensor) -> Terms:
    """The terms on the recorded indices, after a backward pass of their loss."""
    given = {**recorded.tensors, **changed}
    kept = [torch.tensor([label for label in row if label not in recorded.special]) for row in given["labels"].tolist()]
    labels = (torch.cat(kept), [len(row) for row in kept])
    mask = given["mask_time_indices"].bool()
    row = mask.flatten()  # the clips are of one length
    speech = Speech(
        given["input_values"],
        lay_out([mask.shape[1]] * len(mask)),
        row,
        row.nonzero()[:, 0],
        mask.sum(dim=1).tolist(),
    )
    draws = Draws(given["sampled_negative_indices"].flatten(0, 1), given["replace_indices"].T.flatten(), None, 1.0)
    said = recorded.settings["weights"]
    weights = weights or Weights(alpha=said["mtlalpha"], diversity=said["diversity"], temperature=0.1)
    recorded.network.zero_grad(set_to_none=True)
    terms = pretraining_terms(recorded.network, speech, draws, weights, labels)
    terms.loss.backward()
    return terms


def differences(recorded: Recorded, terms: Terms) -> dict[str, float]:
    """Relative difference of every recorded figure."""
    weight = recorded.settings["weights"]["diversity"]
    weighed = terms.diversity * terms.num_masked * weight
    found = {
        "loss": terms.loss,
        "contrastive_only": terms.contrastive_sum,
        "contrastive_plus_diversity": terms.contrastive_sum + weighed,
        "diversity_weighted": weighed,
        "ctc_loss_sum": terms.ctc_sum,
        "prob_perplexity": terms.prob_perplexity,
        "code_perplexity": terms.code_perplexity,
        "correct": terms.correct,
        "count": torch.tensor(terms.num_masked),
        "sample_size": torch.tensor(terms.num_masked),
    }
    norms = {name.removeprefix("grad_norm."): name for name in recorded.tensors if name.startswith("grad_norm.")}
    renamed = rename_all(norms, BACKBONE, QUANTISER, "ctc_proj", "unispeech.", {})
    assert not renamed.unknown, renamed.unknown
    parameters = dict(recorded.network.named_parameters())
    for name, original in renamed.names.items():
        gradient = parameters[name].grad
        found[norms[original]] = torch.zeros(()) if gradient is None else gradient.norm()
    inputs = {"input_values", "labels", "mask_time_indices", "replace_indices", "sampled_negative_indices"}
    assert recorded.tensors.keys() - inputs - {"temperature"} == found.keys()
    expected = {name: float(recorded.tensors[name].double()) for name in found}
    return {
        name: abs(float(value.detach()) - expected[name]) / max(abs(expected[name]), 1e-12)
        for name, value in found.items()
    }


def test_every_recorded_figure(recorded: Recorded) -> None:
    found = differences(recorded, terms_of(recorded))
    assert max(found.values()) <= RELATIVE, found


def _as_recorded(recorded: Recorded) -> Weights:
    said = recorded.settings["weights"]
    return Weights(alpha=said["mtlalpha"], diversity=said["diversity"], temperature=0.1)


@pytest.mark.parametrize("fault", ["alpha", "negatives", "temperature", "replacement", "diversity_per_frame", "equal"])
def test_the_comparison_notices(fault: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    given, weights, changed = recorded.tensors, _as_recorded(recorded), {}
    if fault == "alpha":
        weights = replace(weights, alpha=0.9 * weights.alpha)
    elif fault == "negatives":
        changed["sampled_negative_indices"] = given["sampled_negative_indices"].roll(1, dims=1)
    elif fault == "temperature":
        weights = replace(weights, temperature=0.11)
    elif fault == "replacement":
        changed["replace_indices"] = ~given["replace_indices"]
    elif fault == "diversity_per_frame":
        right: Callable = pretraining.total_loss
        monkeypatch.setattr(
            pretraining_forward, "total_loss", lambda ctc, nce, div, masked, **how: right(ctc, nce, div, 1, **how)
        )
    else:
        never: Callable = lambda codes, everywhere, negatives: torch.zeros_like(negatives, dtype=torch.bool)  # noqa: E731
        monkeypatch.setattr(pretraining_forward, "same_codes", never)
    found = differences(recorded, terms_of(recorded, weights=weights, **changed))
    assert max(found.values()) > 10 * RELATIVE, "a fault went unnoticed"
