"""The index log of a real log: its proofs, and what is lost, rotten, killed or rolled back."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

import decisions
import omitting
import processes
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, Answer, Deployment, ask, deployed, leaves_of
from memtree import MemTree, list_value
from muniment.complete.prooffile import VerifiedComplete, parse_complete, verify_complete
from muniment.records.api import Revocation, Target, encode_record
from muniment.records.touched import touched
from muniment.tlog.encoding import unframe
from muniment.tlog.indexleaf import IndexLeaf, parse_index_leaf
from muniment.tlog.policy import CosignedCheckpoint
from muniment.tlog.tiles import bundles_of
from muniment_log.config import load
from stand import Answer as StandAnswer
from stand import Asked, Stand
from staticserver import static
from waiting import eventually

RECORDS = decisions.decisions(400, producer=GATEWAY)
COMPLETE = "enabled = true\npace_seconds = 0.05\n"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment"), complete=COMPLETE) as made:
        yield made


def state(deployment: Deployment) -> dict[str, Any]:
    return ask(f"{deployment.url}/readyz").json["index_log"]


def log_and_cover(deployment: Deployment, records: list[bytes]) -> int:
    """Logs records, and waits until a published leaf of the index log is about them."""
    answer = deployment.post(deployment.stream().take(records), PUBLISHED)
    assert answer.status == 200, answer.body
    covers(deployment, answer.json["size"])
    return answer.json["first"]


def covers(deployment: Deployment, size: int) -> None:
    eventually(lambda: state(deployment)["covered"] >= size, lambda: deployment.log.stderr)


def head_of(deployment: Deployment) -> CosignedCheckpoint:
    own = deployment.policy.of_index_log(ORIGIN)
    return own.verify(ask(f"{deployment.url}/index/checkpoint").body)


def index_leaves(deployment: Deployment) -> list[IndexLeaf]:
    size = head_of(deployment).size
    return [parse_index_leaf(leaf) for leaf in leaves_of(f"{deployment.url}/index", size)]


def prove(deployment: Deployment, *keys: str, **more: object) -> Answer:
    query = urlencode([*(("key", key) for key in keys), *more.items()])
    return ask(f"{deployment.url}/v1/index/proof?{query}")


def proved(deployment: Deployment, *keys: str, **more: object) -> VerifiedComplete:
    answer = prove(deployment, *keys, **more)
    assert answer.status == 200, answer.body
    own = deployment.policy.of_index_log(ORIGIN)
    return verify_complete(parse_complete(answer.body), deployment.policy, own)


def listed(found: VerifiedComplete) -> dict[str, tuple[int, ...]]:
    return {key.text: listing.indices for key, listing in found.lists.items()}


def revocation(id_: str, what: str, *, of: str = "execution") -> bytes:
    common = {"v": 1, "id": id_, "time": 1_790_000_000_000, "producer": GATEWAY}
    target = Target(**{of: what})
    return encode_record(Revocation(**common, target=target, since=1_790_000_000, reason="no"))


def check_all_leaves(deployment: Deployment) -> list[IndexLeaf]:
    """Each leaf of the index log states the log's root and the map's at its size."""
    found = index_leaves(deployment)
    entries = leaves_of(deployment.url, found[-1].head.size)
    sizes = [leaf.head.size for leaf in found]
    assert sizes == sorted(set(sizes))
    lists: dict[bytes, list[int]] = {}
    done = 0
    for leaf in found:
        for index in range(done, leaf.head.size):
            for key in touched(entries[index], ORIGIN):
                lists.setdefault(key, []).append(index)
        done = leaf.head.size
        map_ = MemTree((key, list_value(indices)) for key, indices in lists.items())
        assert leaf.map_root == map_.root
        assert leaf.origin == ORIGIN
    return found


def test_what_is_logged_is_proved_complete(deployment: Deployment) -> None:
    first = log_and_cover(deployment, [*RECORDS[:20], revocation("r-1", "run-x")])
    keys = ("revocations execution run-x", "revocations execution run-y", "execution run-x")
    found = proved(deployment, *keys, records="1")
    assert listed(found) == {keys[0]: (first + 20,), keys[1]: (), keys[2]: (first + 20,)}
    assert set(found.entries) == {first + 20}
    assert found.index.size == head_of(deployment).size
    by_key = log_and_cover(deployment, [revocation("r-k", f"{GATEWAY}+01234567", of="key")])
    of_keys = proved(deployment, f"revocations key_name {quote(GATEWAY, safe='')}", records="1")
    assert set(of_keys.entries) == {by_key, by_key + 1}  # with the manifest: who revokes is told
    second = log_and_cover(deployment, [revocation("r-2", "run-x")])
    assert listed(proved(deployment, keys[0])) == {keys[0]: (first + 20, second)}
    part = proved(deployment, keys[0], limit=1)
    assert [(one.count, one.indices) for one in part.lists.values()] == [(2, (first + 20,))]
    check_all_leaves(deployment)


def test_bad_questions_are_refused(deployment: Deployment) -> None:
    log_and_cover(deployment, RECORDS[:1])
    for query in ("", "key=surprise+x", "key=execution+a&records=2", "key=execution+a&limit=0"):
        ask(f"{deployment.url}/v1/index/proof?{query}").problem(400, "bad-query")
    many = "&".join(f"key=execution+{number}" for number in range(1024)).encode()
    asked = ask(f"{deployment.url}/v1/index/proof", many)
    assert len(parse_complete(asked.body).keys) == 1024
    ask(f"{deployment.url}/v1/index/proof", many + b"&key=execution+x").problem(400, "bad-query")
    ask(f"{deployment.url}/v1/index/proof", b"\xff").problem(400, "bad-query")
    beyond = prove(deployment, "execution a", size=10**9)
    assert beyond.problem(404, "not-indexed-yet")["covered"] == state(deployment)["covered"]
    size = head_of(deployment).size
    ask(f"{deployment.url}/index/tile/entries/000.p/{size + 1}").problem(404, "not-published-yet")


def test_it_is_told_and_counted(deployment: Deployment) -> None:
    log_and_cover(deployment, RECORDS[:1])
    told = state(deployment)
    assert told["error"] is None
    assert told["lag"] == 0
    assert told["published"] == told["integrated"] == head_of(deployment).size
    assert len(told["witnesses"]) == 3
    status = processes.run(processes.muniment_log("status", "--config", deployment.config))
    assert '"index_log": {' in status.stdout
    metrics = ask(f"{deployment.url}/metrics").body.decode()
    for name in ("covered_size", "lag", "map_size", "running", "published_size"):
        assert f"\nmuniment_log_index_log_{name} " in metrics


def child_of(deployment: Deployment, module: str) -> int:
    """The process of a module that the log has started."""
    [found] = processes.children_of(deployment.log.pid, module)
    return found


def test_a_map_process_that_is_killed_is_started_again(deployment: Deployment) -> None:
    log_and_cover(deployment, RECORDS[:5])
    size = head_of(deployment).size
    os.kill(child_of(deployment, "muniment_log.index.mapper"), signal.SIGKILL)
    log_and_cover(deployment, RECORDS[5:10])
    assert head_of(deployment).size > size
    check_all_leaves(deployment)


def test_one_that_is_opened_again_keeps_to_the_policy_of_the_last_reload(tmp_path: Path) -> None:
    with deployed(tmp_path, complete=COMPLETE) as made:
        log_and_cover(made, RECORDS[:3])
        path = made.config.with_name("witnesses.policy")
        text = path.read_text()
        before, rest = text.partition("witness w2k")[0], text.partition("group w2 ")[2]
        path.write_text(before + rest.partition("\n")[2].replace("2 w0 w1 w2", "2 w0 w1"))
        processes.run(processes.muniment_log("reload", "--config", made.config), code=0)
        assert len(state(made)["witnesses"]) == 2
        os.kill(child_of(made, "muniment_log.index.mapper"), signal.SIGKILL)
        log_and_cover(made, RECORDS[3:6])
        assert len(state(made)["witnesses"]) == 2


@pytest.mark.parametrize("harm", ["lost", "rotten"])
def test_a_map_that_is_gone_is_built_again(deployment: Deployment, harm: str) -> None:
    log_and_cover(deployment, RECORDS[:5])
    before = check_all_leaves(deployment)
    deployment.log.terminate()
    path = deployment.config.with_name("map.db")
    path.with_name("map.db-wal").unlink(missing_ok=True)
    if harm == "lost":
        path.unlink()
    else:
        path.write_bytes(b"\x55" * path.stat().st_size)
    deployment.start_log()
    covers(deployment, before[-1].head.size)
    log_and_cover(deployment, RECORDS[5:10])
    assert check_all_leaves(deployment)[: len(before)] == before
    if harm == "rotten":
        assert "the map is built again" in deployment.log.stderr


def test_a_map_that_rots_tells_nothing_and_is_built_again(deployment: Deployment) -> None:
    log_and_cover(deployment, [*RECORDS[:5], revocation("r-3", "run-r")])
    deployment.log.terminate()
    path = deployment.config.with_name("map.db")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE bucket SET data = zeroblob(length(data))")
    deployment.start_log()

    def answered() -> bool:
        answer = prove(deployment, "revocations execution run-r")
        if answer.status == 503:
            answer.problem(503, "index-log-unavailable")
            return False
        return bool(listed(proved(deployment, "revocations execution run-r")))

    eventually(answered, lambda: deployment.log.stderr)
    assert "the map is damaged" in deployment.log.stderr
    check_all_leaves(deployment)


def test_a_log_without_one_says_so(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        ask(f"{made.url}/index/checkpoint").problem(404, "index-log-disabled")
        ask(f"{made.url}/index/tile/0/000").problem(404, "index-log-disabled")
        prove(made, "execution x").problem(404, "index-log-disabled")
        assert "index_log" not in ask(f"{made.url}/readyz").json


def bundles(deployment: Deployment) -> list[bytes]:
    """All leaves of the index log, as served."""
    size = head_of(deployment).size
    return [
        leaf
        for tile in bundles_of(0, size, size)
        for leaf in unframe(ask(f"{deployment.url}/index/{tile.path}").body)
    ]


def save(deployment: Deployment, folder: Path) -> None:
    """What a mirror has of the index log: its checkpoint and its leaves."""
    size = head_of(deployment).size
    for path in ["checkpoint", *(tile.path for tile in bundles_of(0, size, size))]:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(ask(f"{deployment.url}/index/{path}").body)


def test_an_index_log_that_is_lost_or_rolled_back_goes_on_by_no_means(tmp_path: Path) -> None:
    """Decisions go on; its witnesses know more than it holds; who has its leaves brings it back."""
    with deployed(tmp_path, complete=COMPLETE) as made:
        log_and_cover(made, RECORDS[:3])
        path = made.config.with_name("indexlog.db")
        config = ("--config", made.config)
        made.log.terminate()
        shutil.copy(path, tmp_path / "old.db")
        made.start_log()
        log_and_cover(made, RECORDS[3:6])
        before = bundles(made)
        mirror = tmp_path / "mirror"
        save(made, mirror)
        made.log.terminate()
        path.unlink()

        def refuses(*words: str) -> None:
            """The index log proves nothing, says why, and the log goes on."""
            made.start_log()
            eventually(
                lambda: all(word in str(state(made)["error"]) for word in words),
                lambda: f"{state(made)} {made.log.stderr}",
            )
            prove(made, "execution x").problem(503, "index-log-unavailable")
            ask(f"{made.url}/index/checkpoint").problem(503, "index-log-unavailable")
            assert made.post(made.stream().take(RECORDS[:1]), PUBLISHED).status == 200
            assert made.log.terminate() == 0

        refuses("indexlog.db", "restore it", "new-index-log")
        processes.run(processes.muniment_log("new-index-log", *config), code=0)
        refuses("rolled back", "0 leaves", "has a checkpoint of")
        shutil.copy(tmp_path / "old.db", path)
        refuses("rolled back", "has a checkpoint of")
        path.unlink()
        # Somebody has the newest leaves: which heads they are about stands nowhere else.
        restore = ("restore-index-log", *config, "--from")
        with static(mirror) as url:
            done = processes.run(processes.muniment_log(*restore, f"{url}/nothing"))
            assert (done.returncode, path.exists()) == (3, False), done.stderr
            processes.run(processes.muniment_log(*restore, url), code=0)
            again = processes.run(processes.muniment_log(*restore, url))
            assert (again.returncode, "exists already" in again.stderr) == (4, True)
        made.start_log()
        log_and_cover(made, RECORDS[6:9])
        assert bundles(made)[: len(before)] == before
        check_all_leaves(made)


def test_one_restored_from_less_signs_nothing_before_its_witnesses_are_heard(
    tmp_path: Path,
) -> None:
    """They are down as it starts: what it lacks, nobody can tell, and it must not sign it anew."""
    with deployed(tmp_path, complete=COMPLETE) as made:
        log_and_cover(made, RECORDS[:3])
        old = tmp_path / "old"
        save(made, old)
        size = head_of(made).size
        log_and_cover(made, RECORDS[3:6])
        made.log.terminate()
        path = made.config.with_name("indexlog.db")
        path.unlink()
        restore = ("restore-index-log", "--config", made.config, "--from")
        others: list[processes.Done] = []

        def answer(asked: Asked) -> StandAnswer:
            if not others:  # somebody else does the same meanwhile
                others.append(processes.run(processes.muniment_log(*restore, stand.url())))
            return StandAnswer(body=(old / asked.path.lstrip("/")).read_bytes())

        with Stand(answer).serve() as stand:
            processes.run(processes.muniment_log(*restore, stand.url()), code=0)
        assert (others[0].returncode, "in use" in others[0].stderr) == (4, True), others
        for witness in made.witnesses:
            witness.kill()
        made.start_log()
        eventually(lambda: grown(path, size) or "have not cosigned" in str(state(made)["error"]))
        assert not grown(path, size)


def grown(path: Path, size: int) -> bool:
    """Whether an index log's database has more leaves than those."""
    with closing(sqlite3.connect(path)) as db:
        return bool(db.execute("SELECT size > ? FROM tree", (size,)).fetchone()[0])


