"""ELAN files of others with tiers of ours: nothing foreign changes, no id stands twice, the schema's rules hold."""

from __future__ import annotations

import random
import re
from pathlib import Path
from xml.etree.ElementTree import fromstring
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import pytest
from eaf_rules import faults
from golden import SHARED

from unispeech_ft.data.sources.placed_xml import read_document
from unispeech_ft.data.sources.tiers import elan_sentences
from unispeech_ft.transcription.elan import ASSOCIATED, CONSTRAINTS, INCLUDED, Tier, fresh, read_eaf, with_tiers

SAMPLE = SHARED / "data" / "elan" / "sample_3.0.eaf"
PIECES = re.compile(r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>|[^<\s]+", re.DOTALL)
# Those of a file that `made_up` wrote begin with an apostrophe.
OURS = re.compile(
    r'\s*<(?:TIER ANNOTATOR="unispeech-ft".*?</TIER>|(?:TIME_SLOT|LINGUISTIC_TYPE|CONSTRAINT) [A-Z_]+="[^>]*/>)',
    re.DOTALL,
)
VALUES = (
    "", " ", "kin ta", "a < b && c > d", "]]>", '"quoted" \'twice\'', "two\nlines\tand a tab",
    "שלום עולם", "مرحبا\u200f",
    "e\u0301 é", "𐍈 🦊", "<TIER TIER_ID='x'/>", "-->", "a17", "x" * 3000,
)  # fmt: skip
MARKUP = (
    "<!-- {n}: <TIER> - -->", "<?target {n} TIER_ID='phones'?>", "<x:note xmlns:x='urn:x' x:n='{n}'/>",
    "<OTHER n='{n}'>ANNOTATION_ID=\"a{n}\"</OTHER>",
)  # fmt: skip
NEW = [
    Tier("phones", [(0.5, 0.6, "a"), (0.6, 0.75, "<b&>"), (9.0, 9.1, "t͡ʃ")]),
    Tier("confidence", [(0, 0, "0.91"), (0, 0, "0.50"), (0, 0, "1.00")], above="phones", kind=ASSOCIATED),
    Tier("words", []),
]


def foreign(content: bytes) -> list[tuple[object, ...]]:
    """All that a file holds but what is marked as ours, and the last number given, in order, by another reader."""
    mine = re.compile(r"unispeech-ft( \w+)?( \d+)?")
    found: list[tuple[object, ...]] = []
    ours: set[str] = set()
    inside = [""]

    def start(name: str, attributes: dict[str, str]) -> None:
        if attributes.get("ANNOTATOR") == "unispeech-ft" or inside[-1] == "ours":
            ours.update(attributes.values())
            inside.append("ours")
        elif (
            mine.fullmatch(attributes.get("LINGUISTIC_TYPE_ID", ""))
            or attributes.get("DESCRIPTION") in CONSTRAINTS.values()
            or attributes.get("NAME") == "lastUsedAnnotationId"
        ):
            inside.append("ours")
        else:
            inside.append(name)
            found.append(("start", name, *attributes.items()))

    def end(name: str) -> None:
        if inside.pop() != "ours":
            found.append(("end", name))

    def text(data: str) -> None:
        if inside[-1] != "ours" and (data.strip() or inside[-1] == "ANNOTATION_VALUE"):
            found.append(("text", data))

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.CommentHandler = lambda data: found.append(("comment", data))
    parser.ProcessingInstructionHandler = lambda *data: found.append(("instruction", *data))
    parser.StartCdataSectionHandler = lambda: found.append(("cdata",))
    parser.Parse(content, True)
    kept, skip = [], False
    for item in found:
        slot = dict(item[2:]).get("TIME_SLOT_ID") if item[:2] == ("start", "TIME_SLOT") else None
        if not skip and slot not in ours:
            kept.append(item)
        skip = slot in ours
    return kept


def assert_only_added(before: bytes, after: bytes) -> None:
    assert foreign(after) == foreign(before)
    old, new = (PIECES.findall(read_document(content).utf8.decode()) for content in (before, after))
    number = next((place for place, piece in enumerate(old) if "lastUsedAnnotationId" in piece), len(old)) + 1
    rest = iter(new)
    lost = [piece for place, piece in enumerate(old) if place != number and piece not in rest]
    assert not lost
    assert after.startswith(before[: before.index(b"H")])
    last = [int(item.text or 0) for item in fromstring(before).iter("PROPERTY") if item.get("NAME") != "URN"]
    given = [int(name[1:]) for name in {*identities(after)} - {*identities(before)}]
    assert min(given) > max([*last, *(int(name[1:]) for name in identities(before))])
    assert set(faults(after)) <= set(faults(before))


def identities(content: bytes) -> list[str]:
    return [name for item in fromstring(content).iter() if (name := item.get("ANNOTATION_ID"))]


def numbered(content: bytes) -> str:
    """The text of a file without the numbers of annotations."""
    return re.sub(r'"a\d+"|(?<=lastUsedAnnotationId.>)\d+', "", read_document(content).utf8.decode())


def ours(content: bytes) -> dict[str, list[str]]:
    tiers = (tier for tier in fromstring(content).iter("TIER") if tier.get("ANNOTATOR") == "unispeech-ft")
    return {str(tier.get("TIER_ID")): [item.text or "" for item in tier.iter("ANNOTATION_VALUE")] for tier in tiers}


def made_up(rng: random.Random, encoding: str = "utf-8") -> tuple[bytes, list[str]]:
    """An ELAN file of another's, and the identities of the timed annotations of its tier `text`."""
    newline, step = rng.choice([("\n", "    "), ("\r\n", "\t"), ("", ""), ("\n", "")])
    quote = rng.choice([quoteattr, lambda value: "'" + escape(value, {"'": "&apos;", "\n": "&#10;"}) + "'"])
    first = rng.choice([1, 40, 1_000_000])
    lines: list[tuple[int, str]] = []

    def add(level: int, line: str) -> None:
        lines.extend((level, rng.choice(MARKUP).format(n=len(lines))) for _ in range(rng.random() < 0.03 and level > 0))
        lines.append((level, line))

    def value() -> str:
        said = rng.choice(VALUES)
        if "]]>" not in said and rng.random() < 0.2:
            return f"<![CDATA[{said}]]>"
        return escape(said).replace("\n", rng.choice(["\n", "&#10;"]))

    add(0, "<ANNOTATION_DOCUMENT AUTHOR='' DATE='2020-01-01T00:00:00+00:00' VERSION='3.0' x='phones'>")
    add(1, "<LICENSE LICENSE_URL=''>a &amp; b</LICENSE>")
    add(1, "<HEADER MEDIA_FILE='' TIME_UNITS='milliseconds'>")
    add(2, "<MEDIA_DESCRIPTOR MEDIA_URL='file:///a%20b.wav' MIME_TYPE='audio/x-wav' TIME_ORIGIN='0'/>")
    add(2, "<PROPERTY NAME='URN'>urn:x</PROPERTY>")
    count = rng.randint(6, 14)
    if rng.random() < 0.7:
        add(2, f"<PROPERTY NAME='lastUsedAnnotationId'>{first + 5 * count + rng.randint(0, 50)}</PROPERTY>")
    add(1, "</HEADER>")
    add(1, "<TIME_ORDER>")
    for number in range(count + 1):
        valued = f" TIME_VALUE='{1000 * number}'" if number in (0, 1, count) or rng.random() < 0.7 else ""
        add(2, f"<TIME_SLOT TIME_SLOT_ID='ts{number + first}'{valued}/>")
    add(1, "</TIME_ORDER>")
    name = rng.choice(["text", "phones", "a & b", "نص", "tx@A"])
    add(1, f"<TIER LINGUISTIC_TYPE_REF='u' PARTICIPANT={quote('A & B')} TIER_ID={quote(name)} x='1'>")
    ids = [f"a{first + number}" for number in range(count)]
    for number, own in enumerate(ids):
        times = f"TIME_SLOT_REF1='ts{first + number}' TIME_SLOT_REF2='ts{first + number + 1}'"
        kind = "ALIGNABLE_ANNOTATION"
        add(2, f"<ANNOTATION><{kind} ANNOTATION_ID='{own}' {times}>")
        add(3, f"<ANNOTATION_VALUE>{value()}</ANNOTATION_VALUE></{kind}></ANNOTATION>")
    add(1, "</TIER>")
    above, on = name, ids
    for level, kind in enumerate(["sub", "assoc"], start=1):
        add(1, f"<TIER LINGUISTIC_TYPE_REF='{kind}' PARENT_REF={quote(above)} TIER_ID='level {level}'>")
        mine = [f"a{first + level * count + number}" for number in range(count)]
        for number, (own, up) in enumerate(zip(mine, on, strict=True)):
            up, previous = (on[number - number % 2], mine[number - 1] if number % 2 else "") if level == 1 else (up, "")
            chain = f" PREVIOUS_ANNOTATION='{previous}'" if previous else ""
            add(2, f"<ANNOTATION><REF_ANNOTATION ANNOTATION_ID='{own}' ANNOTATION_REF='{up}'{chain} CVE_REF='cve1'>")
            add(3, f"<ANNOTATION_VALUE>{value()}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>")
        add(1, "</TIER>")
        above, on = f"level {level}", mine
    add(1, "<LINGUISTIC_TYPE GRAPHIC_REFERENCES='false' LINGUISTIC_TYPE_ID='u' TIME_ALIGNABLE='true'/>")
    for kind, constraint in (("sub", "Symbolic_Subdivision"), ("assoc", "Symbolic_Association")):
        head = f"<LINGUISTIC_TYPE CONSTRAINTS='{constraint}' GRAPHIC_REFERENCES='false'"
        add(1, f"{head} LINGUISTIC_TYPE_ID='{kind}' TIME_ALIGNABLE='false'/>")
    add(1, "<LOCALE COUNTRY_CODE='US' LANGUAGE_CODE='en'/>")
    for constraint in ("Symbolic_Subdivision", "Symbolic_Association"):
        add(1, f"<CONSTRAINT DESCRIPTION='x' STEREOTYPE='{constraint}'/>")
    add(1, "<CONTROLLED_VOCABULARY CV_ID='POS'><CV_ENTRY_ML CVE_ID='cve1'/></CONTROLLED_VOCABULARY>")
    other = first + rng.choice([4 * count, 5 * count + 70])
    add(1, f"<EXTERNAL_REF EXT_REF_ID='a{other}' TYPE='ecv' VALUE='file:/x.ecv'/>")
    add(0, "</ANNOTATION_DOCUMENT>")
    body = newline.join(level * step + line for level, line in lines)
    text = f"<?xml version='1.0' encoding='{encoding}'?>{newline}{body}{newline}<!-- behind -->"
    return (b"\xef\xbb\xbf" if rng.random() < 0.2 and encoding == "utf-8" else b"") + text.encode(
        encoding, "xmlcharrefreplace"
    ), ids


@pytest.mark.parametrize(("encoding", "most"), [("utf-8", 1000), ("utf-16", 200), ("iso-8859-1", 200)])
def test_nothing_foreign_is_lost_of_a_thousand_mutated_annotations(encoding: str, most: int) -> None:
    rng = random.Random(7)
    seen = 0
    while seen < most:
        before, ids = made_up(rng, encoding)
        tier = fromstring(before).find("TIER")
        assert tier is not None
        above = str(tier.get("TIER_ID"))
        hung = Tier("heard", [(0, 0, f"{n} <t>") for n in range(len(ids))], above=above, kind=ASSOCIATED, on=ids)
        inside = Tier("heard phones", [(0.0, 0.4, "k"), (0.4, 0.45, "i")], above=above, kind=INCLUDED)
        once = with_tiers(read_eaf(before), [*NEW, hung]).content()
        twice = with_tiers(read_eaf(once), [*NEW, hung]).content()
        other = with_tiers(read_eaf(twice), [inside]).content()
        for after in (once, twice, other):
            assert_only_added(before, after)
            assert OURS.sub("", numbered(after)) == numbered(before)
        phones = "phones (unispeech-ft)" if above == "phones" else "phones"
        assert ours(once) == ours(twice)
        assert ours(once)[phones] == ["a", "<b&>", "t͡ʃ"]
        assert set(ours(once)) == {phones, "confidence", "heard"}
        assert ours(other) == ours(once) | {"heard phones": ["k", "i"]}
        assert once == twice
        seen += 3 * len(ids)


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"no {SAMPLE}")
def test_the_round_trip_of_a_file_of_elan() -> None:
    before = SAMPLE.read_bytes()
    assert read_eaf(before).content() == before
    assert not faults(before)
    items = elan_sentences(SAMPLE, "text")
    said = [(item.start_s or 0.0, item.end_s or 0.0, "k i n") for item in items]
    inside = [(start_s, (start_s + end_s) / 2, "k") for start_s, end_s, _ in said]
    hung = Tier("text transcript", said, above="text", kind=ASSOCIATED, on=[item.annotation for item in items])
    tiers = [*NEW, hung, Tier("text phones", inside, above="text", kind=INCLUDED)]
    once = with_tiers(read_eaf(before), tiers).content()
    twice = with_tiers(read_eaf(once), tiers).content()
    for after in (once, twice):
        assert_only_added(before, after)
        assert not faults(after)
        assert {name: len(values) for name, values in ours(after).items()} == {
            "phones": 3, "confidence": 3, "text transcript": len(items), "text phones": len(items),
        }  # fmt: skip
    assert len(items) > 100


