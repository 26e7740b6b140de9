"""Cuts of lhotse as rows of a manifest, and channels as tables write them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from unispeech_ft.data.sources.tables import Row

SIDES = {"left": 0, "right": 1, "l": 0, "r": 1}


def cut_rows(line: int, values: Row) -> Iterator[tuple[int, Row]]:
    """A cut as rows, one for each of its supervisions; any other row as it is.

    Raises:
        TypeError, ValueError, AttributeError: it is no cut that is understood.
    """
    recording = values.get("recording")
    if not isinstance(recording, dict) or not isinstance(values.get("supervisions"), list):
        yield line, values
        return
    offset_s = float(values.get("start") or 0.0)
    for item in values["supervisions"] or [{}]:
        path, channel = _source(recording.get("sources") or [], item.get("channel", values.get("channel")))
        yield (
            line,
            {
                "path": path,
                "channel": channel,
                "start": offset_s + float(item.get("start") or 0.0),
                "duration": item.get("duration", values.get("duration")),
                "text": item.get("text"),
                "speaker": item.get("speaker"),
            },
        )


def _source(sources: list[dict[str, Any]], channel: Any) -> tuple[Any, int | None]:
    """The file that holds a channel, and the place of the channel in it; None where it has no other."""
    holding = [source for source in sources if channel in (source.get("channels") or [])]
    source = (holding or (sources if len(sources) == 1 else [{}]))[0]
    channels = source.get("channels") or []
    return source.get("source"), channels.index(channel) if holding and len(channels) > 1 else None


def channel_places(names: Collection[str]) -> dict[str, int]:
    """Place in the file, from 0, of each channel that a column names; none where the column tells none apart.

    Numbers count from 1 where none is 0; letters from A; sides are left and right.
    """
    if len(names) < 2:
        return {}
    if all(name.isdecimal() for name in names):
        first = min(1, *map(int, names))
        return {name: int(name) - first for name in names}
    if all(name.lower() in SIDES for name in names):
        return {name: SIDES[name.lower()] for name in names}
    if all(len(name) == 1 and name.isascii() and name.isalpha() for name in names):
        return {name: ord(name.upper()) - ord("A") for name in names}
    return {}
