"""``muniment monitor`` against a byzantine log and witnesses, over real HTTP."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from byzantine import ByzantineLog, View, bad_signature, cosigned, equivocating, monitoring
from muniment.cli import cli
from muniment.monitor import watch
from muniment.monitor.report import CAVEAT
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import signer_for
from muniment.tlog.keys.keyfile import generate
from muniment.tlog.witnesswire import origin_hash
from processes import muniment_witness, started
from stand import GARBAGE, OVERSIZED, SLOW, Answer, Asked, Stand, post
from waiting import SECONDS
from witness_tools import set_up

W1, W2 = (
    signer_for(f"witness.example/{name}", generate("ed25519"), use="witness")
    for name in ("w1", "w2")
)


class Net:
    """A log with two histories and two witnesses, each of which holds one of them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.log = ByzantineLog(cosigners=[W1, W2])
        self.log.main.append(300)
        self.other = self.log.split("other", at=100)
        self.views: list[View] = [self.log.main, self.log.main]
        self.sizes: list[int | None] = [None, None]
        self.answers: list[Answer | None] = [None, None]
        self.tiles = [False, False]
        self.stand = stack.enter_context(self.log.serve("127.0.0.1", "127.0.0.2"))
        self.witnesses = [
            stack.enter_context(Stand(self._witness(number)).serve()) for number in (0, 1)
        ]
        self.hooks = stack.enter_context(Stand(lambda _asked: Answer(204)).serve())
        self.policy = folder / "trust.policy"
        self.policy.write_text(
            f"log {self.log.vkeys[0]}\n"
            f"witness w1 {W1.vkey} {self.witnesses[0].url()}\n"
            f"witness w2 {W2.vkey} {self.witnesses[1].url()}\n"
            "group g any w1 w2\nquorum g\n"
        )
        self.evidence = folder / "evidence"
        self.evidence.mkdir()

    def _witness(self, number: int) -> Callable[[Asked], Answer]:
        signer = (W1, W2)[number]

        def head() -> bytes | Answer:
            made = self.answers[number]
            if made is not None:
                return made
            size = self.sizes[number]
            return cosigned(self.views[number], signer, size, now=int(time.time()))

        serve = monitoring({self.log.origin: head})
        prefix = f"/{origin_hash(self.log.origin)}/tile/"

        def answer(asked: Asked) -> Answer:
            if self.tiles[number] and asked.path.startswith(prefix):
                return self.views[number].answer(asked.path.removeprefix(prefix[: -len("/tile/")]))
            return serve(asked)

        return answer

    @property
    def arguments(self) -> list[str]:
        return [
            "monitor",
            "--policy",
            str(self.policy),
            "--evidence-dir",
            str(self.evidence),
            "--webhook",
            self.hooks.url(path="/hook"),
            self.stand.url(),
            *[witness.url() for witness in self.witnesses],
        ]

    def once(self, *more: str, code: int | set[int]) -> Result:
        result = CliRunner().invoke(cli, [*self.arguments, "--once", *more])
        assert result.exit_code in ({code} if isinstance(code, int) else code), (
            result.output + repr(result.exception)
        )
        return result

    def report(self, code: int, *more: str) -> dict[str, object]:
        return dict(json.loads(self.once("--json", *more, code=code).stdout))

    def kinds(self, code: int, *more: str) -> set[str]:
        alarms = self.report(code, *more)["alarms"]
        assert isinstance(alarms, list)
        return {alarm["kind"] for alarm in alarms}

    def told(self) -> list[dict[str, object]]:
        return [json.loads(asked.body) for asked in self.hooks.asked]


@pytest.fixture(autouse=True)
def own_logging_and_little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sends the process's log to its stderr, which ends with the command."""
    root = logging.getLogger()
    monkeypatch.setattr(watch, "CATCH_UP_PAUSES", (0.01,))
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    monkeypatch.setattr("muniment.http.logclient._FIRST_PAUSE", 0.001)
    with ExitStack() as stack:
        yield Net(stack, tmp_path)


