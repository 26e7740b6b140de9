"""The page, driven by a client and in a browser: a folder of clips becomes a model, and its phones a corrected .eaf."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from running import REPOSITORY
from scoring.chromium import LISTEN, Browser, drive, find_chromium
from warm import clean_environment

from unispeech_ft.app.workspace import PHONES, SENTENCES, Wishes, Workspace, read_rows, save_rows, take_in, write_config
from unispeech_ft.errors import UserError
from unispeech_ft.transcription.textgrid import read_phones

gradio_client = pytest.importorskip("gradio_client")
UPDATES = 40
CHOSEN = (SENTENCES, "ky", "", "packaged:demo", UPDATES)
# By how many pixels what the command says is higher than its box.
CUT = "(box => box.scrollHeight - box.clientHeight)(document.querySelector('.said textarea'))"
SHOTS = os.environ.get("UNISPEECH_FT_SCREENSHOTS")


@pytest.fixture(scope="module")
def clips(tiny_speech, tmp_path_factory):
    """Recordings with a text of the same name beside each."""
    folder = tmp_path_factory.mktemp("field")
    for split in ("train", "dev"):
        with (tiny_speech / "ky" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                (folder / row["path"]).write_bytes((tiny_speech / "ky" / "clips" / row["path"]).read_bytes())
                (folder / row["path"]).with_suffix(".txt").write_text(row["sentence"], encoding="utf-8")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def page(server):
    """Folder and address of the page."""
    return server[1:]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The command `app`: its process, folder and address."""
    folder = tmp_path_factory.mktemp("page")
    words = [sys.executable, "-m", "unispeech_ft.cli", "app", folder / "app"]
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            cwd=folder,
            env=clean_environment() | {"PYTHONPATH": str(REPOSITORY)},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert (found := re.match(r"http://127\.0\.0\.1:\d+/", line)), (line, (folder / "said.txt").read_text())
        yield process, folder / "app", found[0]
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def trained(page, clips):
    """What the client got of each button."""
    folder, address = page
    client = gradio_client.Client(address, verbose=False, analytics_enabled=False)
    chosen = [gradio_client.handle_file(str(path)) for path in clips]
    audited = client.predict(chosen, SENTENCES, "ky", "", api_name="/audit")
    states = list(client.submit(*CHOSEN, api_name="/train"))
    return client, audited, states


@pytest.mark.long
def test_from_a_folder_to_a_corrected_annotation(page, trained, clips):
    folder, _ = page
    client, audited, states = trained
    assert "train:" in audited
    headline, pers, *_, report = states[-1]
    assert headline.startswith(f"Done: update {UPDATES} of {UPDATES}, PER **"), states[-1][3]
    assert len(states) > 3, "it is seen while it trains"
    assert [row[0] for row in pers["value"]["data"]] == list(range(2, UPDATES + 1, 2)) if "value" in pers else pers
    lines = [state[2].get("value") for state in states]
    assert "for the first time behind update 2." in lines[0]
    assert not lines[-1]
    assert "<iframe sandbox" in report

    recording = gradio_client.handle_file(str(next(path for path in clips if path.suffix == ".mp3")))
    line, heard = client.predict(recording, "", api_name="/transcribe")
    assert line.split() == [row[2] for row in heard["rows"]]
    assert set(line.split()) <= set(heard["phones"])
    corrected = [[0.1, 0.2, "a", 1], [0.2, 0.35, "ʃ", None], [0.5, 0.6, "", None]]
    files = client.predict({**heard, "rows": corrected}, api_name="/save")
    grid, eaf = sorted(map(Path, files), key=lambda path: path.suffix)
    values = [item.text for item in ElementTree.parse(eaf).iter("ANNOTATION_VALUE")]
    assert values == ["a", "ʃ"]
    assert [phone for *_, phone in read_phones(grid) if phone] == ["a", "ʃ"]
    assert eaf.is_file()

    archive, config = map(Path, client.predict(api_name="/export"))
    assert {"config.json", "model.safetensors", "README.md"} <= set(zipfile.ZipFile(archive).namelist())
    assert yaml.safe_load(config.read_text(encoding="utf-8"))["schedule"]["updates"] == UPDATES
    for endpoint, words, said in (
        ("/audit", ([], SENTENCES, "", ""), "language of the sentences is missing"),
        ("/audit", ([], PHONES, "", ""), "is not one phone, but many"),
        ("/save", (None,), "there are no phones to save"),
        ("/save", ("a ʃ",), "these are no phones of this page"),
        ("/save", ({"rows": []},), "these are no phones of this page"),
        ("/save", ({**heard, "recording": __file__},), "is no recording of this page"),
        ("/save", ({**heard, "rows": [[0.1, 0.2, "a b", None]]},), "a b is more than one"),
    ):
        with pytest.raises(Exception, match=said):
            client.predict(*words, api_name=endpoint)


