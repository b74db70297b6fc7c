"""The explorer as people use it, in a real Chromium: search, open, download, verify."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import browser
import governed
import logsim
from explore_tools import explored_elsewhere
from logsim import NOW, POLICY_TEXT, LogSim, decision

ROOT = Path(__file__).parents[2]
AXE = ROOT / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
HOSTILE = "<img src=x onerror=alert(1)>\u202e\u2066{{7*7}}\"'&" + "long" * 300
WIDTHS = ((1280, 900), (390, 844))


def hostile(number: int) -> bytes:
    """A decision whose every text would do something to a careless page."""
    value: dict[str, Any] = json.loads(decision(number, decision=False))
    value["request"] = {
        "subject": {"type": "<b>", "id": HOSTILE, "properties": {"</script>": HOSTILE}},
        "action": {"name": "<script>alert(1)</script>"},
        "resource": {"type": "tool\u202e", "id": "x" * 2000},
        "context": {"\u2067": ["<svg onload=alert(1)>"], "deep": [[[[[[[[HOSTILE]]]]]]]]},
    }
    value["response"] = {"decision": False, "context": {"reason": HOSTILE}}
    value["denial"] = {"codes": ["denied_by_policy"]}
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def make_log() -> LogSim:
    """A log with a bit of everything: its first leaves are a governed run, then hostile ones."""
    world = governed.World()
    world.producer = logsim.GATEWAY
    approval = governed.approved(logsim.GATEWAY)
    world.decide("call", id_="d-call", artifact=governed.artifact(approval=approval))
    world.outcome("call")
    world.revoke(decision="d-call", since=NOW - 5)
    sim = LogSim()
    sim.append([*world.entries(), *(hostile(1000 + number) for number in range(3))])
    sim.append([decision(number, decision=number % 4 > 0) for number in range(400)])
    return sim


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with explored_elsewhere(make_log(), tmp_path_factory.mktemp("explorer")) as found:
        yield found


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    with browser.page() as opened:
        yield opened


def visit(page: browser.Page, url: str, path: str = "") -> None:
    page.open(url + path)
    check_quiet(page, url)


def check_quiet(page: browser.Page, url: str) -> None:
    """Nothing on the console, no exception, and no request to anybody else."""
    assert [one for one in page.problems if not one.startswith(f"request: {url}")] == []


def test_a_person_searches_opens_downloads_and_verifies(
    page: browser.Page, url: str, tmp_path: Path
) -> None:
    visit(page, url)
    assert "Decisions over time" in page.text()
    with page.arriving():
        page.click("Find")
    page.tab.get_by_label("Subject").fill("agent:sub")
    with page.arriving():
        page.click("Find", role="button")
    assert page.evaluate("location.search").startswith("?id=&subject=agent%3Asub")
    with page.arriving():
        page.click("0")  # the leaf
    assert page.evaluate("location.pathname") == "/decision/0"
    told = page.text()
    assert "Approved by carol" in told
    assert "fails revoked_authorization" in told
    # What is downloaded verifies in the page that the explorer serves.
    with page.tab.expect_download() as download:
        page.click("Permit")
    permit = tmp_path / download.value.suggested_filename
    assert permit.name == "leaf-0.permit"
    download.value.save_as(permit)
    policy = tmp_path / "trust.policy"
    policy.write_text(POLICY_TEXT)
    visit(page, url, "verify.html")
    page.drop(permit, policy)
    verdict = "document.querySelector('#report h2')?.textContent ?? ''"
    page.wait_until(f"({verdict}).startsWith('Verified')")
    assert [one for one in page.problems if not one.startswith("request: ")] == []


def test_the_keyboard_is_enough(page: browser.Page, url: str) -> None:
    visit(page, url, "find")
    page.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.press("Enter")
    page.press("Tab")
    assert page.evaluate("document.activeElement.id") == "id"
    page.tab.keyboard.type("d-7")
    with page.arriving():
        page.press("Enter")
    assert "agent-1" in page.text("tbody")


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_records_are_text(page: browser.Page, url: str, width: tuple[int, int]) -> None:
    page.resize(*width)
    for path in ("", "find", "find?code=denied_by_policy", "decision/3", "decision/4", "lineage"):
        visit(page, url, path)
        assert (
            page.evaluate("document.querySelectorAll('main img, main script, main b').length") == 0
        )
        assert "\u202e" not in page.text()
        # Nothing is wider than the window; what has to be scrolls by itself.
        assert page.evaluate("document.documentElement.scrollWidth") <= width[0], path
    visit(page, url, "decision/4")
    assert "<img src=x onerror=alert(1)>\\u202e" in page.text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_serious_barrier(
    page: browser.Page, url: str, width: tuple[int, int], scheme: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there: scripts/axe fetches it")
    page.resize(*width)
    page.tab.emulate_media(color_scheme=scheme)
    for path in (
        "",
        "find?answer=deny",
        "decision/0",
        "decision/3",
        "decision/6",
        "decision/9999",
        "lineage",
        "lineage?run=call",
        "mesh",
        "evidence",
        "verify",
    ):
        page.open(url + path)
        page.evaluate(AXE.read_text() + ";0")
        found = page.evaluate("axe.run().then((all) => all.violations)")
        serious = [
            (one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"])
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]
        assert serious == [], path


def test_the_head_follows_the_log(page: browser.Page, tmp_path: Path) -> None:
    sim = LogSim()
    sim.append([decision(1)])
    with explored_elsewhere(sim, tmp_path) as url:
        visit(page, url)
        sim.append([decision(2)])
        page.wait_until("document.querySelector('#news').textContent.includes('2 more leaves')")
