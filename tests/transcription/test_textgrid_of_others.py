"""TextGrids of others with tiers of ours: nothing foreign changes, in any form and encoding."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from praatio import textgrid

from unispeech_ft.data.sources.praat import read_grid
from unispeech_ft.data.sources.tiers import textgrid_sentences
from unispeech_ft.transcription.textgrid import fresh_grid, is_fresh, with_marked

LABELS = (
    "", "kin ta", 'he said ""no""', "two\nlines", "שלום",
    "𐍈 🦊 é", "! no comment", 'item [1]: size = 3 ""', "0.5", "<exists>",
    "intervals [2]:", "name = ""x""", "<a & b>", "sil",
)  # fmt: skip
NEW = {"phones": [(0.25, 0.5, 'u"'), (0.5, 0.7, "t͡ʃ")], "confidence": [(0.25, 0.5, "0.91")], "words": []}


def made_up(rng: random.Random) -> tuple[str, list[tuple[str, list[tuple[str, ...]]]]]:
    """A TextGrid of another's, long or short, and its tiers as they are written."""
    end = rng.choice(["3", "3.0", "2.9999999999999996"])
    tiers = []
    for _ in range(rng.randint(0, 4)):
        name = rng.choice(["phones", "phones", "words", "Mary", 'the ""tier""', "نص", "confidence"])
        points = rng.random() < 0.3
        edges = ["0", *(f"{value:.3f}" for value in sorted(rng.sample(range(1, 29), rng.randint(0, 6)))), end]
        edges = [edges[0], *(str(float(edge) / 10) for edge in edges[1:-1]), end]
        rows = [(*edges[n : n + (1 if points else 2)], rng.choice(LABELS)) for n in range(len(edges) - 1)]
        tiers.append(("TextTier" if points else "IntervalTier", name, rows))
    short = rng.random() < 0.5
    lines = [
        f'File type = "ooTextFile{" short" if short and rng.random() < 0.3 else ""}"',
        'Object class = "TextGrid"',
        "",
    ]
    if short:
        lines += ["0", end, "<exists>", str(len(tiers))]
        for kind, name, rows in tiers:
            lines += [f'"{kind}"', f'"{name}"', "0", end, str(len(rows))]
            lines += [
                value if place < len(row) - 1 else f'"{value}"' for row in rows for place, value in enumerate(row)
            ]
    else:
        lines += ["xmin = 0 ", f"xmax = {end} ", "tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
        for number, (kind, name, rows) in enumerate(tiers, start=1):
            lines += [
                f"    item [{number}]:",
                f'        class = "{kind}" ',
                f'        name = "{name}" ',
                "        xmin = 0 ",
            ]
            what, keys = ("points", ["number"]) if kind == "TextTier" else ("intervals", ["xmin", "xmax"])
            lines += [f"        xmax = {end} ", f"        {what}: size = {len(rows)} "]
            for place, row in enumerate(rows, start=1):
                lines += [
                    f"        {what} [{place}]:",
                    *(f"            {k} = {v} " for k, v in zip(keys, row, strict=False)),
                ]
                lines.append(f'            {"mark" if kind == "TextTier" else "text"} = "{row[-1]}" ')
        lines.insert(3, rng.choice(["", '! 5 "comment"']))
    return rng.choice(["\n", "\r\n"]).join(lines) + rng.choice(["\n", ""]), [(name, rows) for _, name, rows in tiers]


def test_nothing_foreign_is_lost_of_a_thousand_labels() -> None:
    rng = random.Random(3)
    seen = 0
    while seen < 1000:
        text, tiers = made_up(rng)
        codec = rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
        before = (b"\xfe\xff" if codec == "utf-16-be" else b"") + text.encode(codec)
        grid = read_grid(before)
        assert grid.content() == before
        assert [tier.name for tier in grid.tiers] == [name.replace('""', '"') for name, _ in tiers]
        once = with_marked(grid, NEW)
        twice = with_marked(read_grid(once.content()), NEW)
        assert twice.content() == once.content()
        assert once.tiers[: len(tiers)] == grid.tiers
        found = [(*tier.intervals,) for tier in grid.tiers if not tier.of_points]
        assert [
            [(float(a), float(b), c.replace('""', '"')) for a, b, c in rows] for _, rows in tiers if len(rows[0]) == 3
        ] == [list(rows) for rows in found]
        assert [tier.name for tier in once.tiers[len(tiers) :]] == [
            "phones (unispeech-ft)",
            "confidence (unispeech-ft)",
        ]
        assert with_marked(once, dict.fromkeys(NEW, ())).content() == before
        seen += sum(len(rows) for _, rows in tiers)


def test_praat_reads_what_is_added_to_both_forms(tmp_path: Path) -> None:
    rng = random.Random(5)
    for _ in range(30):
        text, tiers = made_up(rng)
        names = [name for name, _ in tiers]
        odd = any("[" in row[-1] for _, rows in tiers for row in rows) or "\n\nxmin" not in text
        if not tiers or len(set(names)) < len(names) or odd:
            continue  # praatio knows no tiers of one name, no comments, and none of its own words in labels
        path = tmp_path / "a.TextGrid"
        path.write_bytes(with_marked(read_grid(text.encode()), NEW).content())
        found = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
        entries = found.getTier("phones (unispeech-ft)").entries
        assert [tuple(entry) for entry in entries][1:3] == [(0.25, 0.5, 'u"'), (0.5, 0.7, "t͡ʃ")]
        assert len(entries) == 4
        assert entries[-1].end == found.maxTimestamp


def test_tiers_that_were_moved_are_replaced_and_the_others_numbered() -> None:
    text = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    text += "xmin = 0\nxmax = 1\ntiers? <exists>\nsize = 2\nitem []:\n"
    for number, name in enumerate(("phones (unispeech-ft)", "Mary"), start=1):
        text += f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n        xmin = 0\n'
        text += "        xmax = 1\n        intervals: size = 1\n        intervals [1]:\n            xmin = 0\n"
        text += '            xmax = 1\n            text = "item [9]:"\n'
    after = with_marked(read_grid(text.encode()), NEW).text()
    assert [tier.name for tier in read_grid(after.encode()).tiers] == [
        "Mary", "phones (unispeech-ft)", "confidence (unispeech-ft)",
    ]  # fmt: skip
    assert [after.index(f"    item [{number}]:\n") for number in (1, 2, 3)] == sorted(
        after.index(f"    item [{number}]:\n") for number in (1, 2, 3)
    )
    assert 'text = "item [9]:"' in after


def test_what_lies_outside_the_file_is_cut() -> None:
    grid = fresh_grid(1.0, {"a": [(0.9, 1.5, "b"), (0.2, 0.5, "a"), (0.4, 0.6, "c"), (2.0, 3.0, "d")]})
    assert [tier.text for tier in read_grid(grid.content()).tiers] == [grid.tiers[0].text]
    words = [line.strip() for line in grid.tiers[0].text.splitlines() if "text" in line or "xm" in line]
    assert words[2:] == [
        "xmin = 0", "xmax = 0.2", 'text = ""', "xmin = 0.2", "xmax = 0.5", 'text = "a"', "xmin = 0.5", "xmax = 0.6",
        'text = "c"', "xmin = 0.6", "xmax = 0.9", 'text = ""', "xmin = 0.9", "xmax = 1", 'text = "b"',
    ]  # fmt: skip
    assert is_fresh(grid.content())
    assert not is_fresh(grid.content().replace(b"\n \n", b"\n\n"))


SHORT = b'File type = "ooTextFile"\nObject class = "TextGrid"\n%s <exists> %s\n"IntervalTier" "%s" %s %s\n'


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "cut off"),
        (b"\xff\x00\xfe", "neither UTF-8 nor UTF-16"),
        (b'File type = "ooTextFile"\nObject class = "PitchTier"\n0\n1\n<exists>\n1\n', "not a TextGrid"),
        (b'File type = "ooTextFile"\nObject class = "TextGrid"\n0\n1\n<exists>\n1\n"IntervalTier"', "cut off"),
        (b'File type = "ooTextFile"\nObject class = "TextGrid"\n0\n1\n<exists>\n9999999999\n', "cut off"),
        (b"ooBinaryFile\x08TextGrid\x00\x00", "in Praat's binary form: open it in Praat"),
        (b'"Praat chronological TextGrid text file"\n0 2\n1\n', "in Praat's chronological form"),
        (SHORT % (b"2 0", b"1", b"t", b"0 2", b"0"), "it ends at 0 s, before it begins"),
        (SHORT % (b"0 2", b"1.5", b"t", b"0 2", b"0"), "1.5 stands where a number of tiers or intervals should"),
        (SHORT % (b"0 2", b"1", b"t", b"0 2", b'"x"'), '"x" stands where a number of tiers or intervals should'),
        (SHORT % (b"0 2", b"1", b"t", b"0 2", b'1 0 "x" 2'), '"x" stands where a time should'),
        (SHORT % (b"0 2", b"1", b"t", b"0 2", b'1 0 1e999 "x"'), "1e999 stands where a time should"),
        (SHORT % (b"0 2", b"1", b"t", b"0 2", b"1 0 2 3"), "3 stands where a name or label in quotation marks should"),
    ],
)
def test_what_is_no_textgrid(content: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_grid(content)


def test_any_part_of_a_textgrid_is_cut_off() -> None:
    whole = fresh_grid(1.0, {"A": [(0, 0.5, "x")]}).content()
    for end in range(len(whole.rstrip())):
        with pytest.raises(ValueError, match="cut off|not a TextGrid"):
            read_grid(whole[:end])


def test_tiers_by_name_and_number_and_ours_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(with_marked(fresh_grid(1.0, {"A": [(0, 0.5, "x")], "B": [(0.5, 1, "y")]}), NEW).content())
    assert [item.text for item in textgrid_sentences(path, "2")] == ["y"]
    assert [item.text for item in textgrid_sentences(path, "phones (unispeech-ft)")] == ['u"', "t͡ʃ"]
    assert [(item.text, item.speaker) for item in textgrid_sentences(path, None)] == [("x", "A"), ("y", "B")]
    with pytest.raises(ValueError, match=r"no tier C; it has A, B, phones \(unispeech-ft\)"):
        textgrid_sentences(path, "C")


def test_tiers_of_one_name_are_told_apart_and_points_have_no_sentences(tmp_path: Path) -> None:
    one = fresh_grid(1.0, {"A": [(0, 0.5, "x")]}).text()
    tier = one[one.index("    item [1]") :]
    points = tier.replace("IntervalTier", "TextTier").replace('"A"', '"P"').replace("xmin = 0.5\n", "")
    points = points.replace("            xmin = 0\n", "").replace("intervals", "points")
    path = tmp_path / "a.TextGrid"
    path.write_text(one.replace("size = 1\nitem", "size = 3\nitem") + points + tier.replace('"x"', '"y"'))
    assert [item.text for item in textgrid_sentences(path, "A")] == ["x"]
    for wanted in ("A (3)", "3"):
        assert [item.text for item in textgrid_sentences(path, wanted)] == ["y"]
    assert textgrid_sentences(path, "P") == []
    assert [item.text for item in textgrid_sentences(path, None)] == ["x", "y"]
