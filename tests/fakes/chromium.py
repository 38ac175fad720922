"""A real headless Chromium, spoken to over its DevTools protocol; no other library needed.

    with browser(tmp_path) as chromium:
        page = chromium.page(width=360, height=740, scheme="dark", language="de")
        page.open(link)
        page.wait_for("document.querySelector('tr[data-uid]')")

Its profile is fresh and lies in the given folder; it talks to loopback only because pages do.
"""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fakes.processes import wait_until
from simple_websocket import Client, ConnectionClosed

TIMEOUT_S = 20.0


def program() -> str:
    """Path of Chromium; skips the test where it is not installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("the package chromium is missing")
        pytest.skip("the package chromium is not installed")
    return found


class Chromium:
    """A running browser."""

    def __init__(self, address: str) -> None:
        self._socket = Client.connect(address, receive_bytes=1 << 20)
        self._ids = itertools.count(1)
        self.console: list[str] = []

    def call(self, method: str, session: str = "", **parameters: Any) -> Any:
        """One command and its result."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        deadline = time.monotonic() + TIMEOUT_S
        while (left := deadline - time.monotonic()) > 0:
            text = self._socket.receive(timeout=left)
            if text is None:
                break
            said = json.loads(text)
            if said.get("id") == number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]
            self._note(said)
        raise AssertionError(f"no answer to {method} within {TIMEOUT_S} s")

    def _note(self, said: dict[str, Any]) -> None:
        if said.get("method") == "Runtime.exceptionThrown":
            self.console.append(str(said["params"]["exceptionDetails"]))
        elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
            self.console.append(f"{said['params']['entry']['text']} {said['params']['entry'].get('url', '')}")

    def page(
        self, *, width: int = 1280, height: int = 800, scheme: str = "light", language: str = "en-GB"
    ) -> "Page":
        """A new, empty page."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.call("Emulation.setTimezoneOverride", timezoneId="UTC")
        page.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})
        return page

    def close(self) -> None:
        with suppress(ConnectionClosed, OSError):
            self._socket.close()
        self._socket.thread.join(5)


class Page:
    """One tab."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium, self._session = chromium, session

    def call(self, method: str, **parameters: Any) -> Any:
        return self._chromium.call(method, self._session, **parameters)

    def open(self, address: str) -> None:
        """Go there; returns when the document is ready."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = TIMEOUT_S) -> None:
        """Return as soon as the expression is true."""
        wait_until(lambda: bool(self.run(f"Boolean({expression})")), expression, timeout_s)

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def key(self, key: str, code: str, number: int, text: str = "") -> None:
        """Press and let go of a key."""
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def screenshot(self, path: Path) -> None:
        """A picture of the whole page."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(picture))


@contextmanager
def browser(folder: Path) -> Iterator[Chromium]:
    """A browser; everything of it is gone at the end."""
    profile = folder / "profile"
    port_file = profile / "DevToolsActivePort"
    command = [
        program(),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_until(lambda: port_file.exists() and "\n" in port_file.read_text(), "Chromium listens", 30)
        port, path = port_file.read_text().split("\n")[:2]
        chromium = Chromium(f"ws://127.0.0.1:{port}{path}")
        try:
            yield chromium
        finally:
            with suppress(AssertionError, ConnectionClosed, OSError):
                chromium.call("Browser.close")
            chromium.close()
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
