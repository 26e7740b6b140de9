"""Beam search with a phone n-gram, by torchaudio's CTC decoder (flashlight-text, KenLM); greedy decoding is the rule.

A folder holds what a search needs: `phones.arpa`, made from training labels, and `beam.json` with weights tuned on the
validation split. The blank's log posterior is lowered by `blank_penalty`, since every n-gram favours few phones.

Shapes: `T` frames, `V` rows of the head.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.files import parse_json
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring.alignment import distance

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
    if importlib.util.find_spec("flashlight") is None:
        raise UserError("beam search needs flashlight-text", remedy="pip install 'unispeech-ft[beam]'")


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
    import torch
    from torchaudio.models.decoder import ctc_decoder

    never = sorted({*special_ids} - {blank})
    try:
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            # Without a dictionary of its own, torchaudio numbers the n-gram's phones in another order than the rows.
            rows = Path(folder) / "rows.txt"
            rows.write_text("".join(f"{token.replace(' ', '_')}\n" for token in tokens), encoding="utf-8")
            decoder = ctc_decoder(
                lexicon=None,
                tokens=list(tokens),
                lm=str(arpa),
                lm_dict=str(rows),
                beam_size=settings.beam_size,
                beam_threshold=20.0,
                lm_weight=settings.lm_weight,
                blank_token=tokens[blank],
                sil_token=tokens[blank],
            )
    except (RuntimeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{arpa}: not an n-gram that can be read ({first_line(error)})", remedy="make it again"
        ) from None

    def search(log_posteriors: LogPosteriors) -> list[int]:
        emissions = np.array(log_posteriors, dtype=np.float32)
        if not len(emissions):
            return []
        emissions[:, never] = NEVER
        emissions[:, blank] -= settings.blank_penalty
        best = decoder(torch.from_numpy(emissions)[None])[0]
        return [label for label in best[0].tokens.tolist() if label not in never and label != blank] if best else []

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
