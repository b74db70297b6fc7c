"""A real Chromium, headless, by the DevTools protocol over a pipe; tests skip without one."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 120.0  # only a failure waits so long
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """One tab: what a person would do in it, and what it says.

    Attributes:
        events: What came from the browser and was not waited for yet.
        problems: Messages on the console, exceptions, and every request but that for the page.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", to_browser: int, browser: int) -> None:
        self._process = process
        self._to, self._from = to_browser, browser
        self._last = 0
        self._buffer = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        self.problems: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command, and returns its result; AssertionError if the browser refuses it."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, url: str) -> None:
        """Goes to a page and waits until it is loaded."""
        self.events.clear()
        self.problems.clear()
        found = self.send("Page.navigate", url=url)
        assert "errorText" not in found, found
        self.wait_for("Page.loadEventFired")

    def wait_for(self, method: str) -> dict[str, Any]:
        """Waits for an event, also one that has come already."""
        while True:
            for at, event in enumerate(self.events):
                if event["method"] == method:
                    return self.events.pop(at)["params"]
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited, as JSON has it."""
        found = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def call(self, function: str, *values: Any) -> Any:
        """Calls a function of the page with JSON values."""
        return self.evaluate(f"({function})(...{json.dumps(values)})")

    def wait_until(self, condition: str) -> None:
        """Waits until an expression is true in the page, looked at after each change of it."""
        self.evaluate(
            f"""new Promise((resolve) => {{
              const look = () => {{ if ({condition}) resolve(true); }};
              const options = {{ subtree: true, childList: true, characterData: true }};
              new MutationObserver(look).observe(document, options);
              look();
            }})"""
        )

    def drop(self, *paths: Path) -> None:
        """Drops files on the page."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=50, y=50, data=data)

    def choose(self, selector: str, *paths: Path) -> None:
        """Chooses files for a file input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def press(self, key: str, text: str = "") -> None:
        """Presses and releases a key."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def resize(self, width: int, height: int) -> None:
        """Makes the window so many CSS pixels large."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def screenshot(self, path: Path) -> None:
        """Writes what is seen to a PNG file."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self._from, 1 << 20) if ready else b""
            assert data, f"the browser does not answer (it ended: {self._process.poll()})"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._note(message)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event["method"], event.get("params", {})
        self.events.append(event)
        if method == "Runtime.consoleAPICalled":
            words = " ".join(str(one.get("value")) for one in params["args"])
            self.problems.append(f"{params['type']}: {words}")
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded":
            self.problems.append(f"{params['entry']['source']}: {params['entry']['text']}")
        elif method == "Network.requestWillBeSent" and params["type"] != "Document":
            self.problems.append(f"request: {params['request']['url'][:200]}")


def chromium() -> str:
    """The path of Chromium; skips the test when there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        import pytest  # scripts/bench drives a browser without it

        pytest.skip("Chromium is not installed")
    return found


@contextlib.contextmanager
def page() -> Iterator[Page]:
    """A tab of a browser of its own, with an empty profile."""
    program = chromium()
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
        )
        # Chromium reads its commands from descriptor 3 and answers on 4.
        script = f'exec "$@" 3<&{commands} 4>&{answers}'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *options],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        try:
            yield Page(process, to_browser, from_browser)
        finally:
            os.close(to_browser)  # which ends it
            os.close(from_browser)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