def history(run):
    events = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    known = ("event", "update", "loss", "grad_norm", "lr", "per")
    return [[event.get(key) for key in known] for event in events if event["event"] in ("update", "evaluation")]


@pytest.mark.long
def test_stopped_and_resumed_is_as_if_nothing_had_happened(page, trained):
    folder, address = page
    client, *_ = trained
    straight = folder / "runs" / "run-1"
    for endpoint in ("/resume", "/finish"):
        with pytest.raises(Exception, match="no training was stopped"):
            client.predict(api_name=endpoint)
    with pytest.raises(Exception, match="no training runs"):
        client.predict(api_name="/stop")

    job = client.submit(*CHOSEN, api_name="/train")
    while not (states := job.outputs()) or "Training: update" not in states[-1][0]:
        assert not job.done(), states[-1:]
        time.sleep(0.05)
    other = gradio_client.Client(address, verbose=False, analytics_enabled=False)
    with pytest.raises(Exception, match="run-2 is being trained"):
        other.predict(*CHOSEN, api_name="/train")
    for _ in range(3):
        other.predict(api_name="/stop")
    headline, *_, said, report = list(job)[-1]
    stopped = re.match(rf"Stopped and saved: update (\d+) of {UPDATES}, PER .*\(run-2\)\. \*\*Resume", headline)
    assert stopped, (headline, said)
    assert 0 < int(stopped[1]) < UPDATES
    assert report == ""
    assert f"update {stopped[1]} is saved" in said
    assert said.rstrip().endswith("press Resume to go on")
    # A page that is opened now says the same, and Transcribe stays with the run that has ended.
    assert other.predict(api_name="/training")[0] == headline
    assert not (folder / "runs" / "run-2" / "model").exists()

    # What is looked at in between makes another configuration of the page, not of the run.
    client.predict([], SENTENCES, "ky", "", api_name="/audit")
    headline, *_, report = list(other.submit(api_name="/resume"))[-1]
    assert headline.startswith(f"Done: update {UPDATES} of {UPDATES}, PER **"), headline
    assert "<iframe" in report
    resumed = folder / "runs" / "run-2"
    assert history(resumed) == history(straight)
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (resumed, straight)]
    assert weights[0] == weights[1]


SEEN = "[...document.querySelectorAll('{}')].filter(e => e.offsetParent)"
TEXTS = SEEN.format("textarea") + ".map(e => e.value).join(' ')"
TYPE = """(() => {{
    const e = document.querySelector('{0}');
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(e), 'value').set.call(e, '{1}');
    e.dispatchEvent(new Event('input', {{bubbles: true}}));
    e.dispatchEvent(new Event('change', {{bubbles: true}}));
}})()"""


async def choose(browser, files):
    """Puts files into the field of files that is in sight."""
    field = "[...document.querySelectorAll('input[type=file]')].find(e => e.closest('[role=tabpanel]').offsetParent)"
    await browser.until(f"Boolean({field})")
    found = await browser.send("Runtime.evaluate", expression=field)
    names = [str(file) for file in files]
    await browser.send("DOM.setFileInputFiles", objectId=found["result"]["objectId"], files=names)
    await asyncio.sleep(2)


async def press(browser, name, awaited, of=TEXTS):
    buttons = SEEN.format("[role=tabpanel] button")
    await browser.evaluate(f"{buttons}.find(e => e.innerText.trim() === {name!r}).click()")
    try:
        await browser.until(f"({of}).includes({awaited!r})", limit_s=45)
    except AssertionError:
        raise AssertionError(await browser.evaluate("document.body.innerText")) from None


async def open_tab(browser, number):
    await browser.until("document.querySelectorAll('button[role=tab]').length >= 4")
    await browser.evaluate(f"document.querySelectorAll('button[role=tab]')[{number}].click()")
    await browser.until(f"document.querySelectorAll('button[role=tab]')[{number}].ariaSelected === 'true'")


in_a_browser = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
WIDTHS = pytest.mark.parametrize("width", [1280, 390])


