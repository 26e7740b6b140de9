"""Beam search with a phone n-gram, by flashlight-text's decoder with KenLM; greedy decoding is the rule.

A folder holds what a search needs: `phones.arpa`, made from training labels, and `beam.json` with weights tuned on the
validation split. The blank's log posterior is lowered by `blank_penalty`, since every n-gram favours few phones.

Shapes: `T` frames, `V` rows of the head.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.extras import optional
from unispeech_ft.files import parse_json
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring.alignment import distance
from unispeech_ft.scoring.greedy import collapse

ARPA, SETTINGS = "phones.arpa", "beam.json"
LM_WEIGHTS = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0)
BLANK_PENALTIES = (0.0, 1.0, 2.0, 3.0)
NEVER = -1e4
LARGEST_BEAM = 10_000

LogPosteriors = npt.NDArray[np.float32]
Search = Callable[[LogPosteriors], list[int]]


@dataclass(frozen=True)
class BeamSettings:
    """How a search weighs: log p(phones) × `lm_weight` is added; `beam_size` hypotheses live on."""

    order: int
    lm_weight: float
    blank_penalty: float
    beam_size: int = 20

    @property
    def rule(self) -> str:
        """For the evidence of a PER."""
        weights = f"weight {self.lm_weight:g}, blank penalty {self.blank_penalty:g}, tuned on the validation split"
        return (
            f"Beam search of {self.beam_size} hypotheses over each utterance's own frames, padding cut away, with a"
            f" phone {self.order}-gram of the training labels ({weights}). "
        )


def check_library() -> None:
    """Raises UserError where flashlight-text is not installed."""
    optional("flashlight.lib.text", "beam", "beam search")


def make_search(
    arpa: Path, settings: BeamSettings, tokens: Sequence[str], blank: int, special_ids: Iterable[int]
) -> Search:
    """A search: log posteriors `[T, V]` → labels.

    Args:
        arpa: the n-gram; its words are tokens.
        settings: weights.
        tokens: `V`, of each row of the head.
        blank: the id of the CTC blank.
        special_ids: rows that never stand for a phone.

    Raises:
        UserError: flashlight-text is not installed, or the n-gram cannot be read.
    """
    check_library()
    from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    never = sorted({*special_ids} - {blank})
    options = LexiconFreeDecoderOptions(
        beam_size=settings.beam_size,
        beam_size_token=len(tokens),
        beam_threshold=20.0,
        lm_weight=settings.lm_weight,
        sil_score=0.0,
        log_add=False,
        criterion_type=CriterionType.CTC,
    )
    try:
        with _quiet():
            # Its words stand in the order of the rows, so that a row's number is its word's.
            language_model = KenLM(str(arpa), Dictionary([token.replace(" ", "_") for token in tokens]))
    except (RuntimeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{arpa}: not an n-gram that can be read ({first_line(error)})", remedy="make it again"
        ) from None

    decoder = LexiconFreeDecoder(options, language_model, blank, blank, [])

    def search(log_posteriors: LogPosteriors) -> list[int]:
        emissions = np.array(log_posteriors, dtype=np.float32)
        if not len(emissions):
            return []
        emissions[:, never] = NEVER
        emissions[:, blank] -= settings.blank_penalty
        found = decoder.decode(emissions.ctypes.data, *emissions.shape)
        return collapse(found[0].tokens, blank, never) if found else []

    return search


def load_search(folder: Path, tokenizer: PhoneTokenizer) -> tuple[Search, BeamSettings]:
    """The search of a folder that `unispeech-ft ngram` has made, and its settings.

    Raises:
        UserError: the folder cannot be used, or flashlight-text is not installed.
    """
    settings = read_settings(folder)
    search = make_search(folder / ARPA, settings, tokenizer.tokens, tokenizer.blank_id, tokenizer.special_ids)
    return search, settings


@contextmanager
def _quiet() -> Iterator[None]:
    """KenLM writes its progress to the process's stderr."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def tune(
    make: Callable[[BeamSettings], Search],
    clips: Sequence[tuple[LogPosteriors, Sequence[int]]],
    order: int,
) -> tuple[BeamSettings, list[tuple[BeamSettings, float]]]:
    """The weights with the lowest PER on a validation split, the gentlest of several; and the PER of every trial.

    Args:
        make: settings → search.
        clips: log posteriors and reference labels of each utterance.
        order: of the n-gram.
    """
    trials = []
    phones = sum(len(reference) for _, reference in clips)
    for lm_weight, penalty in itertools.product(LM_WEIGHTS, BLANK_PENALTIES):
        settings = BeamSettings(order, lm_weight, penalty)
        search = make(settings)
        errors = sum(distance(list(map(str, said)), list(map(str, search(frames)))) for frames, said in clips)
        trials.append((settings, errors / max(1, phones)))
    best = min(trials, key=lambda trial: (trial[1], trial[0].lm_weight, trial[0].blank_penalty))
    return best[0], trials


def write_settings(folder: Path, settings: BeamSettings) -> None:
    """Writes `beam.json`."""
    (folder / SETTINGS).write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> BeamSettings:
    """Reads `beam.json`.

    Raises:
        UserError: there is none, or it is malformed.
    """
    try:
        settings = BeamSettings(**parse_json((folder / SETTINGS).read_text(encoding="utf-8")))
        if type(settings.beam_size) is not int or not 0 < settings.beam_size <= LARGEST_BEAM:
            raise ValueError(f"beam_size must be 1 to {LARGEST_BEAM}")
        if not math.isfinite(settings.order + settings.lm_weight + settings.blank_penalty):
            raise ValueError("its weights must be numbers")
        return settings
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / SETTINGS} cannot be used ({first_line(error)})", remedy="make it with `unispeech-ft ngram`"
        ) from None
