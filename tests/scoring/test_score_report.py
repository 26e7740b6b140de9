import re
from html.parser import HTMLParser

import pytest

from unispeech_ft.scoring import report_html, score, summarize

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks nesting and collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], set(), [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f"{data} "


def page(references, hypotheses, title="Result", **facts):
    scores = score(references, hypotheses)
    return report_html(scores, summarize(scores, **facts), title)


def test_everything_is_escaped():
    evil = "<script>alert(1)</script>&\"'"
    text = page(
        {evil: [evil, "a"]}, {evil: ["<b>", "a"]}, title=evil, model=evil, labels=evil, scoring=evil, split=evil
    )
    parsed = Page(text)
    assert text.count("<script") == text.count("</script>") == 2
    assert "script-src 'sha256-" in text
    assert "<b><b>" not in text
    assert "<b>&lt;b&gt;</b>" in text
    assert parsed.text.count("alert(1)") >= 6


def test_page_needs_nothing_else():
    text = page({"a": ["tʃ", "a"]}, {"a": ["t"]})
    parsed = Page(text)
    assert parsed.links == []
    assert not re.search(r"https?:|url\(|@import|\bfetch\b|XMLHttpRequest", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_page_says_the_figures_and_the_rule():
    parsed = Page(page({"a": ["tʃ", "a"]}, {"a": ["t", "a"]}, model="some model", blank_share=0.25))
    for expected in (
        "PER 50.00 %",
        "50.00–50.00 %",
        "%, by utterance",
        "Unit-cost",
        "some model",
        "25.00 %",
    ):
        assert expected in parsed.text


@pytest.mark.parametrize(("synthetic", "shown"), [(True, True), (False, False), (None, False)])
def test_synthetic_speech_is_said(synthetic, shown):
    assert ("Synthetic speech" in page({"a": ["t"]}, {"a": ["t"]}, synthetic=synthetic)) is shown


def test_wrong_phones_are_marked_by_words():
    parsed = Page(page({"a": ["x", "t", "a"], "b": ["x"]}, {"a": ["y", "t"], "b": ["x", "z"]}))
    for kind in ("sub", "del", "ins"):
        assert f" {kind} " in parsed.text


def test_worst_utterances_first_and_at_most_twenty():
    references = {f"u{i:02}": ["a"] * 30 for i in range(30)}
    hypotheses = {f"u{i:02}": ["b"] * i + ["a"] * (30 - i) for i in range(30)}
    text = page(references, hypotheses)
    assert re.findall(r"<h3>(u\d+)</h3>", text) == [f"u{i}" for i in range(29, 9, -1)]


def test_nothing_wrong_and_nothing_said():
    assert "Every phone was recognised" in Page(page({"a": ["t"]}, {"a": ["t"]})).text
    assert "There are no reference phones" in Page(page({"a": []}, {"a": ["t"]})).text
    assert "PER unknown" in Page(report_html([], summarize([]), "Empty")).text