def files(net: Net) -> list[Path]:
    return sorted(net.evidence.iterdir())


def test_all_of_one_history(net: Net) -> None:
    net.sizes = [300, 170]
    net.log.main.shown = 290
    told = net.once(code=0).stdout
    assert CAVEAT in told
    assert net.told() == []
    assert files(net) == []
    report = net.report(0)
    assert report["agreeing"] == [*sorted(w.url() for w in net.witnesses)]
    assert report["alarms"] == []


@pytest.mark.parametrize(
    ("size", "shown", "kind"),
    [(300, 300, "proven-same-size"), (200, 300, "proven-fork"), (300, 200, "proven-fork")],
)
def test_a_split_view_ends_in_a_file_that_convinces(
    net: Net, size: int, shown: int, kind: str
) -> None:
    net.views[1], net.sizes, net.tiles = net.other, [50, size], [False, True]
    net.log.main.shown = shown
    told = net.once(code=5)
    assert kind in told.stdout
    assert "alarm" in told.stderr
    (path,) = files(net)
    assert path.stem in told.stdout
    done = CliRunner().invoke(cli, ["evidence", "verify", str(path), "--policy", str(net.policy)])
    assert done.exit_code == 5, done.output
    (message,) = net.told()
    assert (message["event"], message["kind"], message["weight"]) == ("alarm", kind, "proven")
    assert message["evidence"] == path.stem


def test_the_tiles_of_the_witness_that_showed_the_head_are_the_second_source(net: Net) -> None:
    """The log serves no tiles of the history that only the witness was shown."""
    net.views[1], net.sizes = net.other, [50, 300]
    net.log.main.shown = 200
    assert net.kinds(4) == {"not-compared"}
    assert files(net) == []
    net.tiles[1] = True
    assert "proven-fork" in net.kinds(5)


@pytest.mark.parametrize("shown", [200, 300], ids=["it publishes later", "its copy is behind"])
def test_a_log_whose_tiles_come_a_moment_later_is_waited_for(
    net: Net, monkeypatch: pytest.MonkeyPatch, shown: int
) -> None:
    """An honest log collects cosignatures first, and shows no tiles of what is not published; or
    the head comes from one copy of it, and the tiles from one that is a moment behind.
    """
    monkeypatch.setattr(watch, "CATCH_UP_PAUSES", (0.01, 0.02, 0.03))
    view = net.log.main
    asked: list[int] = []

    def publish(signed: SignedCheckpoint) -> SignedCheckpoint:
        asked.append(signed.checkpoint.size)
        is_behind = len(asked) < 3
        view.withheld = lambda path: path.startswith("tile/") and is_behind
        return view.checkpoint(shown if is_behind else 300)

    view.alter = publish
    net.sizes = [300, 150]
    assert net.kinds(0) == set()
    assert len(asked) == 3
    asked.clear()
    view.alter = lambda signed: publish(signed) if len(asked) < 2 else view.checkpoint(200)
    assert net.kinds(4) == {"not-compared"}


def test_withheld_tiles(net: Net) -> None:
    net.sizes = [200, 300]
    net.log.main.withheld = lambda path: path.startswith("tile/")
    assert net.kinds(4) == {"not-compared"}


def test_equivocation_by_request(net: Net) -> None:
    """A log that alternates is caught by what witnesses hold, or by the next round."""
    net.log.main.alter = equivocating(net.log.main, net.other)
    results = [net.kinds(code) for code in (0, 5)]
    assert results == [set(), {"proven-same-size"}]


def test_a_bad_signature_is_no_proof(net: Net) -> None:
    net.log.main.alter = bad_signature
    assert "bad-checkpoint" in net.kinds(4)
    assert files(net) == []


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_from_a_witness_is_an_alarm(net: Net, number: int) -> None:
    net.answers[1] = GARBAGE[number]
    code = net.once(code={3, 4}).exit_code
    assert net.report(code)["agreeing"] == [net.witnesses[0].url()]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_from_the_log_is_an_alarm(net: Net, number: int) -> None:
    net.log.main.answers["/*"] = GARBAGE[number]
    net.sizes = [200, 300]
    net.once(code={3, 4})


