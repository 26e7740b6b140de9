"""Transcripts as tiers of an annotation: of the file that is there, or of a fresh one."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from statistics import fmean

from unispeech_ft.data.sources.media import linked_media
from unispeech_ft.data.sources.praat import read_grid
from unispeech_ft.data.sources.tiers import Said, elan_sentences, media_origin_s, textgrid_sentences
from unispeech_ft.errors import UserError, first_line, warn
from unispeech_ft.files import write_bytes
from unispeech_ft.transcription import elan, textgrid
from unispeech_ft.transcription.elan import ASSOCIATED, INCLUDED, Tier
from unispeech_ft.transcription.timed import TimedPhone, Transcript, alternatives_text

EAF, CONFIDENCE, ALTERNATIVES = ".eaf", "confidence", "alternatives"


def annotation_of(recording: Path, ending: str, place: Path | None = None) -> Path | None:
    """The annotation to which tiers are added: that in their place, or else that of the recording's name beside it.

    A TextGrid that is as we wrote it is passed over: it is written anew.
    """
    stems = dict.fromkeys((recording.stem, *(unicodedata.normalize(form, recording.stem) for form in ("NFC", "NFD"))))
    beside = (recording.with_name(stem + end) for stem in stems for end in (ending, ending.lower(), ending.upper()))
    there = (path for path in (place, *beside) if path and path.is_file())
    return next((path for path in there if not textgrid.is_fresh(path.read_bytes())), None)


def annotation_places(folder: Path, given: Iterable[str | Path], files: Sequence[Path], ending: str) -> list[Path]:
    """`textgrid.output_paths`; an ELAN file that links a recording, and has another name, keeps its own."""
    paths = textgrid.output_paths(folder, given, files, ending)
    if ending != EAF or folder in paths:
        return paths
    linked = [None if path.is_file() else linked_annotation(file) for path, file in zip(paths, files, strict=True)]
    return [path.with_name(theirs.name) if theirs else path for path, theirs in zip(paths, linked, strict=True)]


def linked_annotation(recording: Path) -> Path | None:
    """The ELAN file in a recording's folder that links it, where none has its name."""
    if annotation_of(recording, EAF) or not recording.is_file():
        return None
    beside = sorted(path for path in recording.parent.iterdir() if path.suffix.lower() == EAF and path.is_file())
    own = os.path.realpath(recording)
    return next((p for p in beside if (found := linked_media(p).recording) and os.path.realpath(found) == own), None)


def intervals_of(recording: Path, tier: str, places: dict[str, Path]) -> list[Said]:
    """The intervals of a tier of a recording's annotation, sorted.

    Args:
        tier: see `elan_sentences` and `textgrid_sentences`.
        places: by ending, where annotations will be written; those of these kinds come first.

    Raises:
        UserError: there is no annotation, or no such tier, or it has no times.
    """
    endings = sorted((EAF, textgrid.ENDING), key=lambda ending: ending not in places)
    found = ((ending, annotation_of(recording, ending, places.get(ending))) for ending in endings)
    linked = ((EAF, path) for path in (linked_annotation(recording),))
    ending, path = next(((ending, path) for ending, path in chain(found, linked) if path), ("", None))
    if path is None:
        what = f"{recording}: no annotation of its name beside it, and no .eaf there that links it"
        raise UserError(what, remedy="put an .eaf or a .TextGrid there")
    try:
        said = elan_sentences(path, tier, recording.stem) if ending == EAF else textgrid_sentences(path, tier)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: {first_line(error)}", remedy="check the file, and the tier's name") from None
    timed = [item for item in said if item.start_s is not None and item.end_s is not None and not item.fault]
    faults = [item.fault for item in said if item.fault]
    if not timed:
        raise UserError(f"{path}: tier {tier} has no interval with times", remedy="name another tier")
    if faults:
        warn(f"{path}: {len(faults)} intervals are passed over: {faults[0]}")
    timed.sort(key=_times)
    _warn_of_overlaps(path, timed)
    return timed


def _warn_of_overlaps(path: Path, said: Sequence[Said]) -> None:
    """Neither ELAN nor Praat has room for them within a tier; files of other programs may have them."""
    ends: dict[str, float] = {}
    early: list[Said] = []
    for item in said:
        start_s, end_s = _times(item)
        early += [item] if start_s < ends.get(item.tier, 0.0) else []
        ends[item.tier] = max(ends.get(item.tier, 0.0), end_s)
    if early:
        what = f"{len(early)} intervals of tier {early[0].tier} begin before the one before them ends"
        warn(f"{path}: {what}, the first at {early[0].start_s:.3f} s; so will what is written for them")


