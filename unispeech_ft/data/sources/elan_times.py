"""When the time slots of an ELAN file are, those without a time among them.

ELAN spreads neighbouring annotations whose inner boundaries nobody has set evenly between the boundaries that are set.
Source: ELAN's manual, "time subdivision", and the EAF 3.0 format description (`TIME_VALUE` is optional).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from xml.etree.ElementTree import Element

# Tiers that hang on one another.
DEEPEST = 20
LARGEST_MS = 1e12


def slot_times(document: Element) -> dict[str, float]:
    """Seconds of each time slot by its id; without those that no neighbours with times enclose.

    Raises:
        ValueError: a time is no number.
    """
    times = {
        slot.get("TIME_SLOT_ID", ""): time_ms(value) / 1000
        for slot in document.iter("TIME_SLOT")
        if (value := slot.get("TIME_VALUE")) is not None and value.strip()
    }
    tiers = list(document.iter("TIER"))
    parents = {tier.get("TIER_ID"): tier.get("PARENT_REF") for tier in tiers}
    for tier in sorted(tiers, key=lambda tier: _depth(tier.get("TIER_ID"), parents)):
        times |= dict(_spread(_chain(tier), times))
    return times


def time_ms(value: str) -> float:
    """A `TIME_VALUE` or `TIME_ORIGIN`.

    Raises:
        ValueError: it is no number.
    """
    try:
        found = float(value)
    except ValueError:
        found = inf
    if not abs(found) < LARGEST_MS:
        raise ValueError(f"it has the time {value[:40]!r}, which is no number of milliseconds")
    return found


def _depth(name: str | None, parents: dict[str | None, str | None]) -> int:
    above = parents.get(name)
    for depth in range(DEEPEST):
        if not above:
            return depth
        above = parents.get(above)
    return DEEPEST


def _chain(tier: Element) -> list[str]:
    """The slots of a tier, from one annotation to the next that begins where it ends, else in the order of the file."""
    spans = [
        (item.get("TIME_SLOT_REF1", ""), item.get("TIME_SLOT_REF2", "")) for item in tier.iter("ALIGNABLE_ANNOTATION")
    ]
    after = dict(spans)
    begins, ends = [start for start, _ in spans], {end for _, end in spans}
    slots: dict[str, None] = {}
    for start in (*(start for start in begins if start not in ends), *begins):
        place: str | None = start
        while place is not None and place not in slots:
            slots[place] = None
            place = after.get(place)
    return list(slots)


def _spread(slots: Sequence[str], times: dict[str, float]) -> Iterator[tuple[str, float]]:
    """The slots without a time between two with one, evenly."""
    known = [place for place, slot in enumerate(slots) if slot in times]
    for first, last in zip(known, known[1:], strict=False):
        start_s, end_s = times[slots[first]], times[slots[last]]
        if end_s >= start_s:
            for place in range(first + 1, last):
                yield slots[place], start_s + (end_s - start_s) * (place - first) / (last - first)
