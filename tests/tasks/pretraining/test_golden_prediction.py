"""Masked prediction, ILS-SSL's layers and UniSpeech-SAT equal the original code on recorded draws, and the comparison
notices faults."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import SHARED
from safetensors.torch import load_file
from torch import Tensor, nn

from unispeech_ft.convert.convert import convert
from unispeech_ft.convert.reading import open_original
from unispeech_ft.convert.renaming import BACKBONE, POSITION_BIAS, QUANTISER, SPEAKER, rename_all
from unispeech_ft.data.row import Row, lay_out
from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM
from unispeech_ft.models.loader import read_config
from unispeech_ft.tasks.pretraining import prediction
from unispeech_ft.tasks.pretraining.forward import Speech
from unispeech_ft.tasks.pretraining.prediction import PredictionTerms, PredictionWeights, prediction_terms
from unispeech_ft.tasks.pretraining.prediction_loss import Prediction

GOLDEN = Path(os.environ.get("UNISPEECH_FT_GOLDEN_TASKS", SHARED / "golden_tasks"))
NAMES = ("masked_prediction", "pretraining", "pretraining_gumbel")
FILES = [file for name in NAMES for file in sorted(GOLDEN.glob(f"*/{name}.safetensors"))]
CONTRASTS = [file for file in FILES if file.stem.startswith("pretraining")]
ABSENT = pytest.param(None, marks=pytest.mark.skip(reason=f"no outputs of pre-training in {GOLDEN}"), id="absent")
RELATIVE, RELATIVE_GRADIENT, SMALL_NORM = 1e-5, 1e-4, 1.0
DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
HEADS = (
    (r"final_proj\.(weight|bias)", r"prediction.0.projection.\1"),
    (r"final_proj\.(\d+)\.(weight|bias)", r"prediction.\1.projection.\2"),
    (r"post_layer_norm\.(\d+)\.(weight|bias)", r"prediction.\1.norm.\2"),
)


@dataclass(frozen=True)
class Recorded:
    """A golden file, and the model that it speaks of.

    Attributes:
        names: ours → the original's, without the embeddings of the classes.
    """

    tensors: dict[str, Tensor]
    said: dict[str, Any]
    sizes: dict[str, Any]
    names: dict[str, str]
    network: nn.Module

    @property
    def embeddings(self) -> list[nn.Parameter]:
        return list(prediction.heads_of(self.network).embeddings)


def network_of(folder: Path, sizes: dict[str, Any], out: Path) -> tuple[nn.Module, dict[str, str]]:
    """The converted encoder with the original's heads."""
    from transformers import AutoModelForPreTraining

    convert(folder / "checkpoint.pt", out)
    config = read_config(out, out.name)
    for name in (*DROPOUTS, "feat_quantizer_dropout", "layerdrop"):
        setattr(config, name, 0.0)
    config.num_clusters, config.proj_codevector_dim = sizes["classes"], sizes["final_dim"]
    config.prediction_layers = sizes.get("predict_layers")
    network = AutoModelForPreTraining.from_pretrained(out, config=config, attn_implementation="eager").train()
    original = open_original(folder / "checkpoint.pt")
    tensors = original.content["model"]
    sat = config.model_type == "unispeech-sat"
    unused = {r"label_embs_concat": "several", r"weights": "not used"}
    unused |= {r"encoder\.layer_norm\..*": "never applied"} if config.model_type in (ILS_HUBERT, ILS_WAVLM) else {}
    heads = (*QUANTISER, *SPEAKER) if sat else HEADS
    prefix = network.base_model_prefix + "."
    renamed = rename_all(tensors, (*BACKBONE, *POSITION_BIAS), heads, "", prefix, unused)
    assert not renamed.unknown, renamed.unknown
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, old in renamed.names.items():
            if name.startswith("prediction."):
                parameters[name].copy_(torch.tensor(original.read(tensors[old])))
        embeddings = torch.tensor(original.read(tensors["label_embs_concat"]))
        for own, given in zip(
            prediction.heads_of(network).embeddings, embeddings.view(-1, *embeddings.shape[-2:]), strict=True
        ):
            own.copy_(given)
    return network, dict(renamed.names)


def named(file: Path) -> str:
    return f"{file.parent.name}-{file.stem}"


@pytest.fixture(scope="module", params=FILES or [ABSENT], ids=[named(file) for file in FILES] or None)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    file: Path = request.param
    sizes = json.loads((file.parent / "meta.json").read_text(encoding="utf-8"))["sizes"]
    network, names = network_of(file.parent, sizes, tmp_path_factory.mktemp("golden") / "model")
    said = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return Recorded(load_file(file), said, sizes, names, network)