def test_rules_are_broken_by_what_breaks_them(tmp_path: Path) -> None:
    tiers = [Tier("A", [(0, 1, "x"), (1, 2.5, "y")]), Tier("B", [(0.5, 2, "z")])]
    text = with_tiers(fresh(tmp_path / "a.wav"), tiers).content().decode()
    assert not faults(text.encode())
    for old, new, fault in (
        ('ID="a2"', 'ID="a1"', "the id a1 stands 2 times"),
        ('REF1="ts1"', 'REF1="ts99"', "TIME_SLOT_REF1 ts99 names nothing"),
        ('VALUE="0"', 'VALUE="700"', "time slots are out of order"),
        ('TIER_ID="B"', 'TIER_ID="A"', "TIER A stands 2 times"),
        ('TIER_ID="B"', 'PARENT_REF="A" TIER_ID="B"', "tier B of type None hangs on A"),
        ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION", "tier A holds a REF_ANNOTATION"),
        ('TIME_ALIGNABLE="true"', 'TIME_ALIGNABLE="false"', "type unispeech-ft of None is TIME_ALIGNABLE false"),
        (">3<", ">2<", "lastUsedAnnotationId is 2, and there is a3"),
        ("LINGUISTIC_TYPE ", "LEXICON_REF ", "LINGUISTIC_TYPE_REF unispeech-ft names nothing"),
    ):
        assert fault in faults(text.replace(old, new).encode())


