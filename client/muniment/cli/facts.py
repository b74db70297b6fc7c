"""Facts for commands: from a replica, or read from a log and verified before they are believed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from muniment.audit.trust import ProvenMisbehaviour, StaleCheckpoint
from muniment.cli.common import progress, run
from muniment.errors import FormatError, InputError, VerificationError
from muniment.index.reader import IndexReader
from muniment.index.replica import Watched, follow_once
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import FactsError
from muniment.local.sqlitefile import DatabaseError

if TYPE_CHECKING:
    from muniment.tlog.policy import Policy


@contextmanager
def open_replica(path: Path) -> Iterator[IndexReader]:
    """Opens a replica; an ``InputError`` if it is none, or cannot be read."""
    try:
        with IndexReader(path) as reader:
            yield reader
    except (DatabaseError, FactsError) as error:
        raise InputError(f"replica {error}") from None


@contextmanager
def open_facts(path: Path | None, policy: "Policy") -> Iterator[ReplicaFacts | None]:
    """Opens a replica as facts; None without one.

    Raises InputError as ``open_replica``, if nothing in it is verified yet, and if the policy does
    not accept the checkpoint that it was verified by.
    """
    if path is None:
        yield None
        return
    with open_replica(path) as reader:
        facts = ReplicaFacts(reader)
        facts.accept(policy)
        yield facts


@contextmanager
def replica_of(log_url: str, policy: "Policy", origin: str | None) -> Iterator[Path]:
    """Makes a verified replica of a whole log for the time of a command; yields its path."""
    with TemporaryDirectory(prefix="muniment-") as place:
        path = Path(place) / "replica"
        with progress("Reading the log") as show:
            try:
                run(follow_once(Watched(log_url, policy, origin), path, progress=show))
            except (FormatError, StaleCheckpoint, ProvenMisbehaviour) as error:
                raise VerificationError(str(error)) from None
        yield path