def weights_of(recorded: Recorded) -> PredictionWeights:
    said = recorded.said["weights"]
    penalty, utterance, _, diversity = (*said["loss_weights"], 0.0, 0.0, 0.0)[:4]
    return PredictionWeights(
        said["pred_masked_weight"],
        said["pred_nomask_weight"],
        penalty,
        utterance,
        diversity,
        recorded.sizes["logit_temp"],
        recorded.sizes.get("utterance_contrastive_layer"),
        extractor_sees_padding=True,
    )


def terms_of(recorded: Recorded, weights: PredictionWeights | None = None, **changed: Tensor) -> PredictionTerms:
    """The terms on the recorded draws, after a backward pass of their loss."""
    given = {**recorded.tensors, **changed}
    there = ~given["padding_mask"].bool()
    mask = given["mask_time_indices"].bool()[there]
    speech = Speech(
        given["input_values"],
        lay_out(there.sum(dim=1).tolist()),
        mask,
        mask.nonzero()[:, 0],
        given["mask_time_indices"].sum(dim=1).tolist(),
        num_samples=given["input_lengths"].tolist(),
    )
    sampled = given["sampled_instance_indices"].flatten(1).T if "sampled_instance_indices" in given else None
    noise = given["gumbel_noise"].flatten(0, 1) if "gumbel_noise" in given else None
    recorded.network.zero_grad(set_to_none=True)
    terms = prediction_terms(
        recorded.network,
        speech,
        given["targets"].long()[there],
        weights or weights_of(recorded),
        sampled=sampled,
        gumbel=None if noise is None else lambda _: noise,
        gumbel_temperature=recorded.said.get("temperature", 1.0),
    )
    terms.loss.backward()
    return terms


def figures(recorded: Recorded, terms: PredictionTerms) -> dict[str, tuple[float, float]]:
    """Every recorded figure but gradients: ours and the original's."""
    said = recorded.said
    ours: dict[str, Any] = {
        "loss": terms.loss,
        "sample_size": terms.num_frames,
        "features_pen": terms.penalty,
        "masked_cross_entropy_sum": [head.loss_sum for head in terms.masked],
        "correct": [head.correct for head in terms.masked],
        "unmasked cross_entropy_sum": [head.loss_sum for head in terms.unmasked],
        "unmasked correct": [head.correct for head in terms.unmasked],
    }
    if terms.utterance is not None:
        ours |= {
            "loss_spk": terms.utterance.contrast.loss,
            "contrastive_accuracy": terms.utterance.contrast.correct,
            "diversity": terms.utterance.diversity,
            "prob_perplexity": terms.utterance.prob_perplexity,
        }
    if terms.utterance is not None and "gumbel_noise" not in recorded.tensors:  # the original counts without noise
        counts = terms.utterance.code_counts
        ours["code_perplexity"] = prediction.perplexity((counts / counts[0].sum())[None])
    found = {}
    for name, value in ours.items():
        inside, _, key = name.rpartition(" ")
        expected = said[inside][key] if inside else said[key]
        pairs = zip(value, expected, strict=True) if isinstance(value, list) else [(value, expected)]
        found |= {
            f"{name} {place}": (float(torch.as_tensor(one).detach()), float(other))
            for place, (one, other) in enumerate(pairs)
        }
    return found


def differences(recorded: Recorded, terms: PredictionTerms) -> dict[str, float]:
    """Relative differences of figures and gradients' norms that are above their tolerance, as multiples of it."""
    found = {
        name: abs(one - other) / max(abs(other), 1e-12) / RELATIVE
        for name, (one, other) in figures(recorded, terms).items()
    }
    norms = dict(recorded.said["gradient_norms"])
    gradients = {name: parameter.grad for name, parameter in recorded.network.named_parameters()}
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    by_name = {}
    for name, gradient in gradients.items():
        for new, before in old.items():
            name = name.replace(new, before)
        by_name[name] = gradient
    embeddings = torch.stack([own.grad for own in recorded.embeddings])
    pairs = {"label_embs_concat": embeddings.norm()} | {
        original: by_name[name].norm()
        for name, original in recorded.names.items()
        if original in norms and by_name.get(name) is not None
    }
    noise = set(recorded.said["gradient_zero_in_exact_arithmetic"])
    found |= {name: float("inf") for name in norms if name not in pairs and name not in noise}
    for name, norm in pairs.items():
        if name not in noise:
            tolerance = RELATIVE if norms[name] > SMALL_NORM else RELATIVE_GRADIENT
            found[name] = abs(float(norm) - norms[name]) / norms[name] / tolerance
    return {name: value for name, value in found.items() if value > 1}


