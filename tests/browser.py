"""A real Chromium, headless, driven by Playwright; tests skip without either."""

import contextlib
import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 120.0  # only a failure waits so long
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS: Final = (
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
)
_ROOT: Final = Path(__file__).parents[1]
_PACKAGES: Final = (
    _ROOT
    / ".venv/browser/lib"
    / f"python{sys.version_info.major}.{sys.version_info.minor}"
    / "site-packages"
)
"""Of the environment that `scripts/browser` makes with the same Python: Playwright has no wheel for
some of the systems that the tests run on, so that it is in no lock of theirs."""


class Page:
    """One tab: what a person would do in it, and what it says.

    Attributes:
        tab: Playwright's page, for whatever is not below.
        problems: Messages on the console, exceptions, and every request but that for the page.
    """

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.problems: list[str] = []
        tab.set_default_timeout(SECONDS * 1000)
        tab.on("console", lambda said: self.problems.append(f"{said.type}: {said.text}"))
        tab.on("pageerror", lambda error: self.problems.append(str(error)))
        tab.on("request", self._note)

    def _note(self, request: Any) -> None:
        if request.resource_type != "document":
            self.problems.append(f"request: {request.url[:200]}")

    def open(self, url: str) -> None:
        """Goes to a page and waits until it is loaded."""
        self.problems.clear()
        self.tab.goto(url)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited, as JSON has it."""
        return self.tab.evaluate(expression)

    def call(self, function: str, *values: Any) -> Any:
        """Calls a function of the page with JSON values."""
        # In its text: Playwright would look at each value, and files are megabytes of them.
        return self.evaluate(f"({function})(...{json.dumps(values)})")

    def text(self, selector: str = "body") -> str:
        """The text that a person sees in the first element there is of these."""
        return self.tab.locator(selector).first.inner_text()

    def wait_until(self, condition: str) -> None:
        """Waits until an expression is true in the page."""
        self.tab.wait_for_function(f"() => Boolean({condition})")

    def click(self, words: str, *, role: str = "link") -> None:
        """Clicks on the first link (or what has the role) that says just these words."""
        self.tab.get_by_role(role, name=words, exact=True).first.click()

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """Waits until the page that the block leads to is loaded."""
        with self.tab.expect_event("load"):
            yield

    def drop(self, *paths: Path) -> None:
        """Drops files on the page, which Playwright itself cannot."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        tools = self.tab.context.new_cdp_session(self.tab)
        for kind in ("dragEnter", "dragOver", "drop"):
            tools.send("Input.dispatchDragEvent", {"type": kind, "x": 50, "y": 50, "data": data})
        tools.detach()

    def choose(self, selector: str, *paths: Path) -> None:
        """Chooses files for a file input."""
        self.tab.set_input_files(selector, paths)

    def press(self, key: str) -> None:
        """Presses and releases a key."""
        self.tab.keyboard.press(key)

    def resize(self, width: int, height: int) -> None:
        """Makes the window so many CSS pixels large."""
        self.tab.set_viewport_size({"width": width, "height": height})


def chromium() -> str:
    """The path of Chromium; skips the test when there is none, or no Playwright."""
    if reason := missing():
        import pytest  # scripts/bench drives a browser without it

        pytest.skip(reason)
    return next(filter(None, map(shutil.which, _NAMES)))


def missing() -> str | None:
    """Why no browser can be driven here; None where one can."""
    if not _PACKAGES.is_dir():
        return "Playwright is not there: scripts/browser installs it"
    return None if any(map(shutil.which, _NAMES)) else "Chromium is not installed"


@contextlib.contextmanager
def page() -> Iterator[Page]:
    """A tab of a browser of its own, with an empty profile; not within a running event loop."""
    program = chromium()
    if str(_PACKAGES) not in sys.path:
        sys.path.append(str(_PACKAGES))
    playwright = importlib.import_module("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # A sandbox of Chromium's own cannot be made by root, as who tests often is.
        browser = driver.chromium.launch(
            executable_path=program, args=_OPTIONS, chromium_sandbox=False
        )
        try:
            yield Page(browser.new_page())
        finally:
            browser.close()