def test_tiers_on_which_something_hangs_stay() -> None:
    before, _ = made_up(random.Random(1))
    once = with_tiers(read_eaf(before), NEW).content()
    own = next(re.finditer(r'ANNOTATION_ID="(a\d+)"', once.decode()))[1]
    note = f"<TIER LINGUISTIC_TYPE_REF='assoc' PARENT_REF='phones' TIER_ID='note'><ANNOTATION><REF_ANNOTATION " \
        f"ANNOTATION_ID='a99999999' ANNOTATION_REF='{own}'><ANNOTATION_VALUE>!</ANNOTATION_VALUE>" \
        "</REF_ANNOTATION></ANNOTATION></TIER>"  # fmt: skip
    noted = once.decode().replace("<LINGUISTIC_TYPE ", f"{note}<LINGUISTIC_TYPE ", 1).encode()
    twice = with_tiers(read_eaf(noted), NEW).content()
    assert ours(twice) == ours(once) | {"phones (unispeech-ft)": ours(once)["phones"]}
    assert set(faults(twice)) <= set(faults(noted))


def test_time_slots_that_another_tier_uses_stay() -> None:
    before, _ = made_up(random.Random(1))
    once = with_tiers(read_eaf(before), NEW).content()
    first, last = re.findall(r'TIME_SLOT_REF\d="(ts\d+)"', once.decode())[:2]
    note = f"<TIER LINGUISTIC_TYPE_REF='u' TIER_ID='note'><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID='a88888888'" \
        f" TIME_SLOT_REF1='{first}' TIME_SLOT_REF2='{last}'><ANNOTATION_VALUE>!</ANNOTATION_VALUE>" \
        "</ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"  # fmt: skip
    noted = once.decode().replace("<LINGUISTIC_TYPE ", f"{note}<LINGUISTIC_TYPE ", 1).encode()
    twice = with_tiers(read_eaf(noted), NEW).content()
    assert set(faults(twice)) <= set(faults(noted))
    assert ours(twice) == ours(once)


