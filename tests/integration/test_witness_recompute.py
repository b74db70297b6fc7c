"""Real witnesses that compute an index themselves, before real requests to cosign it."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

import index_tools as tools
import processes
from indexed_log import IndexedLog
from muniment.tlog.evidence import WrongMapRoot, parse_evidence
from stand import get, post
from staticserver import static
from waiting import SECONDS, eventually
from witness_tools import set_up

ORIGIN = tools.ORIGIN


class Witness:
    """A witness process that computes the index, or one that believes it."""

    def __init__(self, folder: Path, log: IndexedLog, url: str, *, recompute: bool) -> None:
        self.config, (self.vkey, *_) = set_up(folder, (), name=f"{folder.name}.example")
        text = self.config.read_text().partition("# The logs to witness")[0]
        for leaves, path, more in (
            (log.log, url, ""),
            (log.indexed, f"{url}/index", f"recompute = {json.dumps(recompute)}\n"),
        ):
            text += f'[[log]]\nvkeys = ["{leaves.vkey}"]\nurl = "{path}"\n{more}'
        self.config.write_text(f"{text}[gossip]\nperiod_seconds = 60\nstart_seconds = 1\n")

    @contextmanager
    def running(self) -> Iterator["Witness"]:
        argv = processes.muniment_witness("serve", "--config", self.config)
        with processes.start(argv) as process:
            self.url = process.url
            yield self

    def of_peer(self) -> dict[str, Any]:
        """What it knows of its one peer."""
        request = urllib.request.Request(self.url, headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            [found] = json.loads(response.read())["peers"]
        assert isinstance(found, dict)
        return found

    def add(self, request: bytes) -> tuple[int, bytes]:
        """Asks to cosign, again and again while the map is behind, as a log does."""
        answers: list[tuple[int, bytes]] = []

        def is_answered() -> bool:
            answers.append(post(f"{self.url}/add-checkpoint", request))
            return answers[-1][0] != 503

        eventually(is_answered)
        return answers[-1]


@pytest.fixture
def log(tmp_path: Path) -> IndexedLog:
    """A log of 400 leaves, with an honest index of 250 of them."""
    made = IndexedLog(tmp_path / "log", ORIGIN)
    entries = tools.make_entries(Random(1), 400, odd=False)
    made.log.leaves = entries[:250]
    made.index()
    made.log.leaves = entries
    return made


def revocation_of(log: IndexedLog) -> int:
    return next(at for at in range(250, 400) if b'"kind":"revocation"' in log.log.leaves[at])


def test_a_log_that_omits_a_revocation_from_its_index_gets_no_cosignature(
    tmp_path: Path, log: IndexedLog
) -> None:
    log.write()
    with static(log.folder) as url:
        honest = Witness(tmp_path / "honest", log, url, recompute=True)
        with honest.running():
            assert honest.add(log.indexed.request())[0] == 200
            log.index(hide={revocation_of(log)})
            log.write()
            status, body = honest.add(log.indexed.request(1))
            assert status == 403
            assert b"misbehaviour-proven" in body
            assert b"an index that is not that of its leaves" in body
            _, listed = get(f"{honest.url}/gossip/evidence")
            [found] = json.loads(listed)["evidence"]
            _, file = get(f"{honest.url}/gossip/evidence/{found['hash']}")
            evidence = parse_evidence(file)
            assert isinstance(evidence, WrongMapRoot)
            assert evidence.index == 1
            # A peer that does not compute it goes on reading this witness.
            peer = Witness(tmp_path / "peer", log, url, recompute=False)
            text = peer.config.read_text().replace("period_seconds = 60", "period_seconds = 0.1")
            table = f'[[peer]]\nvkeys = ["{honest.vkey}"]\nurl = "{honest.url}"\n'
            peer.config.write_text(text.replace("[gossip]", f"{table}[gossip]"))
            with peer.running():
                eventually(lambda: peer.of_peer()["rounds"] > 2)
                assert not peer.of_peer()["error"]
        # A restart forgets nothing.
        with honest.running():
            assert honest.add(log.indexed.request(1))[0] == 403


def test_what_was_cosigned_unseen_is_compared_before_it_is_cosigned_again(
    tmp_path: Path, log: IndexedLog
) -> None:
    log.index(hide={revocation_of(log)})
    log.write()
    with static(log.folder) as url:
        witness = Witness(tmp_path / "w", log, url, recompute=False)
        with witness.running():
            assert witness.add(log.indexed.request())[0] == 200
        text = witness.config.read_text()
        witness.config.write_text(text.replace("recompute = false", "recompute = true"))
        with witness.running():
            status, body = witness.add(log.indexed.request(2))
            assert status == 403
            assert b"an index that is not that of its leaves" in body
        log.index()  # honest again: what it extends is not
        log.write()
        with witness.running():
            assert witness.add(log.indexed.request(2))[0] == 403


@pytest.mark.parametrize("more", [0, 1])
def test_what_was_compared_from_a_cosigned_head_on_covers_no_other_history(
    tmp_path: Path, log: IndexedLog, more: int
) -> None:
    """Nor does what is remembered of it, when the witness goes on with an older database."""
    log.index()
    log.write()
    with static(log.folder) as url:
        witness = Witness(tmp_path / "w", log, url, recompute=True)
        database = witness.config.with_name("witness.db")
        backup = database.read_bytes()
        with witness.running():
            assert witness.add(log.indexed.request())[0] == 200
        # The same number of leaves or more, of which the first that were cosigned are others.
        honest = log.indexed.leaves[:]
        log.index(hide={revocation_of(log)})
        log.indexed.leaves = [honest[0], log.indexed.leaves[-1]] + honest[-1:] * more
        log.write()
        with witness.running():
            assert witness.add(log.indexed.request(2))[0] in (403, 409, 422)
        for name in ("witness.db-wal", "witness.db-shm"):
            database.with_name(name).unlink(missing_ok=True)
        database.write_bytes(backup)
        with witness.running():
            status, body = witness.add(log.indexed.request())
            assert status == 403
            assert b"an index that is not that of its leaves" in body


def test_an_acknowledged_wrong_index_covers_no_other(tmp_path: Path, log: IndexedLog) -> None:
    log.index(hide={revocation_of(log)})
    log.write()
    with static(log.folder) as url:
        witness = Witness(tmp_path / "w", log, url, recompute=True)
        with witness.running():
            assert witness.add(log.indexed.request())[0] == 403
            [known] = json.loads(get(f"{witness.url}/gossip/evidence")[1])["evidence"]
        text = witness.config.read_text()
        acknowledged = f'recompute = true\nacknowledged = ["{known["hash"]}"]\n'
        witness.config.write_text(text.replace("recompute = true\n", acknowledged))
        log.log.leaves.append(log.log.leaves[0])
        log.index(hide={revocation_of(log)})
        log.write()
        with witness.running():
            # The same head has the wrong leaf that is known, and another one.
            assert witness.add(log.indexed.request())[0] == 403
            found = json.loads(get(f"{witness.url}/gossip/evidence")[1])["evidence"]
            assert len(found) == 2


def spoil_state(map_file: Path) -> None:
    with tools.database(map_file) as db:
        db.execute("UPDATE state SET peaks = zeroblob(length(peaks))")


def spoil_header(map_file: Path) -> None:
    map_file.write_bytes(b"x" * 16 + map_file.read_bytes()[16:])


def test_a_witness_computes_again_what_it_has_lost(tmp_path: Path, log: IndexedLog) -> None:
    log.write()
    with static(log.folder) as url:
        witness = Witness(tmp_path / "w", log, url, recompute=True)
        with witness.running():
            assert witness.add(log.indexed.request())[0] == 200
        [map_file] = [
            one
            for one in (tmp_path / "w").iterdir()
            if ".map-" in one.name and not one.name.endswith((".lock", "-wal", "-shm"))
        ]
        with tools.database(map_file) as db:
            db.execute("UPDATE bucket SET data = x'00'")
        log.index()
        log.write()
        with witness.running():
            assert witness.add(log.indexed.request(1))[0] == 200
        # Also one that cannot be opened any more, or has forgotten what it was made of.
        for number, spoil in enumerate((spoil_state, spoil_header), 2):
            spoil(map_file)
            log.index()
            log.write()
            with witness.running():
                assert witness.add(log.indexed.request(number))[0] == 200
        for file in map_file.parent.glob(f"{map_file.name}*"):
            file.unlink()
        log.index()
        log.write()
        with witness.running():
            assert witness.add(log.indexed.request(4))[0] == 200


@pytest.mark.parametrize(
    ("of_log", "of_index", "message"),
    [
        ('url = "http://h/"', "recompute = true", "needs the url of the index log"),
        ("", 'url = "http://h/index"\nrecompute = true', "needs a [[log]] for"),
        (
            'url = "http://h/"',
            'url = "http://h/index"\nrecompute = true\ncosign_pulled = true',
            "no cosign_pulled",
        ),
        ('url = "http://h/"\nrecompute = true', 'url = "http://h/index"', "is no index log"),
    ],
)
def test_a_configuration_that_cannot_recompute_is_refused(
    tmp_path: Path, log: IndexedLog, of_log: str, of_index: str, message: str
) -> None:
    config, _ = set_up(tmp_path / "w", ())
    text = config.read_text().partition("# The logs to witness")[0]
    for leaves, more in ((log.log, of_log), (log.indexed, of_index)):
        text += f'[[log]]\nvkeys = ["{leaves.vkey}"]\n{more}\n'
    config.write_text(text)
    done = processes.run(processes.muniment_witness("serve", "--config", config))
    assert done.returncode != 0
    assert message in done.stderr
