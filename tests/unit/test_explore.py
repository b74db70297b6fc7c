"""The explorer's frame: who comes in, what each page says, what a file of it may be."""

import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

from commands import muniment
from explore_tools import explored, reach
from logsim import ORIGIN, POLICY_TEXT, LogSim, decision
from muniment.cli.exits import BAD_INPUT, FAILED, USAGE
from muniment.errors import InputError
from muniment.explore.app import PagesAddress, check_entry
from muniment.explore.escaping import shown, visible
from muniment.explore.site import TABS
from waiting import until


@pytest.fixture
def sim() -> LogSim:
    sim = LogSim()
    sim.append([decision(number, decision=number % 3 > 0) for number in range(20)])
    return sim


async def test_each_tab_says_what_it_rests_on(sim: LogSim, tmp_path: Path) -> None:
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        for tab in TABS:
            async with session.get(explorer.url + tab.path[1:]) as answer:
                text = await answer.text()
            assert answer.status == 200
            assert ORIGIN in text
            assert 'data-size="21"' in text
            assert "1 min 30 s" in text  # the checkpoint's age
            assert "2 of w1, w2, w3" in text
            assert "What was not verified" in text
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert "style=" not in text
            assert "<script>" not in text


async def test_the_size_grows_with_the_log(sim: LogSim, tmp_path: Path) -> None:
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        sim.append([decision(100)])
        await reach(explorer, 23)
        async with session.get(explorer.url + "status.json") as answer:
            assert (await answer.json())["size"] == 23


async def test_a_log_that_is_away_is_said(sim: LogSim, tmp_path: Path) -> None:
    sim.overrides["checkpoint"] = 503
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        async with session.get(explorer.url) as answer:
            text = await answer.text()
        assert answer.status == 503
        assert "Nothing is verified yet" in text


async def test_what_is_wrong_is_an_alarm(sim: LogSim, tmp_path: Path) -> None:
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        async with session.get(explorer.url) as answer:
            assert '<li class="alarm">' not in await answer.text()
        sim.overrides["checkpoint"] = 503
        await until(lambda: bool(explorer.site.following.trouble))
        async with session.get(explorer.url) as answer:
            text = await answer.text()
        assert '<li class="alarm"><bdi>The log is not followed now' in text
        assert answer.status == 200  # what was verified is shown all the same
        # The log signs another history: that stays.
        del sim.overrides["checkpoint"]
        sim.entries[3] = decision(99)
        sim.append([decision(100)])
        await until(lambda: explorer.site.following.misbehaviour is not None)
        async with session.get(explorer.url + "status.json") as answer:
            assert (await answer.json())["condemned"] is True
        async with session.get(explorer.url) as answer:
            text = await answer.text()
        assert "Proven: this log signed two histories" in text


async def test_other_names_are_not_answered(sim: LogSim, tmp_path: Path) -> None:
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        for host, status in (
            ("evil.example", 421),
            ("127.0.0.1.evil.example:80", 421),
            ("localhost:1", 200),
            ("[::1]:80", 200),
        ):
            async with session.get(explorer.url, headers={"Host": host}) as answer:
                assert answer.status == status, host


async def test_a_token_lets_in(sim: LogSim, tmp_path: Path) -> None:
    async with explored(sim, tmp_path, token="a b") as explorer, ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer c"}, {"Cookie": "muniment_explore=c"}):
            async with session.get(explorer.url, headers=headers) as answer:
                assert answer.status == 401
        async with session.get(
            explorer.url, headers={"Authorization": "Bearer a b", "Host": "evil.example"}
        ) as answer:
            assert answer.status == 200
        async with session.get(
            explorer.url + "find?token=a+b&x=1", allow_redirects=False
        ) as answer:
            assert answer.status == 303
            assert answer.headers["Location"] == "/find?x=1"
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
        pair = cookie.partition(";")[0]
        async with session.get(explorer.url, headers={"Cookie": pair}) as answer:
            assert answer.status == 200


def test_others_need_a_token() -> None:
    check_entry(PagesAddress("127.0.0.1", 0), None)
    check_entry(PagesAddress("::1", 0), None)
    check_entry(PagesAddress("0.0.0.0", 0), "secret")
    with pytest.raises(InputError, match="--token-file"):
        check_entry(PagesAddress("0.0.0.0", 0), None)


def test_the_command_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "trust.policy"
    policy.write_text(POLICY_TEXT)
    common = ("explore", "--log", "http://127.0.0.1:1", "--policy", str(policy), "--no-open")
    assert "--token-file" in muniment(*common, "--listen", "0.0.0.0:0", code=BAD_INPUT).output
    assert "HOST:PORT" in muniment(*common, "--listen", "8080", code=USAGE).output
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    assert "make it 0600" in muniment(*common, "--token-file", str(token), code=FAILED).output
    # Without the extra.
    for name in [name for name in sys.modules if name.startswith("muniment.explore")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "pip install 'muniment[explore]'" in muniment(*common, code=BAD_INPUT).output


async def test_files_of_the_package_alone_are_served(sim: LogSim, tmp_path: Path) -> None:
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        for path, status in (
            ("static/style.css", 200),
            ("static/..%2fapp.py", 404),
            ("static/app.py", 404),
            ("nowhere", 404),
            ("verify.html", 200),
            ("find.jsonl", 200),
            ("find?leaf=3", 303),
        ):
            async with session.get(explorer.url + path, allow_redirects=False) as answer:
                assert answer.status == status, path
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_what_nobody_sees_is_made_visible() -> None:
    assert visible("a\u202eb\x1b\u200bc") == "a\\u202eb\\u001b\\u200bc"
    assert shown("<b>\u2066") == "<bdi>&lt;b&gt;\\u2066</bdi>"
    assert visible("Zürich 東京 \n") == "Zürich 東京 \n"