def test_only_the_digits_of_the_last_number_change() -> None:
    frame = "<ANNOTATION_DOCUMENT><HEADER>{}</HEADER><TIME_ORDER/></ANNOTATION_DOCUMENT>"
    head = "<PROPERTY NAME='lastUsedAnnotationId'>"
    for before, after in ((" 7\n", " 13\n"), ("<!-- of KM -->7", "<!-- of KM -->7"), ("", ""), ("x", "x")):
        changed = with_tiers(read_eaf(frame.format(f"{head}{before}</PROPERTY>").encode()), NEW)
        assert f"{head}{after}</PROPERTY>" in changed.content().decode()


def test_new_slots_stand_in_the_order_of_time_and_an_empty_list_is_opened() -> None:
    slot = "<TIME_SLOT TIME_SLOT_ID='s{}'{}/>"
    slots = "".join(slot.format(n, f" TIME_VALUE='{n}'" if n != 1 else "") for n in (0, 1, 900))
    frame = "<ANNOTATION_DOCUMENT><HEADER/>{}</ANNOTATION_DOCUMENT>"
    after = with_tiers(read_eaf(frame.format(f"<TIME_ORDER>{slots}</TIME_ORDER>").encode()), NEW)
    assert [slot.get("TIME_VALUE") for slot in after.root.iter("TIME_SLOT")] == [
        "0", None, "500", "600", "600", "750", "900", "9000", "9100",
    ]  # fmt: skip
    for empty in (
        "<TIME_ORDER/>",
        "<TIME_ORDER />",
        "<TIME_ORDER></TIME_ORDER>",
        "\r\n <TIME_ORDER>\r\n </TIME_ORDER>",
    ):
        after = with_tiers(read_eaf(frame.format(empty).encode()), NEW)
        assert len(after.root.findall("TIME_ORDER/TIME_SLOT")) == 6
        assert not [fault for fault in faults(after.content()) if "document" not in fault]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<ANNOTATION_DOCUMENT><TIER></ANNOTATION_DOCUMENT>", "not XML: mismatched tag"),
        ("", "not XML: no element found"),
        ("<html/>", "not an ELAN file"),
        ("<ANNOTATION_DOCUMENT>\0</ANNOTATION_DOCUMENT>", "not XML: it holds characters without a meaning"),
        (
            "<ANNOTATION_DOCUMENT><TIME_ORDER/><TIME_ORDER/></ANNOTATION_DOCUMENT>",
            "not an ELAN file: no ANNOTATION_DOCUMENT with one TIME",
        ),
        ("<?xml version='1.0' encoding='klingon'?><a/>", "not XML: unknown encoding"),
        ("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "it declares entities"),
        ("<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://localhost:9/x'> %x;]><a/>", "it declares entities"),
        ("<!DOCTYPE a [<!ENTITY x 'ha'><!ENTITY y '&x;&x;&x;'>]><a>&y;</a>", "it declares entities"),
    ],
)
def test_what_is_not_read(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=fault):
        read_eaf(text.encode())
    (tmp_path / "a.eaf").write_text(text)
    with pytest.raises(ValueError, match=fault if "ELAN" not in fault else "no tier"):
        elan_sentences(tmp_path / "a.eaf", None)