@pytest.mark.long
@in_a_browser
@WIDTHS
def test_in_a_browser(page, trained, clips, tmp_path, width):
    _, address = page
    shots = Path(SHOTS) if SHOTS else tmp_path

    async def script(browser: Browser) -> None:
        await browser.open_url(address, width)
        for number in range(4):
            await open_tab(browser, number)
            if number == 0:
                await choose(browser, clips)
                await browser.evaluate(TYPE.format("[placeholder=ky]", "ky"))
                await press(browser, "Look at them", "train:")
            elif number == 1:
                # What was trained before the page was opened is there.
                await browser.until("document.body.innerText.includes('Done: update')")
                await browser.until("Boolean(document.querySelector('.report iframe'))")
                await browser.evaluate("document.querySelector('.report iframe').scrollIntoView()")
                await asyncio.sleep(2)
                await browser.screenshot(shots / f"report-{width}.png")
                await browser.evaluate(TYPE.format("input[type=number]", 4000))
                charts = f"{SEEN.format('.vega-embed, .vega-embed canvas')}.length"
                await press(browser, "Train", "for the first time behind update 200", of="document.body.innerText")
                assert await browser.evaluate(charts) < 2
                await browser.until("document.body.innerText.includes('Training: update')")
                await asyncio.sleep(2)
                await press(browser, "Stop and save", "Stopped and saved: update", of="document.body.innerText")
                assert await browser.evaluate("document.documentElement.scrollWidth") <= width
                assert await browser.evaluate(CUT) < 12, "the last line of the command is seen"
                await browser.screenshot(shots / f"stopped-{width}.png", whole=True)
                await press(browser, "Finish here", "Done: update", of="document.body.innerText")
                done = await browser.evaluate("document.body.innerText.match(/Done: update (\\d+) of (\\d+)/).slice(1)")
                assert done[0] == done[1] != "4000"
            assert await browser.evaluate("document.documentElement.scrollWidth") <= width
            await browser.screenshot(shots / f"page-{number + 1}-{width}.png", whole=True)
        assert [url for url in browser.requests() if not url.startswith((address, "data:", "blob:"))] == []

    drive(tmp_path, script)


@pytest.mark.long
@in_a_browser
@WIDTHS
def test_phones_are_heard_and_corrected_on_the_waveform(page, trained, clips, tmp_path, width):
    folder, address = page
    shots = Path(SHOTS) if SHOTS else tmp_path
    clip = next(path for path in clips if path.suffix == ".mp3")
    model = str(folder / "runs" / "run-1" / "model")
    heard = trained[0].predict(gradio_client.handle_file(str(clip)), model, api_name="/transcribe")[1]
    rows = heard["rows"]
    assert len(rows) > 5
    grid = folder / "annotations" / f"{clip.stem}.TextGrid"
    grid.unlink(missing_ok=True)
    seen = {}

    async def script(browser: Browser) -> None:
        await browser.open_url(address, width, before=LISTEN)
        await open_tab(browser, 2)
        await choose(browser, [clip])
        await browser.evaluate(TYPE.format("[placeholder^=the]", model))
        await press(
            browser, "Transcribe", "insert", of="document.querySelector('.tool')?.innerText.toLowerCase() ?? ''"
        )
        await browser.until("document.querySelectorAll('.spans button').length > 2")
        await browser.until("document.querySelector('.waveform canvas').ariaLabel")
        # Heard.
        await browser.click(".spans button")
        await browser.until("window.played.length === 1")
        offset, duration, *_ = await browser.evaluate("window.played[0]")
        assert offset == pytest.approx(max(0, rows[0][0] - 0.06), abs=0.002)
        assert offset + duration == pytest.approx(rows[0][1] + 0.06, abs=0.002)
        await browser.screenshot(shots / f"waveform-{width}.png", whole=True)
        # Another phone; the second, whose press ends the typing, deleted, that taken back, and deleted once more.
        await browser.press("F2")
        await browser.write("ʃ")
        await browser.click(".spans button:nth-child(2)")
        await browser.until("window.played.length === 2")
        await browser.press("ArrowLeft")
        assert await browser.evaluate("document.activeElement.title") == f"ʃ, {rows[0][0]:.2f} to {rows[0][1]:.2f} s"
        await browser.press("ArrowRight")
        await browser.press("Delete")
        await browser.click("[data-do=undo]")
        assert await browser.evaluate("document.querySelector('.phone').value") == rows[1][2]
        await browser.click("[data-do=remove]")
        # The edges of the next: its start by the mouse, its end by keys.
        seen["px"] = await browser.evaluate("document.querySelector('.spans').clientWidth")
        seen["s"] = await browser.evaluate("Number(document.querySelector('.where').innerText.match(/–([\\d.]+)/)[1])")
        await browser.drag(".handle.left", 6)
        await browser.evaluate("document.querySelector('.handle.right').focus()")
        for _ in range(2):
            await browser.press("ArrowLeft")
        # A new one behind it.
        await browser.click("[data-do=after]")
        await browser.write("ŋ")
        await browser.press("Enter")
        assert "ŋ" in await browser.evaluate(TEXTS)
        assert await browser.evaluate("document.documentElement.scrollWidth") <= width
        files = "document.querySelector('[role=tabpanel] .kept')?.innerText ?? ''"
        await press(browser, "Save as .eaf and .TextGrid", ".TextGrid", of=files)
        assert [entry for entry in browser.complaints() if "Method not implemented" not in str(entry)] == []

    drive(tmp_path, script)
    first, second, new, *rest = [span for span in read_phones(grid) if span[2]]
    assert first == (rows[0][0], rows[0][1], "ʃ")
    start_s, end_s = rows[2][0] + 6 * seen["s"] / seen["px"], rows[2][1] - 0.02
    assert second == (pytest.approx(start_s, abs=0.01), new[0], rows[2][2])
    if rows[3][0] == rows[2][1]:  # they share the edge that was moved, so that the new one takes half
        assert new == (pytest.approx((start_s + end_s) / 2, abs=0.01), pytest.approx(end_s, abs=1e-6), "ŋ")
        assert rest[0][0] == new[1]
    else:
        assert new == (pytest.approx(end_s, abs=1e-6), pytest.approx(min(end_s + 0.1, rows[3][0]), abs=1e-6), "ŋ")
        assert rest[0][0] == rows[3][0]
    assert [row[2] for row in rest] == [row[2] for row in rows[3:]]
    assert [row[1] for row in rest] == [row[1] for row in rows[3:]]


