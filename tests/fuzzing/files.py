"""Fuzz targets of files: keys, configuration, permits, lineage bundles, audit states, spools."""

import asyncio
import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from fuzzing.law import bytes_of, parsed, target, text_of
from fuzzing.notes import GOVERNED
from fuzzing.records import AUTHORITIES
from muniment.audit.statefile import format_state, parse_state
from muniment.complete.keys import parse_key
from muniment.complete.prooffile import parse_complete, verify_complete
from muniment.gateway.spoolfile import Change, SpoolFile
from muniment.gateway.spoolschema import APPLICATION_ID, MIGRATIONS
from muniment.gateway.takennames import read_names, write_names
from muniment.lineage import parse_bundle, trace, verify_bundle
from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError, Writer
from muniment.permit import Context, Trust, parse_permit, verify_permit_bytes
from muniment.records.kinds import Entity
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.keys.foreign import parse_foreign_key
from muniment.tlog.keys.keyfile import format_key_file, parse_key_file, public_bytes
from muniment_log import config as log_config
from muniment_log.logfile import LogFile
from muniment_service.config import ConfigError, load_config
from muniment_witness import config as witness_config
from muniment_witness.witnessfile import WitnessFile
from signing import NOW

_TRUST: Final = Trust(policy=GOVERNED, authorities=AUTHORITIES)
_CONTEXT: Final = Context(now=NOW, action="read", resource=Entity("document", "7"))


@cache
def _folder(_process: int) -> tempfile.TemporaryDirectory[str]:
    # In memory where that is possible: a spool syncs every step.
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    return tempfile.TemporaryDirectory(prefix="muniment-fuzz-", dir=place)


def _file(name: str) -> Path:
    """A file of this process: targets run in children that are forked and end one by one."""
    return Path(_folder(os.getpid()).name) / name


@target("key-file")
def _key_file(data: bytes) -> None:
    found = parsed(lambda data: parse_key_file(data, None), None, data)
    if found is not None:
        again = parse_key_file(format_key_file(found.private, found.vkey, None), None)
        assert again.vkey == found.vkey
        assert public_bytes(again.private) == public_bytes(found.private)


@target("foreign-key")
def _foreign_key(data: bytes) -> None:
    found = parsed(lambda data: parse_foreign_key(data, None, "ed25519"), None, data)
    if found is not None:
        again = parse_key_file(format_key_file(found.private, found.vkey, None), None)
        assert public_bytes(again.private) == public_bytes(found.private)


@target("permit")
def _permit(data: bytes) -> None:
    parsed(parse_permit, lambda permit: permit.encode(), data)
    verdict = verify_permit_bytes(data, _CONTEXT, _TRUST)
    # The seeds' permits lack what this context insists on: nobody gets one by changing bytes.
    assert not verdict.permitted


@target("complete")
def _complete(data: bytes) -> None:
    proof = parsed(parse_complete, lambda proof: proof.encode(), data)
    if proof is not None:
        with suppress(VerificationError, FormatError):
            verify_complete(proof, GOVERNED)


@target("complete-key")
def _complete_key(data: bytes) -> None:
    parsed(lambda data: parse_key(text_of(data)), lambda key: bytes_of(key.text), data)


@target("lineage-bundle")
def _lineage_bundle(data: bytes) -> None:
    bundle = parsed(parse_bundle, lambda bundle: bundle.encode(), data)
    if bundle is not None:
        with suppress(VerificationError, FormatError):
            verified = verify_bundle(bundle, GOVERNED)
            trace(verified.execution, verified.facts, NOW)


@target("audit-state")
def _audit_state(data: bytes) -> None:
    state = parsed(parse_state, format_state, data)
    if state is not None:
        state.streams()
        assert state.tile_edge().root() == state.trust.root


@target("log-config")
def _log_config(data: bytes) -> None:
    path = _file("config.toml")
    path.write_bytes(data)
    with suppress(ConfigError):
        file = load_config(path, LogFile)
        log_config.admission_of(path, file)
        log_config.rates_of(path, file)


@target("witness-config")
def _witness_config(data: bytes) -> None:
    path = _file("config.toml")
    path.write_bytes(data)
    with suppress(ConfigError):
        file = load_config(path, WitnessFile)
        witness_config.watched(path, file, ())


@target("spool")
def _spool(data: bytes) -> None:
    """A spool with some bytes changed (offset of two bytes, value) opens, or is refused."""
    image = bytearray(_image())
    for at in range(0, len(data) - 2, 3):
        image[int.from_bytes(data[at : at + 2], "big") % len(image)] = data[at + 2]
    asyncio.run(_open_spool(bytes(image)))


@cache
def _image() -> bytes:
    """A good one: bound to a stream, with records on their way, waiting and refused, and a call."""

    async def made() -> bytes:
        writer = await _writer(None)
        file = await writer.run(SpoolFile.load)
        await writer.run(lambda db: file.bind(("log.example/one", "gw.example", "main"), 3, db))
        change = Change([b"{}", b"[]", b"null"], [(1, b"{}"), (2, b"{}")], [2])
        await writer.run(lambda db: file.change(change, db))
        await writer.run(lambda db: write_names([bytes(16), b"n" * 32], db))
        await writer.run(lambda db: file.turn(0, 2, db))
        await writer.run(lambda db: file.refuse(1, "bad-record", db))
        await writer.close()
        return _file("spool.db").read_bytes()

    return asyncio.run(made())


async def _writer(image: bytes | None) -> Writer:
    spool = _file("spool.db")
    for path in spool.parent.glob("spool.db*"):
        path.unlink()
    if image is not None:
        spool.write_bytes(image)
    return await Writer.open(spool, MIGRATIONS, application=APPLICATION_ID)


async def _open_spool(image: bytes) -> None:
    try:
        writer = await _writer(image)
    except DatabaseError:
        return
    try:
        file = await writer.run(SpoolFile.resume)
        turn = await writer.run(lambda db: file.turn(0, 10, db))
        assert len(turn.rows) <= max(10, file.claimed)
        assert file.claimed <= file.records
        await writer.run(read_names)
    except (DatabaseError, FatalDatabaseError):
        pass
    finally:
        await writer.close()
