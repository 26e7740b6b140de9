"""ELAN files (EAF 3.0): fresh ones beside a recording, and tiers added to those of others.

What is foreign stays as it was, byte for byte; only the number of the last annotation is counted on. Tiers with
`ANNOTATOR="unispeech-ft"` are ours: a new one takes the place of that of its name, unless something foreign hangs on
it. New annotations share their time slots with none, so that moving one of them in ELAN moves nothing else.

Source: the EAF 3.0 schema and format description of the Max Planck Institute for Psycholinguistics.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, chain, count
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring
from xml.sax.saxutils import quoteattr

from unispeech_ft.data.sources.elan_times import time_ms
from unispeech_ft.data.sources.placed_xml import Document, read_document
from unispeech_ft.data.sources.tiers import ANNOTATOR, MARK

# What may stand below the root, in this order.
ORDER = (
    "LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE", "CONSTRAINT",
    "CONTROLLED_VOCABULARY", "LEXICON_REF", "REF_LINK_SET", "EXTERNAL_REF",
)  # fmt: skip
INCLUDED, ASSOCIATED = "Included_In", "Symbolic_Association"
# By how a tier hangs on another: the linguistic type, and what ELAN says of the constraint.
TYPES = {"": ANNOTATOR, INCLUDED: f"{ANNOTATOR} included", ASSOCIATED: f"{ANNOTATOR} associated"}
CONSTRAINTS = {
    INCLUDED: "Time alignable annotations within the parent annotation's time interval, gaps are allowed",
    ASSOCIATED: "1-1 association with a parent annotation",
}
LAST_ID = "lastUsedAnnotationId"
NUMBERED = re.compile(r"a\d{1,18}", re.ASCII)
NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Attributes that name what stands elsewhere.
REFERENCES = {
    "PARENT_REF": "tier",
    "TIME_SLOT_REF1": "slot",
    "TIME_SLOT_REF2": "slot",
} | dict.fromkeys(("ANNOTATION_REF", "PREVIOUS_ANNOTATION", "REF1", "REF2", "REFS"), "annotation")
EMPTY = """\
<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="{now}" FORMAT="3.0" VERSION="3.0" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
        <MEDIA_DESCRIPTOR MEDIA_URL={url} MIME_TYPE="{mime}"/>
        <PROPERTY NAME="lastUsedAnnotationId">0</PROPERTY>
    </HEADER>
    <TIME_ORDER/>
