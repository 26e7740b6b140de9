"""A headless Chromium driven through the DevTools protocol; aiohttp, which datasets brings along, speaks it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=document-user-activation-required",
    "--remote-debugging-port=0",
)
KEYS = {"Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Home": 36, "End": 35}
KEYS |= {"Delete": 46, "F2": 113}
# Notes what is played: where it starts, how long it lasts, and its loudest pitch.
LISTEN = """
window.played = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, offset, duration) {
  const all = this.buffer.getChannelData(0), rate = this.buffer.sampleRate;
  const middle = (offset + duration / 2) * rate;
  const part = all.subarray(Math.round(middle - 0.04 * rate), Math.round(middle + 0.04 * rate));
  let best = 0, hz = 0;
  for (let f = 200; f < 3300; f += 10) {
    let re = 0, im = 0;
    const turn = 2 * Math.PI * f / rate;
    part.forEach((v, n) => { re += v * Math.cos(turn * n); im += v * Math.sin(turn * n); });
    if (re * re + im * im > best) { best = re * re + im * im; hz = f; }
  }
  window.played.push([offset, duration, hz, all.length]);
  return start.call(this, when, offset, duration);
};
"""


def find_chromium() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page; `events` are all that the browser told about it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.session: str | None = None
        self.number = 0

    async def listen(self) -> None:
        async for message in self.socket:
            said = json.loads(message.data)
            if "id" in said:
                self.waiting.pop(said["id"]).set_result(said)
            else:
                self.events.append(said)

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        future = asyncio.get_running_loop().create_future()
        self.waiting[self.number] = future
        request = {"id": self.number, "method": method, "params": parameters}
        await self.socket.send_json(request | ({"sessionId": self.session} if self.session else {}))
        answer = await asyncio.wait_for(future, 60)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        answer = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=False
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, limit_s: float = 20.0) -> Any:
        for _ in range(int(limit_s / 0.05)):
            if found := await self.evaluate(expression):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"never true: {expression}")

    async def open(self, path: Path, width: int, height: int = 900, before: str = "") -> None:
        await self.open_url(path.resolve().as_uri(), width, height, before)

    async def open_url(self, url: str, width: int, height: int = 900, before: str = "") -> None:
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.send(f"{domain}.enable")
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        if before:
            await self.send("Page.addScriptToEvaluateOnNewDocument", source=before)
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def click(self, selector: str) -> None:
        """A real press of the mouse in the middle of the first element that matches."""
        await self.drag(selector, 0)

    async def drag(self, selector: str, right_px: float) -> None:
        """Presses the mouse in the middle of the first element that matches, and lets it go beside it."""
        x, y = await self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', inline: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        there = {"x": x + right_px, "y": y, "button": "left", "clickCount": 1}
        await self.send("Input.dispatchMouseEvent", type="mousePressed", **there | {"x": x})
        if right_px:
            await self.send("Input.dispatchMouseEvent", type="mouseMoved", **there)
        await self.send("Input.dispatchMouseEvent", type="mouseReleased", **there)

    async def write(self, text: str) -> None:
        """Types into what has the focus."""
        await self.send("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        code = KEYS[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    async def screenshot(self, path: Path, whole: bool = False) -> Path:
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def seen(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event["method"] == method]

    def requests(self) -> list[str]:
        """What the page asked for, but itself."""
        urls = [event["request"]["url"] for event in self.seen("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("file:")]

    def complaints(self) -> list[Any]:
        """Errors and warnings of the console, exceptions, and breaches of the page's policy."""
        console = [event for event in self.seen("Runtime.consoleAPICalled") if event["type"] in ("error", "warning")]
        log = [event["entry"] for event in self.seen("Log.entryAdded") if event["entry"]["level"] != "info"]
        return [*console, *log, *self.seen("Runtime.exceptionThrown")]


async def _drive(program: str, folder: Path, script: Callable[[Browser], Awaitable[None]]) -> None:
    words = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        address = next(found[1] for line in lines if (found := re.search(r"listening on (ws://\S+)", line)))
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(aiohttp.ClientSession())
            socket = await stack.enter_async_context(client.ws_connect(address, max_msg_size=0))
            browser = Browser(socket)
            listener = asyncio.create_task(browser.listen())
            await script(browser)
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
    finally:
        process.terminate()
        process.wait(20)
        if process.stderr:
            process.stderr.close()


def drive(folder: Path, script: Callable[[Browser], Awaitable[None]]) -> None:
    """Runs a script with a fresh browser, whose profile lies in a folder."""
    program = find_chromium()
    assert program is not None
    asyncio.run(_drive(program, folder, script))