def change_leaves(deployment: Deployment, old: bytes, new: bytes) -> None:
    """Somebody changes leaves of the index log in its database."""
    with closing(sqlite3.connect(deployment.config.with_name("indexlog.db"))) as db, db:
        for first, data in db.execute("SELECT first, data FROM tail").fetchall():
            changed = (data.replace(old, new), first)
            db.execute("UPDATE tail SET data = ? WHERE first = ?", changed)


def test_a_published_root_that_the_leaves_do_not_give_ends_it(tmp_path: Path) -> None:
    with deployed(tmp_path, complete=COMPLETE) as made:
        log_and_cover(made, RECORDS[:3])
        leaf = index_leaves(made)[-1]
        made.log.terminate()
        # The log's operator has changed a leaf of the log after the map was published.
        made.config.with_name("map.db").unlink()
        change_leaves(made, leaf.encode().split(b"\n")[-2], b"A" * 43 + b"=")
        made.start_log()
        eventually(lambda: "do not make the root" in str(state(made)["error"]))
        assert made.post(made.stream().take(RECORDS[:1]), PUBLISHED).status == 200


def test_kills_at_any_moment_leave_one_history(tmp_path: Path) -> None:
    """Of the log with all its children, while leaves are made, committed, cosigned, published."""
    with deployed(tmp_path, complete=COMPLETE) as made:
        known: list[bytes] = []
        for number in range(6):
            taken = made.stream().take(RECORDS[number * 10 : number * 10 + 10])
            assert made.post(taken, PUBLISHED).status == 200
            # From nothing computed yet to all published: each round a little later.
            wanted = number // 2
            eventually(lambda: step(made) >= wanted, lambda: made.log.stderr)  # noqa: B023
            made.log.kill()
            made.start_log()
        log_and_cover(made, RECORDS[:1])
        known = bundles(made)
        assert [leaf.encode() for leaf in check_all_leaves(made)] == known
        assert state(made)["error"] is None


