"""The page verify.html as people use it: files dropped, chosen and pasted, by keyboard, narrow."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

import browser
import decisions
import page_cases
from commands import muniment
from governed import World, artifact, policy
from log_deployment import GATEWAY, PUBLISHED, ask, deployed
from muniment import withhold
from muniment.lineage import build_bundle
from muniment.page import content_security_policy, read_page
from muniment.records.addenda import ARGUMENTS
from muniment.records.kinds import Decision
from muniment.tlog.policy import format_policy
from signing import NOW, log_signer

HOSTILE = "<img src=x onerror=alert(1)>\u202e\u0007" + "long" * 400
RECORD = "document.querySelector('#report')"


@pytest.fixture
def page() -> Iterator[browser.Page]:
    with page_cases.opened() as opened:
        yield opened


def report(page: browser.Page, words: str) -> str:
    """What the page reports, once its verdict begins with these words."""
    verdict = f"{RECORD}.querySelector('h2')?.textContent"
    page.wait_until(f"({verdict} ?? '').startsWith({json.dumps(words)})")
    return page.text("#report")


def files(folder: Path, world: World, index: int) -> tuple[Path, Path, Path]:
    """A permit, a policy and a context that wants what the decision is about."""
    paths = folder / "it.permit", folder / "trust.policy", folder / "context.json"
    paths[0].write_bytes(world.permit(index).encode())
    paths[1].write_bytes(format_policy(policy()))
    wanted = {"now": NOW, "action": "read", "resource": {"type": "document", "id": "7"}}
    paths[2].write_text(json.dumps({**wanted, "execution": "call"}))
    return paths


def test_files_are_dropped(page: browser.Page, tmp_path: Path) -> None:
    world = World()
    permit, trusted, context = files(tmp_path, world, world.decide("call", artifact=artifact()))
    page.drop(permit)
    assert "Give the policy" in report(page, "Not verified yet")
    page.drop(trusted)
    told = report(page, "Verified")
    assert "What was not checked" in told
    page.drop(context)
    told = report(page, "DENIED: runtime_identity_mismatch")
    assert "----  revoked_authorization" in told
    spoiled = tmp_path / "spoiled.tlog-proof"
    spoiled.write_bytes(permit.read_bytes()[:-3] + b"A=\n")
    page.drop(spoiled)
    report(page, "DENIED: invalid_signature")


def test_everything_can_be_done_by_keyboard(page: browser.Page, tmp_path: Path) -> None:
    world = World()
    permit, trusted, _ = files(tmp_path, world, world.decide("call"))
    for number, path in enumerate((permit, trusted)):
        page.press("Tab")
        page.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "TEXTAREA", number
        # Pasted without the newline at its end, as it often is.
        page.tab.keyboard.insert_text(path.read_text().rstrip("\n"))
    for name in ("SUMMARY", "BUTTON"):
        page.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == name
    page.press("Enter")
    report(page, "Verified")
    assert page.evaluate("document.activeElement.id") == "report"


def test_hostile_records_show_as_text(page: browser.Page, tmp_path: Path) -> None:
    world = World()
    with world.speaking_as("gw.example/<b>x</b>\u202e"):
        index = world.decide("call", subject=HOSTILE)
    permit, trusted, _ = files(tmp_path, world, index)
    page.resize(390, 844)
    page.choose("#file", permit)
    page.choose("#policy", trusted)
    told = report(page, "Verified")
    assert "<img src=x onerror=alert(1)>" in told
    assert "\u202e" not in told
    assert page.evaluate(f"{RECORD}.querySelectorAll('img, b, script').length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_is_disclosed_is_shown_and_what_is_in_no_log_is_not(
    page: browser.Page, tmp_path: Path
) -> None:
    world = World()
    index = world.decide("call")
    decision = world.records[index]
    assert isinstance(decision, Decision)
    decision.request["context"] = {"arguments": {"to": "ada"}}
    world.records[index], addenda = withhold(decision, (ARGUMENTS,))
    permit, trusted, context = files(tmp_path, world, index)
    addendum = tmp_path / "it.json"
    [data] = addenda.values()
    addendum.write_bytes(data)
    page.drop(permit, trusted, addendum)
    told = report(page, "Verified")
    assert f"disclosed  {ARGUMENTS}" in told
    assert '"to": "ada"' in told
    stranger = World()
    permit.write_bytes(stranger.permit(stranger.decide("other", subject="nobody")).encode())
    page.tab.click("[type=reset]")
    trusted.write_text(f"log {log_signer('other.example').vkey}\nquorum none\n")
    page.drop(permit, trusted, context)
    assert "nobody" not in report(page, "DENIED: ")


def test_ten_thousand_edges_break_nothing(page: browser.Page, tmp_path: Path) -> None:
    world = World()
    world.decide("call")
    for number in range(10_000):
        world.edge("triggered_by", "run:call", f"run:{number}")
    entries = dict(enumerate(world.entries()))
    bundle = tmp_path / "it.lineage"
    bundle.write_bytes(build_bundle("call", world.checkpoint(), entries, {}).encode())
    trusted = tmp_path / "trust.policy"
    trusted.write_bytes(format_policy(policy()))
    page.drop(bundle, trusted)
    told = report(page, "run call: 10000 break(s)")
    assert "10001 records proven" in told
    assert "and 9800 more" in told


def test_the_page_can_ask_nobody() -> None:
    """Its own policy refuses every request, also one that a fault in it would make."""
    with browser.page() as opened:
        opened.open(page_cases.PAGE.as_uri())
        asked = "fetch('https://example.org/').then(() => 'sent', (error) => error.name)"
        assert opened.evaluate(asked) == "TypeError"
        assert any("Content Security Policy" in one for one in opened.problems)
    assert content_security_policy().startswith("default-src 'none'; script-src 'sha256-")


def test_the_log_serves_the_page(tmp_path: Path) -> None:
    """With its own policy as a header; there it verifies what that log has proven."""
    proof, entry, trusted = (tmp_path / name for name in ("it.tlog-proof", "it.json", "it.policy"))
    with deployed(tmp_path / "log") as deployment:
        answer = ask(f"{deployment.url}/verify.html")
        assert answer.body == read_page()
        assert answer.headers["Content-Security-Policy"] == content_security_policy()
        batch = deployment.stream().take(decisions.decisions(3, producer=GATEWAY))
        assert deployment.post(batch, PUBLISHED).status == 200
        written = ("--out", str(proof), "--entry-out", str(entry))
        muniment("prove", "--log", deployment.url, "--index", "1", *written)
        trusted.write_bytes(format_policy(deployment.policy))
        with browser.page() as opened:
            opened.open(f"{deployment.url}/verify.html")
            opened.drop(proof, trusted, entry)
            assert "are entry 1 of the log" in report(opened, "Verified")
            assert opened.problems == []


def test_the_command_says_where_the_page_is() -> None:
    told = muniment("verify", "--page")
    assert Path(told.stdout.strip()).read_bytes() == read_page()
    assert sha256(read_page()).hexdigest() in told.stderr
