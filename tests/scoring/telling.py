"""A result to report, with sound: each phone is a tone of its own."""

from __future__ import annotations

import numpy as np

from unispeech_ft.scoring import UtteranceScore, score
from unispeech_ft.scoring.report import Recordings
from unispeech_ft.scoring.timing import PhoneTime

RATE_HZ = 16_000
PHONE_S = 0.2
EVIL = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"


def tone(phone: str) -> float:
    """Each phone of the test has a pitch of its own, in Hz."""
    return 300.0 + 170.0 * (sum(map(ord, phone)) % 17)


def spoken(phones: list[str]) -> np.ndarray:
    time_s = np.arange(round(PHONE_S * RATE_HZ)) / RATE_HZ
    return np.concatenate([0.4 * np.sin(2 * np.pi * tone(phone) * time_s) for phone in phones]).astype(np.float32)


def telling_result() -> tuple[list[UtteranceScore], Recordings]:
    """Scores and recordings of a few utterances, one of them with a hostile name and hostile phones."""
    references = {
        "first": ["t", "a", "tʃ", "u", "k", "a"],
        EVIL: ["k", "a", EVIL.replace(" ", ""), "s"],
        "third": ["s", "a", "k", "u"],
        "right": ["a", "s", "a"],
    }
    hypotheses = {
        "first": ["t", "o", "tʃ", "u", "a", "a"],
        EVIL: ["k", "o", "s"],
        "third": ["s", "a", "k", "u", "n"],
        "right": ["a", "s", "a"],
    }
    durations = {name: PHONE_S * len(phones) for name, phones in hypotheses.items()}
    scores = score(references, hypotheses, durations_s=durations, speakers={"first": "x", "third": "y"})
    times = {
        name: [PhoneTime(PHONE_S * n, PHONE_S * (n + 1), 0.9) for n in range(len(phones))]
        for name, phones in hypotheses.items()
    }
    return scores, Recordings(times, lambda name: spoken(hypotheses[name]), RATE_HZ)