</ANNOTATION_DOCUMENT>
"""


@dataclass(frozen=True)
class Tier:
    """Annotations to be written; without any, it only takes the place of an earlier one.

    Attributes:
        spans: (start, end, label), in seconds.
        participant: who speaks.
        above: the tier of the file on which it hangs; where it is associated without `on`, one added before it.
        kind: how it hangs there, `INCLUDED` or `ASSOCIATED`.
        on: where associated, the annotation above each.
    """

    name: str
    spans: Sequence[tuple[float, float, str]]
    participant: str = ""
    above: str = ""
    kind: str = ""
    on: Sequence[str] = ()


def fresh(recording: Path) -> Document:
    """An ELAN file of a recording, without tiers."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    mime = "audio/x-wav" if recording.suffix.lower() == ".wav" else "audio/*"
    return read_document(EMPTY.format(now=now, url=quoteattr(recording.absolute().as_uri()), mime=mime).encode())


def read_eaf(content: bytes) -> Document:
    """Reads an ELAN file.

    Raises:
        ValueError: it is none.
    """
    document = read_document(content)
    if document.root.tag != "ANNOTATION_DOCUMENT" or len(document.root.findall("TIME_ORDER")) != 1:
        raise ValueError("not an ELAN file: no ANNOTATION_DOCUMENT with one TIME_ORDER")
    return document


def with_tiers(document: Document, tiers: Sequence[Tier]) -> Document:
    """The file with tiers added, in the place of those of ours of their names; a name that is taken gets a mark.

    The annotations that are replaced hand their identities on, so that the same tiers again are the same file.
    """
    earlier = _identities_of(document)
    document = _without_ours(document, [tier.name for tier in tiers])
    kept = {*_identities_of(document)}
    replaced = [name for name in earlier if name not in kept]
    taken = {item.get("TIER_ID") for item in document.root.iter("TIER")}
    names = {tier.name: _free(taken, tier.name) for tier in tiers}
    written = [tier for tier in tiers if tier.spans]
    types = _types(document, {tier.kind for tier in written})
    ids, slot_ids = chain(replaced, _unused(document, "a")), _unused(document, "ts")
    annotations: dict[str, list[str]] = {}
    slots: list[Element] = []
    elements: list[Element] = []
    for tier in written:
        on_ours = tier.kind == ASSOCIATED and not tier.on
        above = names[tier.above] if on_ours else tier.above
        head = {"ANNOTATOR": ANNOTATOR, "LINGUISTIC_TYPE_REF": types[tier.kind].get("LINGUISTIC_TYPE_ID", ""),
                "PARENT_REF": above, "PARTICIPANT": tier.participant, "TIER_ID": names[tier.name]}  # fmt: skip
        element = Element("TIER", {key: value for key, value in head.items() if value})
        annotations[tier.name] = [next(ids) for _ in tier.spans]
        if tier.kind == ASSOCIATED:
            _associate(element, tier, annotations[tier.name], annotations[tier.above] if on_ours else tier.on)
        else:
            slots += _align(element, tier, annotations[tier.name], slot_ids)
        elements.append(element)
    there = {*document.root}
    elements += [element for element in types.values() if element not in there]
    stereotypes = {item.get("STEREOTYPE") for item in document.root.iter("CONSTRAINT")}
    missing = [kind for kind in CONSTRAINTS if kind in types and kind not in stereotypes]
    elements += [Element("CONSTRAINT", DESCRIPTION=CONSTRAINTS[kind], STEREOTYPE=kind) for kind in missing]
    changes = [_below_root(document, element) for element in elements]
    return document.changed([*_slots(document, slots), *changes, *_last_id(document, annotations.values())])


def _associate(element: Element, tier: Tier, ids: Iterable[str], above: Sequence[str]) -> None:
    for own, on, (_, _, label) in zip(ids, above, tier.spans, strict=True):
        _annotate(element, label, "REF_ANNOTATION", ANNOTATION_ID=own, ANNOTATION_REF=on)


def _align(element: Element, tier: Tier, ids: Iterable[str], slot_ids: Iterator[str]) -> Iterator[Element]:
    for own, (start_s, end_s, label) in zip(ids, tier.spans, strict=True):
        start_ms, first, last = round(1000 * start_s), next(slot_ids), next(slot_ids)
        yield Element("TIME_SLOT", TIME_SLOT_ID=first, TIME_VALUE=str(start_ms))
        yield Element("TIME_SLOT", TIME_SLOT_ID=last, TIME_VALUE=str(max(start_ms + 1, round(1000 * end_s))))
        times = {"TIME_SLOT_REF1": first, "TIME_SLOT_REF2": last}
        _annotate(element, label, "ALIGNABLE_ANNOTATION", ANNOTATION_ID=own, **times)


def _annotate(tier: Element, label: str, kind: str, **attributes: str) -> None:
    annotation = SubElement(SubElement(tier, "ANNOTATION"), kind, attributes)
    SubElement(annotation, "ANNOTATION_VALUE").text = NOT_XML.sub("", label.replace("\r", "\n"))


def _without_ours(document: Document, names: Iterable[str]) -> Document:
    """The file without our tiers of these names, marked or not, but for those on which something else hangs."""
    wanted = re.compile("|".join(f"{re.escape(name)}({re.escape(MARK)}.*)?" for name in names))
    tiers = document.root.findall("TIER")
    ours = [tier for tier in tiers if tier.get("ANNOTATOR") == ANNOTATOR and wanted.fullmatch(tier.get("TIER_ID", ""))]
    while True:
        inside = {element for tier in ours for element in tier.iter()}
        used = {value for element in document.root.iter() if element not in inside for value in _references(element)}
        free = [tier for tier in ours if used.isdisjoint(_identities(tier))]
        if len(free) == len(ours):
            break
        ours = free
    slots = {value for tier in ours for element in tier.iter() for value in _references(element)} - used
    idle = [slot for slot in document.root.iter("TIME_SLOT") if ("slot", slot.get("TIME_SLOT_ID", "")) in slots]
    return document.changed(_cut(document, element) for element in (*ours, *idle))


def _references(element: Element) -> Iterator[tuple[str, str]]:
    for key, value in element.items():
        if key in REFERENCES:
            yield from ((REFERENCES[key], name) for name in (value, *value.split()))


def _identities(tier: Element) -> set[tuple[str, str]]:
    return {("tier", tier.get("TIER_ID", "")), *(("annotation", item.get("ANNOTATION_ID", "")) for item in tier.iter())}


def _free(taken: set[str | None], name: str) -> str:
    """The name, with a mark where a foreign tier has it."""
    names = (name, f"{name}{MARK}")
    return next(own for own in chain(names, (f"{names[1]} {number}" for number in count(2))) if own not in taken)


def _types(document: Document, kinds: Iterable[str]) -> dict[str, Element]:
    """The linguistic type of each kind of tier, that of the file where it has ours."""
    there = {item.get("LINGUISTIC_TYPE_ID"): item for item in document.root.iter("LINGUISTIC_TYPE")}
    found = {}
    for kind in sorted(kinds):
        for number in count():
            name = TYPES[kind] + (f" {number}" if number else "")
            alignable = "false" if kind == ASSOCIATED else "true"
            new = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": name, "TIME_ALIGNABLE": alignable}
            new |= {"CONSTRAINTS": kind} if kind else {}
            if name not in there or there[name].attrib == new:
                found[kind] = there.get(name, Element("LINGUISTIC_TYPE", new))
                break
    return found


def _identities_of(document: Document) -> list[str]:
    """Of the annotations that are numbered as ELAN does."""
    found = (item.get("ANNOTATION_ID", "") for item in document.root.iter())
    return [name for name in found if NUMBERED.fullmatch(name)]


def _unused(document: Document, prefix: str) -> Iterator[str]:
    """Identities that no attribute of the file has, and that ELAN has not given before."""
    known = re.compile(rf"{prefix}(\d{{1,18}})")
    values = (known.fullmatch(value) for element in document.root.iter() for value in element.attrib.values())
    last = max((int(found[1]) for found in values if found), default=0)
    counted = _counter(document)
    if prefix == "a" and counted is not None:
        last = max(last, int(counted.text or 0))
    return (f"{prefix}{number}" for number in count(last + 1))


def _counter(document: Document) -> Element | None:
    found = (item for item in document.root.iter("PROPERTY") if item.get("NAME") == LAST_ID)
    return next((item for item in found if re.fullmatch(r"\s*\d{1,18}\s*", item.text or "", re.ASCII)), None)


def _last_id(document: Document, annotations: Iterable[Sequence[str]]) -> Iterator[tuple[int, int, str]]:
    last = max((int(own.removeprefix("a")) for ids in annotations for own in ids), default=0)
    counter = _counter(document)
    if counter is not None and last > int(counter.text or 0):
        place = document.places[counter]
        digits = re.fullmatch(rb"\s*(\d+)\s*", document.utf8[place.opened : place.closed])
        if digits:
            yield place.opened + digits.start(1), place.opened + digits.end(1), str(last)


def _margin(document: Document, start: int) -> str:
    """The white space before an element."""
    first = start
    while document.utf8[first - 1 : first].isspace():
        first -= 1
    return document.utf8[first:start].decode()


def _cut(document: Document, element: Element) -> tuple[int, int, str]:
    place = document.places[element]
    return place.start - len(_margin(document, place.start)), place.end, ""


def _below_root(document: Document, element: Element) -> tuple[int, int, str]:
    """An element behind those that stand before it by the schema, indented as they are."""
    rank = ORDER.index(element.tag)
    before = [item for item in document.root if item.tag in ORDER and ORDER.index(item.tag) <= rank][-1]
    place = document.places[before]
    margin = _margin(document, place.start)
    newline, step = ("\r\n" if "\r" in margin else "\n"), margin.rpartition("\n")[2]
    if "\n" in margin:
        indent(element, step, level=1)
        margin = newline + step
    return place.end, place.end, margin + tostring(element, "unicode").rstrip().replace("\n", newline)


def _slots(document: Document, slots: Sequence[Element]) -> Iterator[tuple[int, int, str]]:
    """Time slots, each before the first of the file that is later; those without a time stay where they are."""
    (order,) = document.root.findall("TIME_ORDER")
    place, there = document.places[order], order.findall("TIME_SLOT")
    latest = [*accumulate((time_ms(slot.get("TIME_VALUE", "").strip() or "0") for slot in there), max)]
    ends = [place.opened, *(document.places[slot].end for slot in there)]
    margin = _margin(document, document.places[there[0]].start if there else place.start)
    if not there and "\n" in margin:
        margin += margin.rpartition("\n")[2]
    found = []
    for slot in sorted(slots, key=lambda slot: int(slot.get("TIME_VALUE", 0))):
        end = ends[bisect_right(latest, int(slot.get("TIME_VALUE", 0)))]
        found.append((end, end, margin + tostring(slot, "unicode")))
    if found and document.utf8[: place.opened].endswith(b"/>"):
        text = "".join(new for _, _, new in found)
        found = [(place.opened - 2, place.opened, f">{text}{_margin(document, place.start)}</TIME_ORDER>")]
    yield from found
