"""An old copy of a witness's database: it signs no smaller and no other tree, whoever asks it to.

Real witnesses on real files. One is backed up while it runs, cosigns more, and comes back from the
backup, or from a plain copy of the file, with and without somebody who can tell what it signed.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

import processes
from byzantine import ByzantineLog, View
from faults.services import Services
from muniment_service.exits import EXIT_DATABASE
from ports import free_port
from stand import Stand, post
from waiting import eventually
from witness_deployment import Deployment

OLD, NEW = 100, 150


class Restored:
    """w1 has cosigned NEW, w2 has seen it, and w1's database is of OLD again."""

    def __init__(self, folder: Path, quick: Services, log: ByzantineLog, stand: Stand) -> None:
        self.quick = quick
        self.log = log
        self.stand = stand
        self.made = Deployment(folder, ["w1", "w2"], log)
        self.database = self.made.config("w1").with_name("witness.db")
        self.backup = folder / "backup.db"
        self.plain = folder / "plain.db"
        log.main.append(OLD)
        for name, peer in (("w1", "w2"), ("w2", "w1")):
            self.made.configure(name, stand.url(), [peer])
        w1, self.w2 = (quick.witness(self.made.config(name)) for name in ("w1", "w2"))
        self.made.settle("w1", OLD, compared=True)
        assert self.command("backup", self.backup).returncode == 0
        shutil.copyfile(self.backup, self.plain)
        with closing(sqlite3.connect(self.plain)) as db:
            db.execute("DELETE FROM copied")
            db.commit()
        log.main.append(NEW - OLD)
        self.made.settle("w1", NEW, compared=True)
        self.made.settle("w2", NEW, compared=True)
        # What a peer has seen is on its disk a round later.
        rounds = self.made.rounds("w2")
        eventually(lambda: self.made.rounds("w2") >= rounds + 3)
        w1.kill()

    def command(self, *arguments: object) -> processes.Done:
        argv = processes.muniment_witness(*arguments, "--config", self.made.config("w1"))
        return processes.run(argv)

    def restore(self, copy: Path) -> None:
        """As the manual says."""
        for old in self.database.parent.glob("witness.db*"):
            old.unlink()
        shutil.copyfile(copy, self.database)

    @contextmanager
    def running(self, copy: Path | None, log_url: str | None) -> Iterator[None]:
        """w1 from a copy, or as it is."""
        if copy is not None:
            self.restore(copy)
        self.made.configure("w1", log_url, ["w2"])
        w1 = self.quick.witness(self.made.config("w1"))
        try:
            yield
        finally:
            w1.kill()

    def ask(self, view: View, old: int, new: int) -> tuple[int, bytes]:
        body = view.add_checkpoint(old, new).encode()
        return post(self.made.url("w1") + "/add-checkpoint", body)

    def alarms(self) -> list[str]:
        return [alarm["kind"] for alarm in self.made.status("w1")["alarms"]]

    @property
    def size(self) -> int:
        """Size of the head that w1 has cosigned, as it tells."""
        return self.made.status("w1")["logs"][0]["cosigned"]["size"]

    @property
    def marked(self) -> bool:
        with closing(sqlite3.connect(self.database)) as db:
            marks, settled = (
                db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("copied", "settled")
            )
            return bool(marks) and not settled


@pytest.fixture
def restored(tmp_path: Path, quick: Services) -> Iterator[Restored]:
    log = ByzantineLog()
    with log.serve() as stand:
        made = Restored(tmp_path, quick, log, stand)
        try:
            yield made
        finally:
            made.w2.kill()


def test_a_witness_with_an_old_database_signs_no_other_history(restored: Restored) -> None:
    main, fork = restored.log.main, restored.log.main.fork(OLD, 120)  # a fork that the copy allows
    nobody = f"http://127.0.0.1:{free_port()}"

    # Nobody can tell: a backup says that it is one, and signs neither a fork nor the truth.
    restored.w2.kill()
    with restored.running(restored.backup, nobody):
        for view, size in ((fork, 120), (main, NEW)):
            status, body = restored.ask(view, OLD, size)
            assert (status, b"restored-copy" in body) == (503, True), body
        assert "restored" in restored.alarms()
    assert restored.marked

    # Its peer tells what it has seen, whether the copy says what it is or not. Where the peer's
    # history leads there, that is proof enough to take back what was signed.
    restored.w2 = restored.quick.witness(restored.made.config("w2"))
    for copy in (restored.plain, restored.backup):
        with restored.running(copy, None):
            status, body = restored.ask(fork, OLD, 120)
            # Held, or already beyond it.
            assert status in {403, 409} or b"behind-own-cosignature" in body, body
            eventually(lambda: restored.size == NEW or "restored" in restored.alarms())
            assert restored.ask(fork, OLD, 120)[0] != 200

    # The log gives the tiles for the proof: what was signed is taken back, and signing goes on.
    with restored.running(restored.backup, restored.stand.url()):
        restored.made.settle("w1", NEW)
        eventually(lambda: restored.alarms() == [])
        eventually(lambda: not restored.marked)
    with restored.running(None, restored.stand.url()):
        main.append(3)
        restored.made.settle("w1", NEW + 3)
        assert restored.ask(fork, OLD, 120)[0] in {403, 409}
        assert restored.ask(main.fork(20, 160), NEW + 3, 160)[0] in {403, 422}


def test_a_log_that_hides_what_was_signed_is_contradicted_by_the_peer(restored: Restored) -> None:
    main = restored.log.main
    hidden = main.fork(OLD, OLD)  # the log shows the tree of the backup, as if nothing had followed
    with ExitStack() as stack:
        liar = stack.enter_context(Stand(lambda asked: hidden.answer(asked.path)).serve())
        stack.enter_context(restored.running(restored.backup, liar.url()))
        assert restored.ask(main.fork(OLD, 120), OLD, 120)[0] != 200
        eventually(lambda: restored.size == NEW or "restored" in restored.alarms())
        assert restored.ask(main.fork(OLD, 120), OLD, 120)[0] != 200


def test_a_backup_is_made_whole_or_not_at_all(tmp_path: Path, restored: Restored) -> None:
    assert restored.backup.stat().st_mode & 0o077 == 0
    assert restored.command("backup", restored.backup).returncode == EXIT_DATABASE
    assert restored.command("backup", tmp_path / "no" / "folder.db").returncode == EXIT_DATABASE
    restored.restore(restored.backup)
    assert restored.command("check").returncode == 0
    # A backup of a backup is one, too.
    assert restored.command("backup", tmp_path / "again.db").returncode == 0
    restored.restore(tmp_path / "again.db")
    assert restored.marked
    assert [path.name for path in tmp_path.glob(".*")] == []
