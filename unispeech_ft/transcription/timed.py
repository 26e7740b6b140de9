"""Phones and words in time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TimedPhone:
    """One phone in time, and how sure the model is of it; `scoring.timing` has the rule of both.

    Attributes:
        start_s: from the start of the recording.
        end_s: no later than the next phone's start; what lies between them is a pause.
        posterior: 0 to 1, the mean of the phone's softmax output over the frames that mark it.
        alternatives: other phones and their posteriors, the likeliest first; see `scoring.alternatives`.
    """

    phone: str
    start_s: float
    end_s: float
    posterior: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class TimedWord:
    """A word of a known text or of a lexicon, from the start of its first phone to the end of its last."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Transcript:
    """What was said in one file.

    Attributes:
        path: as it was given, or found in a folder.
        duration_s: of the recording.
        phones: in the order of time.
        words: where they are known, as in an alignment of a sentence, or looked for in a lexicon.
        start_s: in the recording, where a stretch of it is transcribed, which lasts `duration_s`.
        confidence: 0 to 1, the share of the phones that is probably right; None where the model does not say, or
            nothing was heard.
        unlike: whether it is unlike the speech that the model was validated on: another language, music, a noise.
    """

    path: str
    duration_s: float
    phones: list[TimedPhone]
    words: list[TimedWord] = field(default_factory=list)
    start_s: float | None = None
    confidence: float | None = None
    unlike: bool = False

    def __repr__(self) -> str:
        said = " ".join(item.phone for item in self.phones[:12]) + (" …" if len(self.phones) > 12 else "")
        return f"Transcript({self.path!r}, {self.duration_s:.2f} s, {len(self.phones)} phones: {said})"


def _phone_json(item: TimedPhone) -> dict[str, object]:
    times = {"start_s": round(item.start_s, 3), "end_s": round(item.end_s, 3)}
    found: dict[str, object] = {"phone": item.phone, **times, "posterior": round(item.posterior, 4)}
    others = [{"phone": phone, "posterior": round(posterior, 4)} for phone, posterior in item.alternatives]
    return found | ({"alternatives": others} if others else {})


def alternatives_text(item: TimedPhone) -> str:
    """For people: the other phones with their posteriors."""
    return ", ".join(f"{phone} {posterior:.2f}" for phone, posterior in item.alternatives)


def as_json(transcript: Transcript) -> str:
    """One line; times in seconds to the millisecond, posteriors to four digits."""
    phones = [_phone_json(item) for item in transcript.phones]
    line: dict[str, object] = {"path": transcript.path, "duration_s": round(transcript.duration_s, 3), "phones": phones}
    if transcript.start_s is not None:
        line["start_s"] = round(transcript.start_s, 3)
    if transcript.confidence is not None:
        line |= {"confidence": round(transcript.confidence, 4), "unlike": transcript.unlike}
    if transcript.words:
        line["words"] = [
            {"word": item.word, "start_s": round(item.start_s, 3), "end_s": round(item.end_s, 3)}
            for item in transcript.words
        ]
    return json.dumps(line, ensure_ascii=False)