def tiers_of(transcript: Transcript) -> list[Tier]:
    """Words, phones and how sure the model is of each, of a whole recording."""
    phones = [(item.start_s, item.end_s, item.phone) for item in transcript.phones]
    sure = [(item.start_s, item.end_s, f"{item.posterior:.2f}") for item in transcript.phones]
    others = _alternatives(transcript.phones)
    return [
        Tier(textgrid.WORD_TIER, [(item.start_s, item.end_s, item.word) for item in transcript.words]),
        Tier(textgrid.TIER, phones),
        Tier(CONFIDENCE, sure, above=textgrid.TIER, kind=ASSOCIATED),
        Tier(ALTERNATIVES, others, above=textgrid.TIER, kind=ASSOCIATED),
    ]


def _alternatives(phones: Sequence[TimedPhone]) -> list[tuple[float, float, str]]:
    """Of each phone the other phones and their posteriors; none at all where they were not asked for."""
    if not any(item.alternatives for item in phones):
        return []
    return [(item.start_s, item.end_s, alternatives_text(item)) for item in phones]


def interval_tiers(pairs: Sequence[tuple[Said, Transcript]]) -> list[Tier]:
    """For each tier of intervals: their transcripts, how sure the model is of them, words and phones in time."""
    tiers = []
    for name, group in groupby(sorted(pairs, key=lambda pair: pair[0].tier), key=lambda pair: pair[0].tier):
        mine = list(group)
        heard = [(item, found) for item, found in mine if found.phones]
        phones = [(phone.start_s, phone.end_s, phone.phone) for _, found in mine for phone in found.phones]
        heard_name, others = f"{name} {textgrid.TIER}", _alternatives([p for _, found in mine for p in found.phones])
        words = [(word.start_s, word.end_s, word.word) for _, found in mine for word in found.words]
        texts = [(*_times(item), " ".join(phone.phone for phone in found.phones)) for item, found in mine]
        sure = [(*_times(item), f"{_confidence(found):.2f}") for item, found in heard]
        above = {"above": mine[0][0].above, "participant": mine[0][0].speaker or ""}
        hung, inside = (ASSOCIATED, INCLUDED) if above["above"] else ("", "")
        tiers += [
            Tier(f"{name} transcript", texts, kind=hung, on=[item.annotation for item, _ in mine], **above),
            Tier(f"{name} {CONFIDENCE}", sure, kind=hung, on=[item.annotation for item, _ in heard], **above),
            Tier(f"{name} {textgrid.WORD_TIER}", words, kind=inside, **above),
            Tier(heard_name, phones, kind=inside, **above),
            Tier(f"{name} {ALTERNATIVES}", others, participant=above["participant"], above=heard_name, kind=ASSOCIATED),
        ]
    return tiers


def _confidence(found: Transcript) -> float:
    """How sure the model is of it: the share of phones that is probably right, or else their mean posterior."""
    return fmean(phone.posterior for phone in found.phones) if found.confidence is None else found.confidence


def _times(item: Said) -> tuple[float, float]:
    assert item.start_s is not None
    assert item.end_s is not None
    return item.start_s, item.end_s


def write_annotation(place: Path, recording: Path, tiers: Sequence[Tier], duration_s: float) -> None:
    """Writes an annotation whose kind its ending says: the one that is there with tiers added, or a fresh one.

    Args:
        duration_s: of a fresh TextGrid, which has no tier `confidence`.

    Raises:
        UserError: what is there cannot be read, or nothing can be written.
    """
    kind = EAF if place.suffix.lower() == EAF else textgrid.ENDING
    there = annotation_of(recording, kind, place)
    if kind == EAF and not there:
        there = linked_annotation(recording)
    try:
        if kind == EAF:
            document = elan.read_eaf(there.read_bytes()) if there else elan.fresh(recording)
            origin_s = media_origin_s(document.root, recording.stem)
            content = elan.with_tiers(document, [_since(origin_s, tier) for tier in tiers]).content()
        else:
            spans = {tier.name: tier.spans for tier in tiers}
            grid = read_grid(there.read_bytes()) if there else None
            known = {name: found for name, found in spans.items() if found or name == textgrid.TIER}
            known.pop(CONFIDENCE, None)
            late = sum(span[0] >= float(grid.ends_s[1]) for tier in tiers for span in tier.spans) if grid else 0
            if grid and late:
                warn(f"{there}: ends at {grid.ends_s[1]} s; {late} labels of ours behind that are left out")
            new = textgrid.with_marked(grid, spans) if grid else textgrid.fresh_grid(duration_s, known)
            content = new.content()
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, content)
    except ValueError as error:
        raise UserError(f"{there}: {first_line(error)}", remedy="mend it, or move it away") from None
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror})", remedy="choose another folder") from error


def _since(origin_s: float, tier: Tier) -> Tier:
    """The tier by a clock that starts later; what lies before has no time there."""
    spans = [(start_s - origin_s, end_s - origin_s, label) for start_s, end_s, label in tier.spans]
    return replace(tier, spans=[span for span in spans if span[0] >= 0])