SLOTS = {"t1": 0, "t2": None, "t3": None, "t4": 900, "t5": None, "t6": 2000, "t7": None, "t8": 5000, "t9": 4000}
TIERS = {
    "chain": ("", [("t1", "t2"), ("t2", "t3"), ("t3", "t4"), ("t4", "t6")]),
    "backwards": ("", [("t3", "t4"), ("t2", "t3"), ("t1", "t2")]),
    "below": ("chain", [("t2", "t5"), ("t5", "t3")]),
    "open": ("", [("t6", "t7")]),
    "against time": ("", [("t8", "t7"), ("t7", "t9")]),
    "round": ("", [("t7", "t7")]),
}


@pytest.mark.parametrize(
    ("tier", "times_ms"),
    [
        ("chain", [(0, 300), (300, 600), (600, 900), (900, 2000)]),
        ("backwards", [(0, 300), (300, 600), (600, 900)]),
        ("below", [(300, 450), (450, 600)]),
        ("open", [None]),
        ("against time", [None, None]),
        ("round", [None]),
    ],
)
def test_slots_without_a_time_are_spread_evenly(
    tier: str, times_ms: list[tuple[int, int] | None], tmp_path: Path
) -> None:
    names = [tier] if tier != "below" else ["below", "chain"]
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{name}"' + (f' TIME_VALUE="{ms}"/>' if ms is not None else "/>")
        for name, ms in SLOTS.items()
    )
    tiers = "".join(
        f'<TIER TIER_ID="{name}"' + (f' PARENT_REF="{TIERS[name][0]}"' if TIERS[name][0] else "") + ">" + "".join(
            f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name} {n}" TIME_SLOT_REF1="{first}" TIME_SLOT_REF2='
            f'"{last}"><ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>'
            for n, (first, last) in enumerate(TIERS[name][1])
        ) + "</TIER>"
        for name in names
    )  # fmt: skip
    text = f"<ANNOTATION_DOCUMENT><HEADER/><TIME_ORDER>{slots}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>"
    (tmp_path / "a.eaf").write_text(text)
    found = [
        None if item.fault else (round(1000 * (item.start_s or 0)), round(1000 * (item.end_s or 0)))
        for item in elan_sentences(tmp_path / "a.eaf", tier)
    ]
    assert sorted(found, key=str) == sorted(times_ms, key=str)
    after = with_tiers(read_eaf(text.encode()), NEW).content()
    assert [
        slot for slot in re.findall(r"<TIME_SLOT [^>]*>", after.decode()) if '"t' in slot and '"ts' not in slot
    ] == (re.findall(r"<TIME_SLOT [^>]*>", text))


