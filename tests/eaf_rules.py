"""What ELAN's schema (EAF 3.0) and its stereotypes of tiers ask of a file: `faults` names what breaks a rule."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from xml.etree.ElementTree import Element, fromstring

ORDER = (
    "LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE", "CONSTRAINT",
    "CONTROLLED_VOCABULARY", "LEXICON_REF", "REF_LINK_SET", "EXTERNAL_REF",
)  # fmt: skip
HEADER = ["MEDIA_DESCRIPTOR", "LINKED_FILE_DESCRIPTOR", "PROPERTY"]
# Attributes of type xsd:ID are unique across the whole file; keys are unique among their elements.
IDS = ("TIME_SLOT_ID", "ANNOTATION_ID", "EXT_REF_ID", "LEX_REF_ID")
KEYS = (("TIER", "TIER_ID"), ("LINGUISTIC_TYPE", "LINGUISTIC_TYPE_ID"), ("CONTROLLED_VOCABULARY", "CV_ID"))
STEREOTYPES = ("Time_Subdivision", "Included_In", "Symbolic_Subdivision", "Symbolic_Association")
NAME = re.compile(r"[^\W\d][\w.-]*")
# Attribute of an element → attribute of an element that it names.
REFERENCES = (
    ("TIER", "LINGUISTIC_TYPE_REF", "LINGUISTIC_TYPE", "LINGUISTIC_TYPE_ID"),
    ("TIER", "PARENT_REF", "TIER", "TIER_ID"),
    ("TIER", "LANG_REF", "LANGUAGE", "LANG_ID"),
    ("TIER", "DEFAULT_LOCALE", "LOCALE", "LANGUAGE_CODE"),
    ("LINGUISTIC_TYPE", "CONSTRAINTS", "CONSTRAINT", "STEREOTYPE"),
    ("LINGUISTIC_TYPE", "CONTROLLED_VOCABULARY_REF", "CONTROLLED_VOCABULARY", "CV_ID"),
    ("ALIGNABLE_ANNOTATION", "TIME_SLOT_REF1", "TIME_SLOT", "TIME_SLOT_ID"),
    ("ALIGNABLE_ANNOTATION", "TIME_SLOT_REF2", "TIME_SLOT", "TIME_SLOT_ID"),
)


def faults(content: bytes) -> list[str]:
    """The rules that a file breaks, each with its place; none of a valid one."""
    root = fromstring(content)
    return [*_structure(root), *_identities(root), *_times(root), *_tiers(root)]


def _structure(root: Element) -> Iterator[str]:
    if root.tag != "ANNOTATION_DOCUMENT":
        yield f"the root is {root.tag}"
    yield from (f"no {name} of the document" for name in ("DATE", "AUTHOR", "VERSION") if name not in root.attrib)
    names = [item.tag for item in root if item.tag in ORDER]
    yield from (f"{tag} stands below the root" for tag in {item.tag for item in root} - set(ORDER))
    if names != sorted(names, key=ORDER.index):
        yield "what stands below the root is out of order"
    yield from (f"{names.count(name)} × {name}" for name in ("HEADER", "TIME_ORDER") if names.count(name) != 1)
    inside = [item.tag for item in root.iterfind("HEADER/*") if item.tag in HEADER]
    if inside != sorted(inside, key=HEADER.index):
        yield "what stands in the header is out of order"
    for item in root.iter("ANNOTATION"):
        inner = [[child.tag for child in part] for part in (item, *item)]
        if inner not in ([["ALIGNABLE_ANNOTATION"], ["ANNOTATION_VALUE"]], [["REF_ANNOTATION"], ["ANNOTATION_VALUE"]]):
            yield f"an ANNOTATION holds {inner}"


def _identities(root: Element) -> Iterator[str]:
    ids = Counter(value for item in root.iter() for key, value in item.items() if key in IDS)
    yield from (f"the id {name} stands {number} times" for name, number in ids.items() if number > 1)
    yield from (f"{name} is no name" for name in ids if not NAME.fullmatch(name))
    for tag, key in KEYS:
        keys = Counter(item.get(key) for item in root.iter(tag))
        yield from (f"{tag} {name} stands {number} times" for name, number in keys.items() if number > 1 or not name)
    for vocabulary in root.iter("CONTROLLED_VOCABULARY"):
        entries = Counter(item.get("CVE_ID") for item in vocabulary.iter("CV_ENTRY_ML"))
        yield from (f"CVE_ID {name} stands {number} times" for name, number in entries.items() if number > 1)
    for tag, key, other, its in REFERENCES:
        there = {item.get(its) for item in root.iter(other)}
        named = {item.get(key) for item in root.iter(tag) if item.get(key) is not None}
        yield from (f"{key} {name} names nothing" for name in named - there)
    last = [int(item.text or 0) for item in root.iter("PROPERTY") if item.get("NAME") == "lastUsedAnnotationId"]
    annotations = {item.get("ANNOTATION_ID") or "" for item in root.iter()}
    numbers = [int(name[1:]) for name in annotations if re.fullmatch(r"a\d+", name)]
    if last and max(numbers, default=0) > last[0]:
        yield f"lastUsedAnnotationId is {last[0]}, and there is a{max(numbers)}"


def _times(root: Element) -> Iterator[str]:
    slots = {item.get("TIME_SLOT_ID"): item.get("TIME_VALUE") for item in root.iter("TIME_SLOT")}
    values = [int(value) for value in slots.values() if value is not None]
    if any(value < 0 for value in values):
        yield "a time below 0"
    if values != sorted(values):
        yield "time slots are out of order"
    used = {item.get(f"TIME_SLOT_REF{n}") for item in root.iter("ALIGNABLE_ANNOTATION") for n in (1, 2)}
    yield from (f"time slot {name} belongs to nothing" for name in set(slots) - used)
    place = {name: number for number, name in enumerate(slots)}
    for item in root.iter("ALIGNABLE_ANNOTATION"):
        first, last = item.get("TIME_SLOT_REF1"), item.get("TIME_SLOT_REF2")
        if first in place and last in place and place[first] >= place[last]:
            yield f"{item.get('ANNOTATION_ID')} ends before it begins"


def _tiers(root: Element) -> Iterator[str]:
    types = {item.get("LINGUISTIC_TYPE_ID"): item for item in root.iter("LINGUISTIC_TYPE")}
    tiers = {tier.get("TIER_ID"): tier for tier in root.iter("TIER")}
    slots = {item.get("TIME_SLOT_ID"): item.get("TIME_VALUE") for item in root.iter("TIME_SLOT")}
    for kind in types.values():
        constraint, timed = kind.get("CONSTRAINTS"), kind.get("TIME_ALIGNABLE")
        if constraint is not None and constraint not in STEREOTYPES:
            yield f"{constraint} is no stereotype"
        if timed != ("false" if (constraint or "").startswith("Symbolic") else "true"):
            yield f"type {kind.get('LINGUISTIC_TYPE_ID')} of {constraint} is TIME_ALIGNABLE {timed}"
    for name, tier in tiers.items():
        kind = types.get(tier.get("LINGUISTIC_TYPE_REF"))
        if kind is None:
            continue
        constraint, above = kind.get("CONSTRAINTS"), tiers.get(tier.get("PARENT_REF"))
        if (constraint is None) != (tier.get("PARENT_REF") is None):
            yield f"tier {name} of type {constraint} hangs on {tier.get('PARENT_REF')}"
        wrong = "REF_ANNOTATION" if kind.get("TIME_ALIGNABLE") == "true" else "ALIGNABLE_ANNOTATION"
        if next(tier.iter(wrong), None) is not None:
            yield f"tier {name} holds a {wrong}"
        if above is not None:
            yield from _hanging(tier, above, constraint, slots)
        spans = sorted(_spans(tier, slots))
        yield from (f"annotations of tier {name} overlap" for one, two in pairwise(spans) if two[0] < one[1])


def _spans(tier: Element, slots: dict[str | None, str | None]) -> list[tuple[int, int]]:
    """Start and end of the annotations of a tier in ms; those that no time encloses are left out."""
    items = tier.iter("ALIGNABLE_ANNOTATION")
    names = [[item.get(f"TIME_SLOT_REF{n}") for n in (1, 2)] for item in items]
    order = list(dict.fromkeys(name for pair in names for name in pair))
    known = [(place, int(ms)) for place, name in enumerate(order) if (ms := slots.get(name)) is not None]
    times = {}
    for (first, low), (last, high) in pairwise(known):
        steps = last - first
        times |= {order[first + n]: low + round((high - low) * n / steps) for n in range(steps + 1)}
    times |= {order[place]: ms for place, ms in known}
    return [(times[first], times[last]) for first, last in names if first in times and last in times]


def _hanging(
    tier: Element, above: Element, constraint: str | None, slots: dict[str | None, str | None]
) -> Iterator[str]:
    there = {item.get("ANNOTATION_ID") for item in above.iter() if item.get("ANNOTATION_ID")}
    refs = [item.get("ANNOTATION_REF") for item in tier.iter("REF_ANNOTATION")]
    yield from (f"{name} is not on the tier above {tier.get('TIER_ID')}" for name in set(refs) - there)
    if constraint == "Symbolic_Association" and len(set(refs)) < len(refs):
        yield f"tier {tier.get('TIER_ID')} has several annotations for one"
    own = {item.get("ANNOTATION_ID") for item in tier.iter("REF_ANNOTATION")}
    before = {item.get("PREVIOUS_ANNOTATION") for item in tier.iter("REF_ANNOTATION")} - {None}
    yield from (f"PREVIOUS_ANNOTATION {name} is not on its tier" for name in before - own)
    if constraint == "Included_In":
        outer = sorted(_spans(above, slots))
        for first, last in _spans(tier, slots):
            place = bisect_right(outer, (first, float("inf"))) - 1
            if place < 0 or outer[place][1] < last:
                yield f"{first} to {last} ms of tier {tier.get('TIER_ID')} lies in nothing above"
