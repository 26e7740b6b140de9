"""Sentences in the tiers of TextGrids and ELAN files, and which tiers hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from unispeech_ft.data.sources.elan_times import DEEPEST, slot_times, time_ms
from unispeech_ft.data.sources.media import is_same_name, name_of
from unispeech_ft.data.sources.placed_xml import read_document
from unispeech_ft.data.sources.praat import GridTier, read_grid
from unispeech_ft.data.utterances import FILTERED
from unispeech_ft.phonemes.notation import SILENCES

SENTENCE_TIERS = ("utterances", "utterance", "sentences", "sentence", "text", "transcript", "transcription")
WORD_TIERS = ("words", "word", "ort")
SENTENCE_WORDS = re.compile("sentences?|utts?|utterances?|text|transcripts?|transcriptions?")
WORD_WORDS = re.compile("words?|ort")
# Beside sentences, what is said about them.
REMARK_TIERS = {
    "note", "notes", "comment", "comments", "remark", "remarks", "noise", "noises", "silence", "silences", "gloss",
    "glosses", "translation", "translations", "gesture", "gestures", "pos", "ft",
}  # fmt: skip
PHONE_TIERS = {"phone", "phones", "phoneme", "phonemes", "phonetic", "phon", "mau", "kan", "kas", "mas"}
# A number or name of a sentence, as other programs write it into the tier on which the sentence hangs.
REFERENCE = re.compile(r"[^\s\d]*\d\S*")

NO_TIME = "an annotation begins or ends at no known time"

# Tiers that we wrote: named as their annotator in ELAN files; TextGrids have room only in a tier's name.
ANNOTATOR = "unispeech-ft"
MARK = f" ({ANNOTATOR})"


@dataclass(frozen=True)
class Said:
    """A stretch of a recording and what is said in it; None for the whole recording.

    Attributes:
        fault: why it cannot be used, else None.
        tier: that holds it.
        annotation: of an ELAN file, whose time it has; on the tier `above`.
    """

    text: str
    start_s: float | None = None
    end_s: float | None = None
    speaker: str | None = None
    fault: str | None = None
    tier: str = ""
    annotation: str = ""
    above: str = ""


def _words_of(name: str) -> set[str]:
    return {word for word in re.split(r"[\W\d_]+", name.lower()) if word}


def _is_of_sentences(name: str) -> bool:
    return any(SENTENCE_WORDS.fullmatch(word) for word in _words_of(name))


def _spoken_of(names: Iterable[str]) -> tuple[list[str], list[Said]]:
    """The tiers that may hold sentences, and what is said of those that hold remarks."""
    speech = [name for name in names if not PHONE_TIERS & _words_of(name)]
    spoken = [name for name in speech if not REMARK_TIERS & _words_of(name)]
    reason = f"{FILTERED}a tier of remarks is not read; data.text_column can name it"
    return spoken, [Said(name, fault=f"{reason} ({name})") for name in speech if name not in spoken and spoken]


def _wanted(wanted: str, names: Sequence[str], *kinds: Mapping[str, str]) -> list[str]:
    """The tier of a name, or else those of a kind, or else the one of a number, from 1.

    Args:
        kinds: of tiers, such as their speakers, by their names.

    Raises:
        ValueError: there is none.
    """
    if wanted in names:
        return [wanted]
    alike = next((found for kind in kinds if (found := [name for name in names if kind[name] == wanted])), [])
    if not alike and wanted.isdecimal() and 0 < int(wanted) <= len(names):
        alike = [names[int(wanted) - 1]]
    if not alike:
        raise ValueError(f"no tier {wanted}; it has {', '.join(names) or 'none'}")
    return alike


def textgrid_sentences(path: Path, wanted: str | None) -> list[Said]:
    """Intervals of the tier that is wanted, of the one of sentences, or of all; a tier of words is one sentence.

    Args:
        wanted: its name, or its number from 1.

    Raises:
        ValueError: the file is none, or does not tell which tier holds the sentences.
    """
    tiers: dict[str, GridTier] = {}
    for number, tier in enumerate(read_grid(path.read_bytes()).tiers, start=1):
        tiers[f"{tier.name} ({number})" if tier.name in tiers else tier.name] = tier
    names = tuple(tiers)
    theirs = tuple(name for name in names if not tiers[name].of_points and not name.endswith(MARK))
    sentences = _wanted(wanted, names) if wanted else _named(theirs, SENTENCE_TIERS, SENTENCE_WORDS)
    words = [] if sentences else _named(theirs, WORD_TIERS, WORD_WORDS)
    if words:
        return [Said(" ".join(label.strip() for _, _, label in _spoken(tiers[words[0]].intervals)))]
    speakers, remarks = ([], []) if sentences else _spoken_of(theirs)
    if not sentences and not speakers:
        raise ValueError(f"no tier of sentences or words; it has {', '.join(names) or 'none'}")
    return remarks + [
        Said(label.strip(), start_s, end_s, name if len(speakers) > 1 else None, tier=name)
        for name in sentences or speakers
        for start_s, end_s, label in _spoken(tiers[name].intervals)
    ]


def _named(names: tuple[str, ...], known: tuple[str, ...], words: re.Pattern[str]) -> list[str]:
    """The tier of a known name, or else the one with such a word in its name.

    Raises:
        ValueError: several have one.
    """
    exact = {name.lower(): name for name in names}
    first = next((exact[name] for name in known if name in exact), None)
    if first is not None:
        return [first]
    alike = [name for name in names if any(words.fullmatch(word) for word in _words_of(name))]
    if len(alike) > 1:
        raise ValueError(f"its tiers {', '.join(alike)} are alike: name one in data.text_column")
    return alike


def _spoken(intervals: Iterable[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    return [interval for interval in intervals if interval[2].strip().lower() not in SILENCES | {""}]


def media_origin_s(document: ElementTree.Element, recording: str) -> float:
    """Where in a recording the clock of its annotation starts, which ELAN keeps for media that do not start together.

    Args:
        recording: its name without the ending; one that is not linked is taken for the only medium, if there is one.
    """
    media = list(document.iter("MEDIA_DESCRIPTOR"))
    named = [item for item in media if is_same_name(PurePosixPath(name_of(item)).stem, recording)]
    chosen = named or (media if len(media) == 1 else [])
    origin = chosen[0].get("TIME_ORIGIN", "").strip() if chosen else ""
    return time_ms(origin) / 1000 if origin else 0.0


def elan_sentences(path: Path, wanted: str | None, recording: str | None = None) -> list[Said]:
    """Annotations of the tier that is wanted, of those of sentences, or of all that hang on no other; those of one tier
    of words are one sentence.

    Args:
        wanted: a tier's name; or the linguistic type of several; or the participant of tiers of sentences, ours apart;
            or a tier's number, from 1.
        recording: its name without the ending, where it is not the file's; times are the recording's.

    Raises:
        ValueError: the file is none, has no such tier, or the tier holds numbers of sentences.
    """
    document = read_document(path.read_bytes()).root
    tiers = {str(tier.get("TIER_ID")): tier for tier in document.iter("TIER")}
    theirs = [name for name, tier in tiers.items() if tier.get("ANNOTATOR") != ANNOTATOR]
    remarks: list[Said] = []
    if wanted:
        by_type = {name: tier.get("LINGUISTIC_TYPE_REF", "") for name, tier in tiers.items()}
        of_one, _ = _of_sentences(tiers, [name for name in theirs if tiers[name].get("PARTICIPANT") == wanted])
        chosen = _wanted(wanted, [*tiers], by_type, {name: wanted if name in of_one else "" for name in tiers})
    else:
        chosen, remarks = _of_sentences(tiers, theirs)
    if not chosen:
        raise ValueError(f"no tier of sentences; it has {', '.join(tiers) or 'none'}")
    origin_s = media_origin_s(document, recording or path.stem)
    times: Times = {slot: origin_s + time_s for slot, time_s in slot_times(document).items()}
    above = {item.get("ANNOTATION_ID"): item.get("ANNOTATION_REF") for item in document.iter("REF_ANNOTATION")}
    timed = {
        item.get("ANNOTATION_ID"): (item, name) for name in tiers for item in tiers[name].iter("ALIGNABLE_ANNOTATION")
    }
    found = {name: [*_timed(tiers[name], times), *_hung(tiers[name], times, above, timed)] for name in chosen}
    for name, said in found.items():
        values = [item.text.strip() for item in said if item.text.strip()]
        if not wanted and len(values) > 1 and len(set(values)) == len(values) and all(map(REFERENCE.fullmatch, values)):
            raise ValueError(
                f"tier {name} numbers the sentences: name theirs in data.text_column; it has {', '.join(tiers)}"
            )
    if not wanted and len(chosen) == 1 and any(WORD_WORDS.fullmatch(word) for word in _words_of(chosen[0])):
        return [*remarks, Said(" ".join(item.text.strip() for item in found[chosen[0]]))]
    return remarks + sorted((item for said in found.values() for item in said), key=lambda item: item.start_s or 0.0)


def _of_sentences(tiers: Mapping[str, ElementTree.Element], names: Sequence[str]) -> tuple[list[str], list[Said]]:
    """Those of these tiers that hold sentences by their names, or else all that hang on no other; and the remarks."""
    spoken, _ = _spoken_of(names)
    named = [name for name in spoken if _is_of_sentences(name) and not _is_of_sentences(_parent(tiers, name))]
    return (named, []) if named else _spoken_of(name for name in names if not _parent(tiers, name))


def _parent(tiers: Mapping[str, ElementTree.Element], name: str) -> str:
    return (tiers[name].get("PARENT_REF") or "") if name in tiers else ""


Times = Mapping[str | None, float]


def _timed(tier: ElementTree.Element, times: Times) -> Iterator[Said]:
    for item in tier.iter("ALIGNABLE_ANNOTATION"):
        yield _annotation(item.findtext("ANNOTATION_VALUE") or "", item, tier.get("TIER_ID", ""), tier, times)


def _hung(
    tier: ElementTree.Element,
    times: Times,
    above: Mapping[str | None, str | None],
    timed: Mapping[str | None, tuple[ElementTree.Element, str]],
) -> Iterator[Said]:
    """Annotations without times, at those of the one on which they hang; several of one are one, in their order."""
    held: dict[str | None, list[str]] = {}
    for item in tier.iter("REF_ANNOTATION"):
        top = item.get("ANNOTATION_REF")
        for _ in range(DEEPEST):
            top = above.get(top, top)
        held.setdefault(top, []).append((item.findtext("ANNOTATION_VALUE") or "").strip())
    nowhere = ElementTree.Element("", ANNOTATION_ID="without one above"), ""
    for top, texts in held.items():
        yield _annotation(" ".join(filter(None, texts)), *timed.get(top, nowhere), tier, times)


def _annotation(text: str, timed: ElementTree.Element, above: str, tier: ElementTree.Element, times: Times) -> Said:
    start, end = times.get(timed.get("TIME_SLOT_REF1")), times.get(timed.get("TIME_SLOT_REF2"))
    name, annotation = tier.get("TIER_ID", ""), timed.get("ANNOTATION_ID", "")
    if start is None or end is None or start < 0:
        return Said(text, fault=f"{NO_TIME}: {annotation} of tier {name}", tier=name)
    speaker = tier.get("PARTICIPANT") or None
    return Said(text, start, end, speaker, None, name, annotation, above)