def test_utf_32_and_a_file_without_tiers(tmp_path: Path) -> None:
    text = "<ANNOTATION_DOCUMENT><HEADER/><TIME_ORDER/></ANNOTATION_DOCUMENT>"
    for codec in ("utf-32", "utf-16", "utf-8-sig"):
        before = read_eaf(text.encode(codec))
        assert before.content() == text.encode(codec)
        after = with_tiers(before, NEW).content()
        assert after.decode(codec).startswith("<ANNOTATION_DOCUMENT>")
    (tmp_path / "a.eaf").write_text(text)
    with pytest.raises(ValueError, match="no tier x; it has none"):
        elan_sentences(tmp_path / "a.eaf", "x")


def test_a_time_that_is_none(tmp_path: Path) -> None:
    slots = '<TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="soon"/>'
    text = f"<ANNOTATION_DOCUMENT><HEADER/><TIME_ORDER>{slots}</TIME_ORDER><TIER TIER_ID='a'/></ANNOTATION_DOCUMENT>"
    (tmp_path / "a.eaf").write_text(text)
    with pytest.raises(ValueError, match="the time 'soon', which is no number"):
        elan_sentences(tmp_path / "a.eaf", "a")
    with pytest.raises(ValueError, match="the time 'soon', which is no number"):
        with_tiers(read_eaf(text.encode()), NEW)
    origin = "<MEDIA_DESCRIPTOR MEDIA_URL='a.wav' TIME_ORIGIN='never'/>"
    (tmp_path / "a.eaf").write_text(text.replace("soon", "7").replace("<HEADER/>", f"<HEADER>{origin}</HEADER>"))
    with pytest.raises(ValueError, match="the time 'never', which is no number"):
        elan_sentences(tmp_path / "a.eaf", "a")


def test_tiers_by_name_type_participant_and_number(tmp_path: Path) -> None:
    before, _ = made_up(random.Random(3))
    path = tmp_path / "a.eaf"
    path.write_bytes(before)
    by_type = [item.text for item in elan_sentences(path, "u")]
    assert by_type
    assert [item.text for item in elan_sentences(path, "A & B")] == by_type
    assert [item.text for item in elan_sentences(path, "1")] == by_type
    assert {item.tier for item in elan_sentences(path, "3")} == {"level 2"}
    for wanted in ("4", "0", "nothing"):
        with pytest.raises(ValueError, match=f"no tier {wanted}; it has .*, level 1, level 2"):
            elan_sentences(path, wanted)
