"""Zero-shot floor: the base model with its own head of phones on the test split, before it has heard any of the speech.

Its phones are folded to the inventory of the run, so that notation alone is no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.data.speech import Speech
from unispeech_ft.data.utterances import Split
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.layer_graphs import give_rooms
from unispeech_ft.models.nearest_phones import nearest_phones
from unispeech_ft.models.saved import for_head, load_saved
from unispeech_ft.phonemes.tokenizer import WORD_DELIMITER, PhoneTokenizer
from unispeech_ft.runs.evidence import ZERO_SHOT, Scored
from unispeech_ft.scoring import GREEDY_RULE, score, summarize, write_results
from unispeech_ft.scoring.ladder import FOLDS, has_features
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.tasks.ctc_phoneme.evaluate import evaluate_split
from unispeech_ft.tasks.ctc_phoneme.task import SplitFeatures

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

# Rungs of the ladder by which a phone may be another of the inventory, the strictest first.
FOLDED_BY = ("notation", "length", "diacritics")


@dataclass(frozen=True)
class ZeroShot:
    """How the base model scores, and how many phones its head knows."""

    scored: Scored
    num_phones: int

    def line(self) -> str:
        """For people, to stand under the PER."""
        per = self.scored.summary.per
        said = "unknown" if per is None else f"{100 * per:.2f} %"
        return (
            f"zero-shot floor {said} (the base model's own head of {self.num_phones} phones, folded to the inventory)"
        )


def folded_to(inventory: Sequence[str], phones: Sequence[str]) -> dict[str, str]:
    """For each of some phones that of an inventory which it counts as: itself; the first that is the same in one
    notation, without length, or without diacritics; the nearest by articulatory features, where panphon is installed.
    One for which there is none stays as it is.
    """
    found = {phone: phone for phone in phones if phone in set(inventory)}
    for name in FOLDED_BY:
        fold = FOLDS[name]
        known: dict[str, str] = {}
        for phone in inventory:
            known.setdefault(fold(phone), phone)
        found |= {phone: known[bare] for phone in phones if phone not in found and (bare := fold(phone)) in known}
    rest = [phone for phone in phones if phone not in found]
    nearest = nearest_phones(rest, inventory) if rest and has_features() else {}
    return {phone: phone for phone in phones} | nearest | found


def _head_of_phones(built: BuiltModel) -> tuple[Any, PhoneTokenizer] | None:
    """The base model's own head where its rows are phones; a head with a mark between words says letters."""
    if built.base_head is None or WORD_DELIMITER in built.base_head.tokenizer.tokens:
        return None
    linear, tokenizer = built.base_head
    try:
        return linear, for_head("model.base", tokenizer, linear.out_features)
    except UserError:
        return None


def _base_network(config: CtcPhonemeConfig, built: BuiltModel, device: torch.device) -> Any:
    """The network as the base model has it: that of the run, or, where the run conditions it on its own head, the base
    model once more."""
    if not config.loss.conditioned_layers:
        return built.model
    return load_saved(str(config.model.base), device, revision=config.model.revision).built.model


def zero_shot_floor(
    config: CtcPhonemeConfig,
    speech: Speech,
    built: BuiltModel,
    tokenizer: PhoneTokenizer,
    features: Mapping[Split, SplitFeatures],
    accelerator: Accelerator,
) -> ZeroShot | None:
    """Scores the base model on the test split and writes what it said into `zero_shot`; to be asked on every process,
    before the first update.

    Args:
        built: as `build_model` made it: its encoder is the base model's.
        tokenizer: of the run, whose phones the base model's are folded to.

    Returns:
        None where there is no test split, or the base model has no head of phones.
    """
    own = _head_of_phones(built)
    if own is None or "test" not in features:
        return None
    linear, own_tokenizer = own
    network = _base_network(config, built, accelerator.device)
    labelled, store = features["test"].labelled, features["test"].store
    ours, network.lm_head = network.lm_head, linear.to(accelerator.device)
    try:
        evaluation = evaluate_split(network, own_tokenizer, labelled, store, accelerator, timed=False)
    finally:
        network.lm_head = ours
        give_rooms(network, (), training=False)  # training reckons with the memory that is free
    mapping = folded_to(tokenizer.phones, own_tokenizer.phones)
    said = {item.id: [mapping[phone] for phone in item.hypothesis] for item in evaluation.scores}
    scores = score(labelled.references, said)
    rule = f"{GREEDY_RULE} Its phones were folded to the inventory first."
    summary = summarize(
        scores,
        model=str(config.model.base),
        split="test",
        synthetic=speech.corpus.synthetic,
        labels=config.phonemes.labels,
        scoring=rule,
    )
    if accelerator.is_main_process:
        write_results(Path(config.output_dir) / ZERO_SHOT, scores, summary)
    return ZeroShot(Scored(summary, scores), len(own_tokenizer.phones))
