"""C2SP tlog-tiles "Log entries" and design sections 3.1 and 3.2: all checks of one entry bundle.

``examine`` is a pure function over bytes, so that big audits can run it in other processes. What
spans bundles (a batch, a stream, the tree) is put together by ``streams`` and ``tree``.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from muniment.audit.events import extract
from muniment.audit.report import Finding, Weight
from muniment.formats.cosignature import verifier_for
from muniment.formats.encoding import FormatError, VerificationError
from muniment.formats.manifest import HEADER, Manifest, parse_manifest, token_stream
from muniment.formats.merkle import HASH_SIZE, leaf_hashes, root_of
from muniment.formats.note import Verifier, parse_vkey
from muniment.formats.records import check_records, parse_record
from muniment.formats.tiles import TILE_WIDTH, Tile, check_bundle

MANIFEST_PREFIX: Final = HEADER.encode() + b"\n"
"""How a manifest begins; a record begins with a brace."""


class SeenManifest(NamedTuple):
    """A manifest found in the log.

    Attributes:
        manifest: Its text, parsed.
        signer: The key name of its signature.
        is_verified: Whether its signature was verified; not when its key is unknown.
    """

    manifest: Manifest
    signer: str
    is_verified: bool


class Run(NamedTuple):
    """Consecutive records, up to a manifest or the end of the bundle.

    Attributes:
        start: Leaf index of the first record.
        stop: Leaf index after the last record; the manifest's, when there is one.
        producer: Who the records say they are from; None when there are none, or none is valid.
        ended: Whether a manifest, good or bad, follows in this bundle.
        seen: That manifest, unless it is malformed.
    """

    start: int
    stop: int
    producer: str | None
    ended: bool
    seen: SeenManifest | None


class Examined(NamedTuple):
    """What ``examine`` found in a bundle.

    Attributes:
        tile: The bundle.
        hashes: Leaf hashes of all of its entries.
        parent: Their root, for a full bundle.
        runs: What its new entries are, in order.
        findings: What is wrong with them.
        relations: What they say of each other, see ``events.extract``.
    """

    tile: Tile
    hashes: list[bytes]
    parent: bytes | None
    runs: list[Run]
    findings: list[Finding]
    relations: tuple[bytes, ...]


@lru_cache(maxsize=8)
def _verifiers(vkeys: tuple[str, ...]) -> dict[tuple[str, int], Verifier]:
    keys = [parse_vkey(text) for text in vkeys]
    return {(key.name, key.key_id): verifier_for(key) for key in keys}


def examine(
    tile: Tile, data: bytes, served: bytes, skip: int, origin: str, vkeys: tuple[str, ...]
) -> Examined:
    """Checks an entry bundle: its framing, its leaf hashes, its records and manifests.

    Args:
        tile: Coordinates of the bundle.
        data: Its bytes.
        served: The level-0 hash tile of the same place and width, as the log serves it.
        skip: Number of entries at the front that an earlier audit has checked.
        origin: The log's origin.
        vkeys: Keys whose manifests can be verified.

    Raises:
        FormatError: If the bundle is malformed, so that it holds no entries to speak of.
    """
    entries = check_bundle(tile, data)
    hashes = leaf_hashes(entries)
    findings: list[Finding] = []
    if b"".join(hashes) != served:
        for at, leaf in enumerate(hashes):
            if served[at * HASH_SIZE : (at + 1) * HASH_SIZE] != leaf:
                index = tile.start + at
                findings.append(
                    Finding(
                        "tile-mismatch",
                        f"entry {index} does not hash to what the log's level-0 tile says",
                        Weight.UNVERIFIED,
                        index,
                    )
                )
    runs = _runs(entries, tile.start, skip, origin, vkeys, findings)
    parent = root_of(hashes) if len(hashes) == TILE_WIDTH else None
    relations = extract(entries[skip:], hashes[skip:], tile.start + skip, origin)
    return Examined(tile, hashes, parent, runs, findings, relations)


def _runs(
    entries: Sequence[bytes],
    base: int,
    skip: int,
    origin: str,
    vkeys: tuple[str, ...],
    findings: list[Finding],
) -> list[Run]:
    runs: list[Run] = []
    start = skip
    for at in range(skip, len(entries)):
        if not entries[at].startswith(MANIFEST_PREFIX):
            continue
        seen = _manifest(entries[at], base + at, origin, vkeys, findings)
        claimed = None if seen is None else seen.manifest.producer
        producer = _records(entries[start:at], base + start, claimed, findings)
        runs.append(Run(base + start, base + at, producer, ended=True, seen=seen))
        start = at + 1
    if start < len(entries):
        producer = _records(entries[start:], base + start, None, findings)
        runs.append(Run(base + start, base + len(entries), producer, ended=False, seen=None))
    return runs


def _records(
    entries: Sequence[bytes], base: int, producer: str | None, findings: list[Finding]
) -> str | None:
    """Checks records of one batch; returns who they should be from, if anything tells."""
    if not entries:
        return None
    for entry in () if producer is not None else entries:
        try:
            producer = parse_record(entry).producer
        except FormatError:
            continue
        break
    try:
        if producer is not None:
            check_records(entries, producer)
            return producer
    except FormatError:
        pass
    # At least one is bad: once more, one by one, to name each.
    for at, entry in enumerate(entries):
        try:
            found = parse_record(entry).producer
        except FormatError as error:
            findings.append(Finding("bad-record", str(error), Weight.CONTENT, base + at))
            continue
        if found != producer:
            sentence = f"a batch of {producer} holds a record of {found}"
            findings.append(Finding("bad-record", sentence, Weight.CONTENT, base + at))
    return producer


def _manifest(
    entry: bytes,
    index: int,
    origin: str,
    vkeys: tuple[str, ...],
    findings: list[Finding],
) -> SeenManifest | None:
    def wrong(sentence: str) -> None:
        findings.append(Finding("bad-manifest", sentence, Weight.CONTENT, index))

    try:
        manifest, note = parse_manifest(entry)
    except FormatError as error:
        wrong(str(error))
        return None
    signer = note.signatures[0].name
    if manifest.origin != origin:
        wrong(f"the manifest is for the log {manifest.origin}")
    # The log signs for clients that cannot, each on a stream whose label names that client.
    by_log = signer == origin and manifest.stream == token_stream(manifest.producer)
    if signer != manifest.producer and not by_log:
        wrong(f"{signer} signed a manifest of {manifest.producer}")
    verifier = _verifiers(vkeys).get((signer, note.signatures[0].key_id))
    if verifier is None:
        return SeenManifest(manifest, signer, is_verified=False)
    try:
        verifier.verify(note.text, note.signatures[0].signature)
    except VerificationError as error:
        wrong(str(error))
        return SeenManifest(manifest, signer, is_verified=False)
    return SeenManifest(manifest, signer, is_verified=True)
