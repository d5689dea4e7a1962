"""A headless Chromium, driven through its debugging port: open a page, evaluate, wait, take a picture."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name))
    ),
    None,
)


class Page:
    """One open page."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"not in {seconds} s: {expression}; {self.text('#status')}"
            time.sleep(0.2)

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def screenshot(self, path: Path, *, width: int = 1000, height: int = 1400) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        taken = self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def opened(address: str) -> Iterator[Page]:
    """Open a page in a browser that ends with the block."""
    from websockets.sync.client import connect

    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command = [CHROMIUM, *options, f"--user-data-dir={profile}", address]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_socket_of(Path(profile), address), max_size=None, open_timeout=30) as socket:
                page = Page(socket)
                page.wait_for("document.readyState === 'complete' && location.protocol !== 'about:'")
                yield page
        finally:
            process.terminate()
            process.wait(timeout=30)


def _socket_of(profile: Path, address: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        port = profile / "DevToolsActivePort"
        if port.is_file() and (lines := port.read_text().splitlines()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json", timeout=10) as response:
                targets = json.load(response)
            for target in targets:
                if target["type"] == "page" and target["url"].startswith(address.partition("#")[0]):
                    return str(target["webSocketDebuggerUrl"])
        time.sleep(0.2)
    raise AssertionError(f"no page of {address} in the browser")