def test_oversized_and_slow_answers_end(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "READ_SECONDS", 1.0)
    net.answers = [OVERSIZED, SLOW]
    report = net.report(4)
    assert report["agreeing"] == []
    assert [alarm["kind"] for alarm in report["alarms"]] == ["bad-answer", "unreachable"]  # type: ignore[attr-defined]


def test_a_redirect_is_not_followed(net: Net) -> None:
    net.answers[0] = Answer(302, headers={"Location": net.witnesses[1].url()})
    before = len(net.witnesses[1].asked)
    assert "bad-answer" in net.kinds(4)
    assert len(net.witnesses[1].asked) == before + 1


def test_who_cannot_be_reached(net: Net) -> None:
    net.answers[0] = Answer(hang_up=True)
    report = net.report(3)
    assert report["not_compared"] == [net.witnesses[0].url()]
    told = net.once(code=3).stdout
    assert f"Not so, or not compared: {net.witnesses[0].url()}" in told


def test_freeze_and_lag(net: Net) -> None:
    net.log.main.clock = lambda: int(time.time()) - 500
    net.log.main.freeze().append(20)
    assert net.kinds(0) == set()
    assert net.kinds(4, "--max-age", "400") == {"too-old"}
    assert net.kinds(0, "--max-age", "600") == set()
    net.sizes = [300, 10]
    assert net.kinds(4, "--max-lag", "400") == {"behind"}
    assert net.kinds(0, "--max-lag", "600") == set()