@pytest.mark.long
def test_with_the_page_its_training_ends_and_is_saved(server, trained):
    process, folder, address = server
    job = gradio_client.Client(address, verbose=False, analytics_enabled=False).submit(
        *CHOSEN[:-1], 4000, api_name="/train"
    )
    while not (states := job.outputs()) or "Training: update" not in states[-1][0]:
        assert not job.done(), states[-1:]
        time.sleep(0.05)
    process.terminate()
    assert process.wait(20) == 0
    run = Workspace(folder).newest_run()
    log = run.with_suffix(".txt")
    limit_s = time.monotonic() + 20
    while "is saved in" not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < limit_s, log.read_text(encoding="utf-8")
        time.sleep(0.1)
    assert Workspace(folder).stopped()[0] == run


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "app")


def test_what_is_taken_in(workspace, clips):
    names = take_in(workspace, clips)
    assert len(names) == len(clips) == len(list(workspace.speech.iterdir()))
    with pytest.raises(UserError, match="none of the files is a recording"):
        take_in(workspace, [clips[1]] if clips[1].suffix == ".txt" else [clips[0]])
    assert len(list(workspace.speech.iterdir())) == len(clips)


def test_the_configuration_of_wishes(workspace):
    of_phones = yaml.safe_load(write_config(workspace, Wishes(PHONES, "", "tx@A", "packaged:demo", 200)).read_text())
    assert (of_phones["phonemes"]["labels"], of_phones["data"]["phones_column"]) == ("column", "tx@A")
    large = yaml.safe_load(write_config(workspace, Wishes(SENTENCES, "ky", "", "some/model", 2000)).read_text())
    assert (large["model"]["base"], large["phonemes"]["normalise"], large["schedule"]["warmup"]) == (
        "some/model",
        "text",
        200,
    )
    assert (of_phones["phonemes"]["map"], large["phonemes"]["map"]) == ("none", "ipa")
    fresh = yaml.safe_load(write_config(workspace, Wishes(SENTENCES, "ky", "", " ", 200)).read_text())
    assert (fresh["model"]["from_scratch"], fresh["model"]["config"]["model_type"]) == (True, "wav2vec2-bert")
    assert fresh["schedule"]["updates"] == 200
    with pytest.raises(UserError, match=r"-1 updates are none"):
        write_config(workspace, Wishes(SENTENCES, "ky", "", "packaged:demo", -1))


def test_corrected_rows(workspace, tmp_path):
    assert read_rows([["0.5", "0.7", "b", ""], [0, 0.5, " a ", 1], ["", "", "", ""]]) == [
        (0.0, 0.5, "a"),
        (0.5, 0.7, "b"),
    ]
    for table, said in (
        ([["x", 1, "a", 1]], "phone 1: x to 1 are no times"),
        ([[1, 0.5, "a", 1]], "phone 1: 1 to 0.5 is no stretch"),
        ([[0, 0.5, "a", 1], [0.4, 0.6, "b", 1]], "a ends at 0.5 s, behind the start of b"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            read_rows(table)
    for rows in ([(0.0, 0.5, "a")], [(0.0, 0.5, "b")]):
        places = save_rows(workspace, tmp_path / "clip.wav", rows, 1.0)
        assert [phone for *_, phone in read_phones(places[1]) if phone] == [rows[0][2]]