def step(deployment: Deployment) -> int:
    """How far the newest head is: 1 in the map, 2 in the index log, 3 published there."""
    told = ask(f"{deployment.url}/readyz").json
    index, size = told["index_log"], told["published"]
    if index["covered"] >= size:
        return 3
    if "integrated" in index and index["integrated"] > index["published"]:
        return 2
    return int(index["map"] >= size)


def test_a_log_that_omits_a_revocation_proves_the_wrong_list(tmp_path: Path) -> None:
    """Nothing but another computation of the map shows it: that is what witnesses are for."""
    with deployed(tmp_path, complete=COMPLETE) as made:
        made.log.terminate()
        made.log = omitting.start(made, "r-1")
        first = log_and_cover(made, [revocation("r-1", "run-x"), revocation("r-2", "run-y")])
        keys = ("revocations execution run-x", "revocations execution run-y")
        assert listed(proved(made, *keys)) == {keys[0]: (), keys[1]: (first + 1,)}
        # Its own operator would learn of it: the honest program does not go on with that index.
        made.log.terminate()
        made.config.with_name("map.db").unlink()
        made.start_log()
        eventually(lambda: "index log states the map root" in str(state(made)["error"]))
        assert made.post(made.stream().take(RECORDS[:1]), PUBLISHED).status == 200


