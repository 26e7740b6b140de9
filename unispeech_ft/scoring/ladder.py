"""The PER ladder: the same hypotheses scored ever less strictly, to tell notation errors from hearing errors.

Each rung maps reference and hypothesis alike and counts unit-cost errors again: strict; in one notation (espeak-ng's
mnemonics, look-alikes and tie bars as plain IPA); without length; without any diacritic, stress or tone; by broad
class. A phone of which nothing is left (a tone that stands alone) leaves both sides. The last rung stands apart:
substitutions cost what share of their articulatory features differs, insertions and deletions 1.

Source of the features: Mortensen et al. 2016, "PanPhon: A Resource for Mapping IPA Segments to Articulatory Feature
Vectors"; the rung is left out where the library is not installed (`pip install 'unispeech-ft[features]'`).

Shapes: `K` segments of a phone (two in aɪ), `F` features, `H` phones of a hypothesis.
"""

from __future__ import annotations

import functools
import importlib.util
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.errors import UserError, first_line, warn
from unispeech_ft.phonemes.articulatory import feature_table
from unispeech_ft.phonemes.look_alikes import one_notation
from unispeech_ft.phonemes.notation import PhoneMap, phone_map
from unispeech_ft.scoring.alignment import distance
from unispeech_ft.scoring.per import UtteranceScore

Features = npt.NDArray[np.float64]
LENGTH = str.maketrans("", "", "ːˑ\u0306")
WHOLE_LETTERS = "ç"  # decomposes into a letter and a mark, but is one letter of the IPA
MARKS = ("Mn", "Lm", "Sk", "No")

BROAD_CLASSES = {
    "vowel": "iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒ",
    "plosive": "pbtdʈɖcɟkɡqɢʡʔɓɗʄɠʛ",
    "nasal": "mɱnɳɲŋɴ",
    "trill or tap": "ʙrʀⱱɾɽɺ",
    "fricative": "ɸβfvθðszʃʒʂʐçʝxɣχʁħʕhɦɬɮɕʑɧʜʢ",
    "approximant": "ʋɹɻjɰwɥʍ",
    "lateral": "lɭʎʟɫ",
    "click": "ʘǀǃǂǁ",
}
CLASS_OF_LETTER = {letter: name for name, letters in BROAD_CLASSES.items() for letter in letters}


@dataclass(frozen=True)
class Rung:
    """One line of the ladder; `per` is a fraction, None without reference phones."""

    name: str
    per: float | None


def without_length(phone: str) -> str:
    """The phone in one notation, its marks of length left out."""
    bare = unicodedata.normalize("NFD", one_notation(phone)).translate(LENGTH)
    return unicodedata.normalize("NFC", bare)


def without_diacritics(phone: str) -> str:
    """The letters of the phone: no diacritic, length, stress or tone; empty for a mark that stands alone."""
    letters: list[str] = []
    for letter in one_notation(phone):
        letters += [letter] if letter in WHOLE_LETTERS else unicodedata.normalize("NFD", letter)
    return "".join(letter for letter in letters if unicodedata.category(letter) not in MARKS)


def broad_class(phone: str) -> str:
    """Vowel, plosive, affricate, nasal, trill or tap, fricative, approximant, lateral, click; else the bare phone."""
    bare = without_diacritics(phone)
    classes = [CLASS_OF_LETTER.get(letter) for letter in bare]
    if classes[:2] == ["plosive", "fricative"]:
        return "affricate"
    return (classes[0] if classes else None) or bare


RUNGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("strict", str),
    ("in one notation", one_notation),
    ("without length", without_length),
    ("without diacritics", without_diacritics),
    ("by broad class", broad_class),
)


FOLDS: dict[str, Callable[[str], str]] = {
    "notation": one_notation,
    "length": without_length,
    "diacritics": without_diacritics,
    "class": broad_class,
}


def folding(name: str) -> PhoneMap:
    """Phone → the phones that it counts as, by a rung's short name (`FOLDS`) or a file as `phonemes.map` takes it.

    Raises:
        UserError: there is no such rung, and no such file.
    """
    rung = FOLDS.get(name)
    if rung is not None:
        return lambda phone: [target.replace(" ", "-")] if (target := rung(phone)) else []
    if not Path(name).is_file():
        raise UserError(f"no folding {name}", remedy=f"give {', '.join(FOLDS)}, or a file of phone<TAB>phones")
    return phone_map(name)


