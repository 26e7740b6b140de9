"""ELAN files (EAF 3.0): a tier for each speaker or kind of annotation, beside a recording.

Source: the EAF 3.0 schema and format description of the Max Planck Institute for Psycholinguistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as Xml

from unispeech_ft.files import write_text

SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
TYPE = "default-lt"


def write_eaf(path: Path, recording: Path, tiers: Mapping[str, Sequence[tuple[float, float, str]]]) -> None:
    """Writes an ELAN file of a recording.

    Args:
        tiers: (start, end, label) in seconds, by the name of the tier.

    Raises:
        OSError: it cannot be written.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    schema = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
    root = Xml.Element(
        "ANNOTATION_DOCUMENT", {"AUTHOR": "", "DATE": now, "FORMAT": "3.0", "VERSION": "3.0", schema: SCHEMA}
    )
    header = Xml.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    Xml.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=recording.absolute().as_uri(), MIME_TYPE=_mime(recording))
    times = Xml.SubElement(root, "TIME_ORDER")
    edges = sorted({round(1000 * edge) for spans in tiers.values() for start, end, _ in spans for edge in (start, end)})
    slots = {edge: f"ts{number}" for number, edge in enumerate(edges, start=1)}
    for edge, slot in slots.items():
        Xml.SubElement(times, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(edge))
    count = 0
    for name, spans in tiers.items():
        tier = Xml.SubElement(root, "TIER", LINGUISTIC_TYPE_REF=TYPE, PARTICIPANT=name, TIER_ID=name)
        for start, end, label in spans:
            count += 1
            annotation = Xml.SubElement(
                Xml.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{count}",
                TIME_SLOT_REF1=slots[round(1000 * start)],
                TIME_SLOT_REF2=slots[round(1000 * end)],
            )
            Xml.SubElement(annotation, "ANNOTATION_VALUE").text = label
    Xml.SubElement(root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=TYPE, TIME_ALIGNABLE="true")
    Xml.indent(root, "    ")
    write_text(path, '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n")


def _mime(recording: Path) -> str:
    return "audio/x-wav" if recording.suffix.lower() == ".wav" else "audio/*"