def test_copies_of_both_bring_back_both(tmp_path: Path) -> None:
    with deployed(tmp_path, complete=COMPLETE) as made:
        config = ("--config", made.config)
        log_and_cover(made, RECORDS[:3])
        made.log.terminate()
        copies = ("copy.db", "--index-log", tmp_path / "index-copy.db")
        processes.run(
            processes.muniment_log("backup", *config, tmp_path / copies[0], *copies[1:]), code=0
        )
        for name, copy in (("log.db", "copy.db"), ("indexlog.db", "index-copy.db")):
            made.config.with_name(name).unlink()
            shutil.copy(tmp_path / copy, made.config.with_name(name))
        made.start_log()
        log_and_cover(made, RECORDS[3:6])
        check_all_leaves(made)
        processes.run(processes.muniment_log("check", *config), code=0)
        made.log.terminate()
        change_leaves(made, b"map 1", b"map 2")
        checked = processes.run(processes.muniment_log("check", *config), code=8)
        assert "damaged index log: tail" in checked.stdout


def know_the_index_log(deployment: Deployment, *, known: bool) -> None:
    """Has two of the three witnesses know the index log, or not any more."""
    vkeys = load(deployment.config).index_log.vkeys
    for number in range(2):
        config = ("--config", deployment.folder / f"w{number}" / "witness.toml")
        change = (
            ["add-log", *config, *vkeys] if known else ["remove-log", *config, f"{ORIGIN}/index"]
        )
        processes.run(processes.muniment_witness(*change), code=0)
        processes.run(processes.muniment_witness("reload", *config), code=0)