def test_every_recorded_figure(recorded: Recorded) -> None:
    assert differences(recorded, terms_of(recorded)) == {}


def test_recorded_gradients(recorded: Recorded) -> None:
    terms_of(recorded)
    embeddings = torch.stack([own.grad for own in recorded.embeddings]).view(
        recorded.tensors["grad.label_embs_concat"].shape
    )
    assert torch.allclose(embeddings, recorded.tensors["grad.label_embs_concat"], rtol=1e-4, atol=1e-4)
    base = getattr(recorded.network, recorded.network.base_model_prefix)
    assert torch.allclose(base.masked_spec_embed.grad, recorded.tensors["grad.mask_emb"], rtol=1e-4, atol=1e-4)


def test_what_has_no_gradient_in_the_original_has_none(recorded: Recorded) -> None:
    terms_of(recorded)
    parameters = dict(recorded.network.named_parameters())
    for original in recorded.said["no_gradient"]:
        ours = [name for name, old in recorded.names.items() if old == original]
        assert all(name not in parameters or parameters[name].grad is None for name in ours), original


def twice_the_true_class(scores: Tensor, classes: Tensor) -> Prediction:
    """The true class first, and once more among all classes."""
    both = torch.cat([scores.gather(1, classes[:, None]), scores], dim=1)
    return RIGHT(both, torch.zeros_like(classes))


RIGHT: Callable[[Tensor, Tensor], Prediction] = prediction.predict


@pytest.mark.parametrize(
    "fault", ["duplicate", "unmasked", "denominator", "mixed_labels", "padding", "temperature", "last_layer"]
)
def test_the_comparison_notices(fault: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, changed = weights_of(recorded), {}
    if fault == "padding" and not recorded.tensors["padding_mask"].any():
        pytest.skip("no padding")
    if fault == "duplicate":
        monkeypatch.setattr(prediction, "predict", twice_the_true_class)
    elif fault == "unmasked":
        weights = replace(weights, unmasked=1.0)
    elif fault == "denominator":
        weights = replace(weights, penalty=weights.penalty * len(recorded.tensors["targets"]))
    elif fault == "mixed_labels":
        changed["targets"] = recorded.tensors["targets"].roll(1, dims=1)
    elif fault == "padding":
        weights = replace(weights, extractor_sees_padding=False)
    elif fault == "temperature":
        weights = replace(weights, temperature=1.1 * weights.temperature)
    else:
        right = prediction.encode_blocks

        def one_early(model: nn.Module, row: Row, blocks: list[int], **how: Any) -> tuple[Tensor, list[Tensor]]:
            _, states = right(model, row, [*(block - 1 for block in blocks), recorded.sizes["layers"] - 1], **how)
            return states[-1], states[:-1]

        monkeypatch.setattr(prediction, "encode_blocks", one_early)
    found = differences(recorded, terms_of(recorded, weights, **changed))
    assert max(found.values(), default=0) > 10, "a fault went unnoticed"


@pytest.mark.parametrize("recorded", CONTRASTS or [ABSENT], ids=[named(f) for f in CONTRASTS] or None, indirect=True)
@pytest.mark.parametrize("fault", ["instances", "diversity", "layer", "own_clip"])
def test_the_comparison_notices_of_the_utterances(
    fault: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, changed = weights_of(recorded), {}
    if fault == "instances":
        drawn = recorded.tensors["sampled_instance_indices_drawn"]
        changed["sampled_instance_indices"] = drawn.view(len(drawn), -1, recorded.sizes["samples_a_frame"]).permute(
            2, 0, 1
        )
    elif fault == "diversity":
        weights = replace(weights, diversity=0.0)
    elif fault == "layer":
        weights = replace(
            weights, contrast_layer=recorded.sizes["utterance_contrastive_layer"] % recorded.sizes["layers"] + 1
        )
    else:
        right = prediction.utterance_contrast
        monkeypatch.setattr(
            prediction, "utterance_contrast", lambda x, y, drawn, clips, t: right(x, y, drawn, 0 * clips, t)
        )
    found = differences(recorded, terms_of(recorded, weights, **changed))
    assert max(found.values(), default=0) > 10, "a fault went unnoticed"
