"""A phone n-gram from labels, by Witten and Bell's interpolation, in the ARPA format that KenLM reads.

p(w | h) = (c(h w) + t(h) p(w | shorter h)) ÷ (c(h) + t(h)), with t(h) the number of different phones seen after h; the
last step is the uniform distribution. Phones are few and their counts many, so that simple smoothing does; and no
library that estimates an ARPA file installs as a wheel.

Source: Witten and Bell 1991, "The zero-frequency problem"; Chen and Goodman 1998, section 2.6.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from unispeech_ft.errors import UserError

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # ARPA's logarithm of zero

Gram = tuple[str, ...]


def count_grams(utterances: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    """Counts of all grams of 1 … `order` phones, with one start and one end for each utterance."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for phones in utterances:
        said = (START, *phones, END)
        for size in range(1, order + 1):
            counts[size - 1].update(said[place : place + size] for place in range(len(said) - size + 1))
    del counts[0][(START,)]
    return counts


def probabilities(counts: Sequence[Counter[Gram]]) -> tuple[list[dict[Gram, float]], dict[Gram, float]]:
    """Probability of every seen gram given what comes before its last phone, by size; and the back-off weights."""
    uniform = 1 / (len(counts[0]) + 1)  # the unknown phone has a share
    found: list[dict[Gram, float]] = []
    weights: dict[Gram, float] = {}
    for grams in counts:
        total: Counter[Gram] = Counter()
        kinds: Counter[Gram] = Counter()
        for gram, count in grams.items():
            total[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        weights |= {history: kinds[history] / (total[history] + kinds[history]) for history in total}
        shorter = found[-1] if found else defaultdict(lambda: uniform)
        level: dict[Gram, float] = {}
        for gram, count in grams.items():
            history = gram[:-1]
            below = shorter[gram[1:]]
            level[gram] = (count + kinds[history] * below) / (total[history] + kinds[history])
        found.append(level)
    found[0][(UNKNOWN,)] = weights[()] * uniform
    return found, weights


def arpa(utterances: Iterable[Sequence[str]], order: int = 4) -> str:
    """The n-gram of some utterances as an ARPA file.

    Args:
        utterances: phones of each, from the training split alone.
        order: longest gram.

    Raises:
        UserError: there are no phones.
    """
    counts = count_grams(utterances, order)
    if sum(counts[0].values()) == counts[0][(END,)]:
        raise UserError("no phones to make an n-gram of", remedy="check the labels of the training split")
    found, weights = probabilities(counts)
    found[0][(START,)] = 0.0
    lines = ["\\data\\", *(f"ngram {size}={len(level)}" for size, level in enumerate(found, start=1))]
    for size, level in enumerate(found, start=1):
        lines += ["", f"\\{size}-grams:"]
        for gram in sorted(level):
            value = f"{math.log10(level[gram]) if level[gram] else NEVER:.6f}\t{' '.join(gram)}"
            back_off = weights.get(gram)
            lines.append(value if back_off is None or size == order else f"{value}\t{math.log10(back_off):.6f}")
    return "\n".join([*lines, "", "\\end\\", ""])
