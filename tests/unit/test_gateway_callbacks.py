"""Callbacks of access requests: told once, to the client's own endpoint, or given up."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from decisions import request
from logsim import LOG_SIGNER
from muniment.errors import MunimentError
from muniment.http.client import HttpSession
from muniment.tlog.encoding import FormatError
from muniment_gateway.cli import main
from muniment_gateway.config import Callbacks, load
from muniment_gateway.core.accessrequests import Callback, task_id
from muniment_gateway.core.approvals import Held
from muniment_gateway.deciding import callbacks
from muniment_gateway.deciding.callbacks import CallbackSender
from muniment_gateway.store.held import HeldCalls
from muniment_service.metrics import Metrics
from stand import Answer, Stand

NOW = 1_790_000_000


def held(number: int) -> Held:
    return Held(
        id=f"arq-{number:032x}", key=bytes([number]), client="shop", authority="people",
        evaluation=f"e-{number}", request=request(resource=("tool", str(number))), withheld=(),
        salt="0a" * 16, call="", made=NOW, expires=NOW + 900, asked={},
    )  # fmt: skip


class Desk:
    """A sender with a clock, its file, and calls that are what the test says."""

    def __init__(self, store: HeldCalls, http: HttpSession) -> None:
        self.now = NOW
        self.calls: dict[str, Held] = {}
        self.store = store.callbacks
        self._http = http
        self.metrics = Metrics("m")
        self.sender = self.another()

    def another(self) -> CallbackSender:
        """The sender of the next process."""

        async def get(id_: str) -> Held | None:
            return self.calls.get(id_)

        return CallbackSender(self.store, get, self._http, lambda: self.now)

    def knows(self, *endpoints: str) -> None:
        known = {"shop": Callbacks(frozenset(endpoints), "t0ken")}
        self.metrics = Metrics("m")
        self.sender.take_up(known, lambda task: f"https://gw/{task}", self.metrics)

    def counted(self, outcome: str) -> float:
        return (
            self.metrics.registry.get_sample_value("m_callbacks_total", {"outcome": outcome}) or 0
        )

    async def note(self, *calls: Held, **more: Any) -> str:
        self.calls |= {one.id: one for one in calls}
        task = task_id(calls, is_bundle=len(calls) > 1)
        callback = Callback(more.pop("endpoint"), **more)
        await self.sender.note(task, "shop", callback, list(calls))
        await self.sender.look()
        return task

    async def over(self, call: Held, **changes: Any) -> None:
        self.calls[call.id] = replace(call, **changes)
        self.sender.changed(call.id)
        await self.sender.look()

    async def left(self) -> int:
        return len(await self.store.due(self.now + 10**9, 100))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = await HeldCalls.open(tmp_path / "held.db")
    async with HttpSession(headers={}) as http:
        yield Desk(store, http)
    await store.close()


def stand(status: int = 204) -> Stand:
    return Stand(lambda _: Answer(status))


async def test_one_is_told_once_with_its_state_and_the_token(desk: Desk) -> None:
    with stand().serve() as hook:
        desk.knows(url := hook.url(path="/cb"))
        call = held(1)
        task = await desk.note(call, endpoint=url, state={"flow": 7})
        assert not hook.asked
        await desk.over(call, cancelled=NOW)
        await desk.over(call, cancelled=NOW)
        [asked] = hook.asked
    status = {"id": task, "status": "cancelled", "status_endpoint": f"https://gw/{task}"}
    assert json.loads(asked.body) == {"state": {"flow": 7}, "task": status}
    assert asked.headers["Authorization"] == "Bearer t0ken"
    assert desk.counted("told") == 1
    assert await desk.left() == 0


async def test_time_alone_is_told_and_what_is_not_wanted_is_not(desk: Desk) -> None:
    with stand().serve() as hook:
        desk.knows(url := hook.url(path="/cb"))
        await desk.note(held(1), endpoint=url)
        await desk.note(held(2), endpoint=url, events=frozenset({"approved"}))
        await desk.note(held(3), held(4), endpoint=url)
        desk.now = NOW + 900
        await desk.sender.look()
        told = [json.loads(one.body)["task"] for one in hook.asked]
    assert sorted(one["status"] for one in told) == ["expired", "expired"]
    assert sorted(len(one["id"].split(".")) for one in told) == [1, 3]
    assert await desk.left() == 0


async def test_a_bundle_is_told_when_all_of_it_is_over(desk: Desk) -> None:
    with stand().serve() as hook:
        desk.knows(url := hook.url(path="/cb"))
        one, other = held(1), held(2)
        await desk.note(one, other, endpoint=url)
        await desk.over(one, cancelled=NOW)
        assert not hook.asked
        await desk.over(other, expires=NOW)
        [asked] = hook.asked
    assert json.loads(asked.body)["task"]["status"] == "partial"


async def test_who_does_not_take_it_is_told_again_by_the_next_process(desk: Desk) -> None:
    answers = [500, 404, 204]
    with Stand(lambda _: Answer(answers.pop(0))).serve() as hook:
        desk.knows(url := hook.url(path="/cb"))
        call = held(1)
        await desk.note(call, endpoint=url)
        await desk.over(call, cancelled=NOW)
        await desk.sender.look()  # not due yet
        assert len(hook.asked) == 1
        desk.now += callbacks.FIRST_PAUSE
        await desk.sender.look()
        assert len(hook.asked) == 2
        desk.sender = desk.another()
        desk.knows(url)
        await desk.sender.look()
        assert len(hook.asked) == 3
    assert await desk.left() == 0


async def test_it_is_given_up_after_so_many_tries_or_without_a_registration(desk: Desk) -> None:
    with stand(503).serve() as hook:
        desk.knows(url := hook.url(path="/cb"))
        call = held(1)
        await desk.note(call, endpoint=url)
        await desk.over(call, cancelled=NOW)
        for _ in range(callbacks.TRIES - 1):
            desk.now += callbacks.LONGEST_PAUSE
            await desk.sender.look()
        assert len(hook.asked) == callbacks.TRIES
        assert (desk.counted("failed"), desk.counted("given_up")) == (callbacks.TRIES - 1, 1)
        desk.now, other = NOW, held(2)
        await desk.note(other, endpoint=url)
        desk.knows("https://else.example/cb")
        await desk.over(other, cancelled=NOW)
        assert len(hook.asked) == callbacks.TRIES
    assert desk.counted("given_up") == 1
    assert await desk.left() == 0


async def test_nobody_names_an_endpoint_that_is_not_the_client_s(desk: Desk) -> None:
    desk.knows("https://shop.example/cb")
    desk.sender.check("shop", Callback("https://shop.example/cb"))
    for client, endpoint in [
        ("shop", "https://shop.example/cb/"),
        ("shop", "http://169.254.169.254/"),
        ("other", "https://shop.example/cb"),
        ("", "https://shop.example/cb"),
    ]:
        with pytest.raises(FormatError, match="registered"):
            desk.sender.check(client, Callback(endpoint))


CLIENT = """
[[client]]
name = "shop"
token_file = "shop.token"
"""


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A gateway's folder, made by `init`, with the tokens of a client."""
    policy = tmp_path / "trust.policy"
    policy.write_text(f"log {LOG_SIGNER.vkey}\nquorum none\n")
    (tmp_path / "authz.cedar").write_text("permit(principal, action, resource);")
    argv = (
        "init", str(tmp_path / "gw"), "--name", "gw.example/a", "--policy", str(policy),
        "--log", "http://127.0.0.1:1", "--cedar", str(tmp_path / "authz.cedar"),
    )  # fmt: skip
    result = CliRunner().invoke(main, argv)
    assert result.exit_code == 0, result.output
    for name in ("shop.token", "shown.token"):
        file = tmp_path / "gw" / name
        file.write_text(f"{name}-0123456789abcdef0123456789abcdef")
        file.chmod(0o600)
    return tmp_path / "gw" / "gateway.toml"


def test_endpoints_are_read_with_their_token(configured: Path) -> None:
    more = 'callbacks = ["https://shop.example/cb?x=1"]\ncallback_token_file = "shown.token"\n'
    with configured.open("a") as file:
        file.write(f"{CLIENT}{more}")
    known = load(configured).callbacks["shop"]
    assert known.endpoints == {"https://shop.example/cb?x=1"}
    assert known.token.startswith("shown.token-")
    assert "shown.token-" not in repr(known)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('callbacks = ["https://shop.example/cb"]', "callback_token_file: needed"),
        ('callbacks = ["http://shop.example/cb"]\n{token}', "not sent without TLS"),
        ('callbacks = ["ftp://shop.example/cb"]\n{token}', "callbacks: "),
        ('callbacks = ["https://a@shop.example/cb"]\n{token}', "callbacks: "),
        ('callbacks = ["https://s.example/"]\ncallback_token_file = "none"', "none"),
    ],
)
def test_what_is_no_endpoint_is_named(configured: Path, more: str, words: str) -> None:
    token = 'callback_token_file = "shown.token"'
    with configured.open("a") as file:
        file.write(CLIENT + more.format(token=token) + "\n")
    with pytest.raises(MunimentError, match=words):
        load(configured)
