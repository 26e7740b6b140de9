"""How well classes of frames tell phones apart (Hsu et al. 2021, HuBERT, section V-B).

`P` phones, `V` classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Purity:
    """Shares, from 0 to 1.

    Attributes:
        phone: of the frames whose phone is the most frequent one of their class.
        cluster: of the frames whose class is the most frequent one of their phone.
        pnmi: of the phones' entropy that the class tells.
        num_frames: that were counted.
    """

    phone: float
    cluster: float
    pnmi: float
    num_frames: int


def _entropy(probabilities: npt.NDArray[np.float64]) -> float:
    there = probabilities[probabilities > 0]
    return float(-(there * np.log(there)).sum())


def purity(counts: npt.NDArray[np.int64]) -> Purity:
    """The purity of classes.

    Args:
        counts: `[P, V]`, frames of each phone in each class, at least one.
    """
    joint = counts / counts.sum()
    phones, classes = joint.sum(axis=1), joint.sum(axis=0)
    of_phones = _entropy(phones)
    told = of_phones + _entropy(classes) - _entropy(joint.ravel())
    return Purity(
        float(joint.max(axis=0).sum()),
        float(joint.max(axis=1).sum()),
        told / of_phones if of_phones else 0.0,
        int(counts.sum()),
    )