def test_without_a_quorum_of_its_own_it_waits_and_the_log_does_not(tmp_path: Path) -> None:
    """And what its witnesses shall cosign can be read: those that recompute the map need it."""
    with deployed(tmp_path, complete=COMPLETE) as made:
        covered = log_and_cover(made, RECORDS[:3]) + 4
        size = head_of(made).size
        tile = f"/index/tile/entries/000.p/{size + 1}"
        know_the_index_log(made, known=False)
        assert made.post(made.stream().take(RECORDS[3:6]), PUBLISHED).status == 200
        eventually(lambda: state(made)["integrated"] == size + 1)
        for _ in range(2):
            told = state(made)
            assert (told["covered"], told["published"]) in ((covered, size), (0, size))
            assert head_of(made).size == size
            answer = ask(made.url + tile)
            assert answer.headers["Cache-Control"] == "no-store"
            newest = parse_index_leaf(unframe(answer.body)[-1])
            # Killed between the commit and the quorum: it asks for the same head again.
            made.log.kill()
            made.start_log()
            eventually(lambda: ask(made.url + tile).status == 200)
        know_the_index_log(made, known=True)
        covers(made, newest.head.size)
        assert check_all_leaves(made)[-1] == newest


def test_keys_of_the_log_are_changed_with_it(tmp_path: Path) -> None:
    with deployed(tmp_path, complete=COMPLETE) as made:
        log_and_cover(made, RECORDS[:3])
        config = ("--config", made.config)
        made.log.terminate()
        processes.run(processes.muniment_log("rotate-key", *config, "--add", "ed25519"), code=0)
        made.start_log()
        log_and_cover(made, RECORDS[3:6])
        keys = load(made.config).index_log.vkeys
        assert len(keys) == 3
        signed = ask(f"{made.url}/index/checkpoint").body.decode()
        assert signed.count(f"\n— {ORIGIN}/index ") == 3
        made.log.terminate()
        old = load(made.config).signers[0].vkey
        retire = ("rotate-key", *config, "--retire", f"{old.key_id:08x}")
        processes.run(processes.muniment_log(*retire), code=0)
        made.start_log()
        log_and_cover(made, RECORDS[6:9])
        assert state(made)["error"] is None
        processes.run(processes.muniment_log("check", *config), code=0)
