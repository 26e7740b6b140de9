"""The report in a real browser: a cell is chosen, its sound starts, and nothing is fetched or complained about."""

from __future__ import annotations

import asyncio
import struct

import pytest
from chromium import LISTEN, Browser, drive, find_chromium
from telling import PHONE_S, RATE_HZ, telling_result, tone

from unispeech_ft.scoring import report_html, summarize

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium here")


@pytest.fixture
def told():
    return telling_result()


@pytest.fixture
def page(told, tmp_path):
    scores, recordings = told
    path = tmp_path / "report.html"
    path.write_text(report_html(scores, summarize(scores, synthetic=True), "Test", recordings=recordings))
    return path


def cell(said: str, heard: str) -> str:
    return f'td[aria-label^="{said} recognised as {heard}:"]'


async def assert_clean(browser: Browser) -> None:
    assert await browser.evaluate("document.title") == "Test"
    assert browser.requests() == []
    assert browser.complaints() == []


def test_a_click_lists_the_utterances_and_plays_the_phone(page, tmp_path):
    async def script(browser: Browser) -> None:
        await browser.open(page, 1280, before=LISTEN)
        assert await browser.evaluate("document.querySelector('#cell').textContent") == ""
        await browser.click(cell("k", "a"))
        await browser.until("window.played.length === 1")
        offset, duration, hz, length = await browser.evaluate("window.played[0]")
        assert offset == pytest.approx(4 * PHONE_S - 0.06, abs=0.002)
        assert duration == pytest.approx(PHONE_S + 0.12, abs=0.002)
        assert hz == pytest.approx(tone("a"), abs=15)
        assert length == round(6 * PHONE_S * RATE_HZ)
        assert "first" in await browser.evaluate("document.querySelector('#cell').innerText")
        assert await browser.until("document.querySelectorAll('#cell .playing').length === 0")
        await browser.click("#cell button + button")
        await browser.until("window.played.length === 2")
        assert (await browser.evaluate("window.played[1]"))[:2] == pytest.approx([0, 6 * PHONE_S])
        await assert_clean(browser)

    drive(tmp_path, script)


def test_the_keyboard_reaches_every_cell(page, tmp_path):
    async def script(browser: Browser) -> None:
        await browser.open(page, 1280, before=LISTEN)
        await browser.evaluate("document.querySelector('td[tabindex=\"0\"]').focus()")
        await browser.press("Home")
        for _ in range(12):
            await browser.press("ArrowUp")
        assert "t recognised" in await browser.evaluate("document.activeElement.getAttribute('aria-label')")
        for _ in range(12):
            await browser.press("ArrowDown")
        await browser.press("End")
        await browser.press("ArrowLeft")
        await browser.press("ArrowUp")
        await browser.press("End")
        deleted = await browser.evaluate("document.activeElement.getAttribute('aria-label')")
        assert "deleted: 1 time" in deleted
        await browser.press("Enter")
        await browser.until("window.played.length === 1")
        assert await browser.evaluate("document.querySelectorAll('td[tabindex=\"0\"]').length") == 1
        await browser.evaluate("document.querySelector('.pairs button').focus()")
        for key in ("ArrowRight", "Enter"):
            await browser.press(key)
        await browser.until("window.played.length === 2")
        await assert_clean(browser)

    drive(tmp_path, script)


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_the_page_fits_and_draws_pictures(page, tmp_path, width):
    async def script(browser: Browser) -> None:
        await browser.open(page, width)
        assert await browser.evaluate("document.documentElement.scrollWidth") <= width
        await browser.evaluate("document.querySelector('article').scrollIntoView()")
        shades = (
            "(() => { const c = document.querySelector('article canvas'); if (!c.hasAttribute('aria-label')) return 0;"
            " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " return new Set(Array.from({length: d.length / 4}, (_, n) => d[4 * n])).size; })()"
        )
        assert await browser.until(shades) > 30
        await asyncio.sleep(0.2)
        shot = await browser.screenshot(tmp_path / f"report_{width}.png")
        assert struct.unpack(">II", shot.read_bytes()[16:24]) == (width, 900)
        await assert_clean(browser)

    drive(tmp_path, script)


def test_without_sound_the_page_still_lists(told, tmp_path):
    scores, _ = told
    path = tmp_path / "silent.html"
    path.write_text(report_html(scores, summarize(scores), "Test"))

    async def script(browser: Browser) -> None:
        await browser.open(path, 390)
        await browser.click(cell("k", "a"))
        assert "first" in await browser.evaluate("document.querySelector('#cell').innerText")
        assert await browser.evaluate("document.querySelectorAll('button, canvas').length") == 0
        await assert_clean(browser)

    drive(tmp_path, script)