def ladder(scores: Sequence[UtteranceScore], features: Callable[[str], Features] | None = None) -> list[Rung]:
    """PER at every rung, the strictest first.

    Args:
        features: phone → feature vectors `[K, F]`; with them, the PER weighted by features comes last.
    """
    rungs = [Rung(name, _mapped_per(scores, mapping)) for name, mapping in RUNGS]
    if features is not None:
        rungs.append(Rung("by features", feature_per(scores, features)))
    return rungs


def ladder_with_features(scores: Sequence[UtteranceScore]) -> list[Rung]:
    """The ladder, with features where panphon is installed and works."""
    try:
        return ladder(scores, panphon_features() if has_features() else None)
    except Exception as error:
        warn(f"the PER by features is left out: panphon fails ({type(error).__name__}: {first_line(error)})")
        return ladder(scores)


def ladder_lines(scores: Sequence[UtteranceScore]) -> list[str]:
    """The ladder for people, a line a rung; nothing where there is no PER."""
    rungs = ladder_with_features(scores)
    if rungs[0].per is None:
        return []
    cells = [f"  {rung.name:<18} {'–' if rung.per is None else f'{100 * rung.per:.2f} %'}" for rung in rungs]
    return ["PER ladder", *cells]


def _mapped_per(scores: Sequence[UtteranceScore], mapping: Callable[[str], str]) -> float | None:
    mapped = functools.cache(mapping)
    errors = phones = 0
    for utterance in scores:
        reference = [target for phone in utterance.reference if (target := mapped(phone))]
        hypothesis = [target for phone in utterance.hypothesis if (target := mapped(phone))]
        errors += distance(reference, hypothesis)
        phones += len(reference)
    return errors / phones if phones else None


def has_features() -> bool:
    """Whether panphon is installed."""
    return importlib.util.find_spec("panphon") is not None


def panphon_features() -> Callable[[str], Features]:
    """Phone → its feature vectors `[K, F]` of -1, 0 and 1; `K` is 0 where panphon knows no segment of it."""
    table = feature_table()

    def features(phone: str) -> Features:
        vectors = table.word_to_vector_list(one_notation(phone), numeric=True)
        return np.array(vectors, dtype=np.float64).reshape(-1, len(table.names))

    return features


def feature_cost(first: Features, second: Features) -> float:
    """Share of the features that differ, 0 to 1, segment by segment `[K, F]`; a segment without partner costs 1."""
    longest, shared = max(len(first), len(second)), min(len(first), len(second))
    if not shared:
        return 1.0
    differing = np.abs(first[:shared] - second[:shared]).mean(axis=1).sum() / 2
    return float((differing + longest - shared) / longest)


def feature_per(scores: Sequence[UtteranceScore], features: Callable[[str], Features]) -> float | None:
    """PER where a substitution costs `feature_cost`; None without reference phones."""
    said = sum(len(utterance.reference) for utterance in scores)
    if not said:
        return None
    phones = sorted({phone for u in scores for phone in (*u.reference, *u.hypothesis)})
    place = {phone: number for number, phone in enumerate(phones)}
    vectors = [features(phone) for phone in phones]
    costs = np.array([[feature_cost(first, second) for second in vectors] for first in vectors])
    np.fill_diagonal(costs, 0.0)
    total = sum(
        weighted_distance(costs[np.ix_([place[p] for p in u.reference], [place[p] for p in u.hypothesis])])
        for u in scores
    )
    return total / said


def weighted_distance(costs: npt.NDArray[np.float64]) -> float:
    """Least cost of turning a reference into a hypothesis; insertions and deletions cost 1.

    Args:
        costs: of substituting each phone of the reference by each of the hypothesis.
    """
    steps = np.arange(costs.shape[1] + 1, dtype=np.float64)
    row = steps
    for line in costs:
        best = row + 1
        best[1:] = np.minimum(best[1:], row[:-1] + line)
        # An insertion after column j costs 1 a column: a running minimum of what lies above the slope.
        row = np.minimum.accumulate(best - steps) + steps
    return float(row[-1])
