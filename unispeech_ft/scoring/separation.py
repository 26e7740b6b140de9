"""Scale-invariant signal-to-distortion ratio (SI-SDR) of separated speakers, in decibels.

`S` samples, `P` speakers.
Source: Le Roux et al. 2019, "SDR – half-baked or well done?".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Sound = npt.NDArray[np.floating]
# So that silence has a ratio: far below the power of any sound.
SILENCE = 1e-12


def si_sdr(estimate: Sound, reference: Sound) -> float:
    """The ratio of what of an estimate `[S]` is the reference `[S]`, at any loudness, to the rest of it."""
    heard = np.asarray(estimate, dtype=np.float64) - np.mean(estimate, dtype=np.float64)
    known = np.asarray(reference, dtype=np.float64) - np.mean(reference, dtype=np.float64)
    target = known * (heard @ known) / (known @ known + SILENCE)
    rest = heard - target
    return float(10 * np.log10((target @ target + SILENCE) / (rest @ rest + SILENCE)))


def best_order(estimates: Sound, sources: Sound) -> tuple[list[int], float]:
    """The source of each estimate, both `[P, S]`, for the best mean SI-SDR, and that mean."""
    ratios = np.array([[si_sdr(estimate, source) for source in sources] for estimate in estimates])
    rows, columns = linear_sum_assignment(ratios, maximize=True)
    return columns.tolist(), float(ratios[rows, columns].mean())


def improvement(estimates: Sound, sources: Sound, mixture: Sound) -> float:
    """How much better the estimates `[P, S]` are than the mixture `[S]` itself, in the best order (SI-SDRi)."""
    return best_order(estimates, sources)[1] - float(np.mean([si_sdr(mixture, source) for source in sources]))
