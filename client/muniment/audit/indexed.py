"""Whether the index of a log is that of its leaves: the auditor computes the map itself.

It trusts no earlier audit, and begins at the first leaf each time, with a map in a temporary file.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from muniment.audit.report import Report, Weight
from muniment.errors import BadAnswer, FormatError, Refused, VerificationError
from muniment.http.logclient import LogClient
from muniment.map.mapfile import MapFile
from muniment.map.recompute import Recomputer, Wrong
from muniment.records.touched import MAP_VERSION
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.evidence import (
    Proven,
    WrongMapRoot,
    key_name,
    log_verifiers,
    strip,
    verify_evidence,
)
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import index_origin
from muniment.tlog.note import Verifier, verify_note
from muniment.tlog.policy import Policy
from muniment.tlog.tiles import Tile
from muniment.tlog.treereader import Fetch


async def audit_index(
    client: LogClient, index: LogClient, policy: Policy, report: Report
) -> Proven | None:
    """Computes the map of an audited log, and compares all leaves of its index log with it.

    What is wrong is added to the report of the log's audit. `policy` is the log's. A checkpoint
    without its quorum is a finding; what it says is compared all the same, as the log's signature
    alone answers for it.

    Returns:
        The evidence that a leaf of the index is wrong, when one is. Raises Unreachable if one of
        the two does not answer, and DatabaseError if there is no room for the map.
    """
    trusted = policy.of_index_log(report.origin, MAP_VERSION)
    origin = index_origin(report.origin, MAP_VERSION)
    verifiers = log_verifiers(trusted, origin=origin)
    try:
        signed = await _head(index, trusted, verifiers, origin, report)
        wrong = await _compare(client, index, report, signed.checkpoint.head)
        report.indexed = signed.checkpoint.size
        if wrong is None:
            return None
        name = key_name(signed, verifiers)
        evidence = WrongMapRoot(
            wrong.index, wrong.leaf, wrong.proof, wrong.computed, strip(signed, name)
        )
        proven = verify_evidence(evidence, verifiers, origin=origin, computed=wrong.computed)
    except Refused as refusal:
        if refusal.is_retriable:
            raise
        report.found("no-index", f"the log does not show its index: {refusal}", Weight.UNVERIFIED)
        return None
    except (VerificationError, FormatError, BadAnswer) as error:
        report.found("index-unverified", f"the index: {error}", Weight.UNVERIFIED)
        return None
    sentence = f"{proven.sentence}: leaf {wrong.index} of it, about {wrong.leaf.head.size} leaves"
    report.found("wrong-index", sentence, Weight.PROVEN)
    return proven


async def _head(
    index: LogClient,
    trusted: Policy,
    verifiers: Sequence[Verifier],
    origin: str,
    report: Report,
) -> SignedCheckpoint:
    data = await index.checkpoint()
    try:
        return trusted.verify(data, origin=origin).signed
    except VerificationError as error:
        report.found("bad-index-checkpoint", f"the index: {error}", Weight.UNVERIFIED)
    signed = parse_signed_checkpoint(data)
    verify_note(signed.note, verifiers)
    if signed.checkpoint.origin != origin:
        raise VerificationError(f"a checkpoint of another log than {origin}")
    return signed


async def _compare(client: LogClient, index: LogClient, report: Report, head: Head) -> Wrong | None:
    with tempfile.TemporaryDirectory(prefix="muniment-audit-") as folder:
        map_ = await MapFile.open(Path(folder) / "map.db", report.origin)
        try:
            recomputer = Recomputer(map_, _fetch(client), _fetch(index))
            return await recomputer.compare(0, head)
        finally:
            await map_.close()


def _fetch(client: LogClient) -> Fetch:
    async def fetch(tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        return {tile: await client.tile(tile) for tile in tiles}

    return fetch