def test_what_the_log_showed_to_an_earlier_run(net: Net, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for size in (120, 200, 150):
        net.log.main.shown = size
        net.sizes = [100, 100]
        assert "earlier" in net.report(0, "--state", str(state))["agreeing"] or size == 120  # type: ignore[operator]
        shown = parse_signed_checkpoint(state.read_bytes()).checkpoint
        assert shown.size == max(size, 200 if size == 150 else 0)
    # The witnesses were shown nothing of the forked part: only the memory convicts.
    net.log.show("other", at="127.0.0.1")
    assert "proven-fork" in net.kinds(5, "--state", str(state))
    assert parse_signed_checkpoint(state.read_bytes()).checkpoint == shown
    for junk in (b"junk", View(net.log.origin).checkpoint().encode()):
        state.write_bytes(junk)
        assert str(state) in net.once("--state", str(state), code=7).stderr


def test_a_monitor_that_cannot_keep_its_state_fails(net: Net, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "unmounted" / "state")
    absent = tmp_path / "unmounted" / "state"
    for state, why in (
        (absent, "there is no folder"),
        (tmp_path / "empty", "empty (0 bytes)"),
        (tmp_path / "link", "a link to a file that is not there"),
    ):
        done = net.once("--state", str(state), code=7)
        assert str(state) in done.stderr
        assert why in done.stderr
        assert done.stdout == ""  # before anybody was asked
    # Only writing shows it: the round is told, and it fails.
    unwritable = Path("/proc/muniment-monitor-state")
    done = net.once("--state", str(unwritable), "--json", code=7)
    assert str(unwritable) in done.stderr
    [alarm] = json.loads(done.stdout)["alarms"]
    assert alarm["kind"] == "state-not-kept"
    net.log.show("other", at="127.0.0.1")  # what is proven weighs more
    net.sizes = [120, 120]
    assert "state-not-kept" in net.kinds(5, "--state", str(unwritable))


def test_a_monitor_says_when_it_has_no_memory_yet(net: Net, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for is_first in (True, False):
        done = net.once("--state", str(state), code=0)
        assert ("no state yet" in done.stderr and str(state) in done.stderr) == is_first


def test_which_log_is_meant(net: Net, tmp_path: Path) -> None:
    extra = tmp_path / "two.policy"
    stranger = View("other.example")
    extra.write_text(net.policy.read_text() + f"log {stranger.vkeys[0]}\n")
    url = net.stand.url()
    arguments = ["monitor", "--once", "--policy", str(extra), url, net.witnesses[0].url()]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 7
    assert "--origin" in done.stderr
    assert CliRunner().invoke(cli, [*arguments, "--origin", net.log.origin]).exit_code == 0
    assert CliRunner().invoke(cli, [*arguments, "--origin", "third.example"]).exit_code == 7
    text = extra.read_text().replace(net.log.vkeys[0], f"{net.log.vkeys[0]} {url}/")
    extra.write_text(text)
    assert CliRunner().invoke(cli, arguments).exit_code == 0


def test_real_witnesses(net: Net, tmp_path: Path) -> None:
    """Two processes of ours, each handed another history: both cosign, the monitor convicts."""
    folders = [tmp_path / "r1", tmp_path / "r2"]
    vkeys = [
        set_up(folder, net.log.vkeys, name=f"witness.example/{folder.name}")[1]
        for folder in folders
    ]
    policy = tmp_path / "real.policy"
    names = "".join(f"witness r{n} {v}\n" for n, (v,) in enumerate(vkeys, 1))
    policy.write_text(f"log {net.log.vkeys[0]}\n{names}quorum none\n")
    arguments = ["monitor", "--once", "--json", "--policy", str(policy), net.stand.url()]
    serve = [muniment_witness("serve", "--config", folder / "witness.toml") for folder in folders]
    with started(serve) as witnesses:
        urls = [witness.url for witness in witnesses]
        never = CliRunner().invoke(cli, [*arguments, *urls])
        assert (never.exit_code, json.loads(never.stdout)["agreeing"]) == (0, [])
        for url, view in zip(urls, (net.log.main, net.log.main), strict=True):
            assert post(f"{url}/add-checkpoint", view.add_checkpoint(0, 90).encode())[0] == 200
        agree = CliRunner().invoke(cli, [*arguments, *urls])
        assert (agree.exit_code, json.loads(agree.stdout)["agreeing"]) == (0, sorted(urls))
        for url, view in zip(urls, (net.log.main, net.other), strict=True):
            assert post(f"{url}/add-checkpoint", view.add_checkpoint(90, 250).encode())[0] == 200
        split = CliRunner().invoke(cli, [*arguments, *urls])
        assert split.exit_code == 5
        assert json.loads(split.stdout)["alarms"][0]["kind"] == "proven-same-size"


def test_usage() -> None:
    for arguments in (
        ["--policy", "p", "http://log"],
        ["http://log", "http://w"],
        ["--policy", "p", "--webhook", "ftp://u:secret@h", "http://log", "http://w"],
    ):
        done = CliRunner().invoke(cli, ["monitor", *arguments])
        assert done.exit_code in {2, 7}
        assert "secret" not in done.output


def test_it_goes_on_for_ever_and_stops_when_told(net: Net) -> None:
    """As a process: an alarm once when it begins, once when it is over; SIGTERM ends it with 0."""
    arguments = [sys.executable, "-m", "muniment", *net.arguments, "--json", "--log-format", "json"]
    process = subprocess.Popen(
        [*arguments, "--interval", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert json.loads(process.stdout.readline())["alarms"] == []
        net.answers[0] = Answer(hang_up=True)
        while not json.loads(process.stdout.readline())["alarms"]:
            pass
        process.stdout.readline()
        net.answers[0] = None
        while json.loads(process.stdout.readline())["alarms"]:
            pass
        net.views[1] = net.other
        for _ in range(5):
            last = json.loads(process.stdout.readline())
        assert [alarm["kind"] for alarm in last["alarms"]] == ["proven-same-size"]
        process.terminate()
        _, stderr = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, stderr
    finally:
        process.kill()
        process.wait(30)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    logged = [json.loads(line) for line in stderr.splitlines()]
    assert [line["message"] for line in logged] == ["alarm", "alarm is over", "alarm"]
    assert [line["kind"] for line in logged] == ["unreachable", "unreachable", "proven-same-size"]
    assert [message["event"] for message in net.told()] == ["alarm", "over", "alarm"]
    assert len(files(net)) == 1
