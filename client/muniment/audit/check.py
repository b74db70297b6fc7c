"""C2SP tlog-tiles "Log entries", records and manifests: all checks of some entry bundles.

``examine`` is a pure function over bytes, so that big audits can run it in other processes. What
spans more than it is given (a batch, a stream, the tree) is put together by ``streams`` and
``tlog.rightedge``, from little: a compact range for a batch, a root for a bundle.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.audit.approvals import judge_approval
from muniment.audit.events import Named, extract
from muniment.audit.relations import Warned
from muniment.audit.report import MISMATCH, Finding, Weight
from muniment.audit.thingkeys import NameKey
from muniment.records.api import parse_record
from muniment.records.check import time_problem
from muniment.records.manifest import MANIFEST, Manifest, parse_manifest
from muniment.records.quick import producers, read_plain
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.merkle import HASH_SIZE, CompactRange, leaf_hashes, root_of
from muniment.tlog.note import Verifier, parse_vkey
from muniment.tlog.tiles import Tile, check_bundle

if TYPE_CHECKING:
    from muniment.records.forms import Forms, Usual
    from muniment.records.kinds import Record
    from muniment.records.shape import Shaped

PIECE: Final = 512
"""Records read at once: enough to save time, few enough that even the largest take 32 MiB."""


class ServedBundle(NamedTuple):
    """A bundle as the log serves it, and the level-0 hash tile of the same place and width."""

    tile: Tile
    data: bytes
    hashes: bytes


class SeenManifest(NamedTuple):
    """A manifest found in the log and who signed it; unverified when that key is unknown."""

    manifest: Manifest
    signer: str
    is_verified: bool


class RecordRange(NamedTuple):
    """Consecutive records, up to a manifest or the end of what was examined together.

    Attributes:
        stop: Leaf index after the last record; the manifest's, when there is one.
        leaves: The records' leaf hashes: in a compact range when a batch begins with the run, as
            they are when it may have begun before.
        producers: Who the records say they are from: leaf index and name, wherever it changes.
            Records that are not valid say nothing.
        manifest: Leaf hash of the manifest, good or bad, that follows; None when none does.
        seen: That manifest, unless it is malformed.
        odd: What is neither a record nor meant to be one: bad records, if the manifest covers them;
            leaves of others, if not.
        ours: `leaves` without the odd ones; None when there are none.
    """

    start: int
    stop: int
    leaves: CompactRange | list[bytes]
    producers: tuple[tuple[int, str], ...]
    manifest: bytes | None
    seen: SeenManifest | None
    odd: tuple[Finding, ...] = ()
    ours: CompactRange | list[bytes] | None = None


class Examined(NamedTuple):
    """What ``examine`` found in consecutive bundles, up to the leaf index `end`.

    Attributes:
        bundles: How many bundles were examined: all, unless there is an error.
        roots: The root of each full bundle.
        rest: The leaf hashes of the partial bundle at the end, if there is one.
        relations: What entries say of each other, see ``events.extract``; nothing when the tree
            alone is checked.
        error: Why what comes after cannot be examined, None as a rule.
        named: The addenda that entries name.
        addenda: The events of these, see ``addenda.events_of``; nothing before anybody has made
            them.
    """

    end: int
    bundles: int
    roots: list[bytes]
    rest: list[bytes]
    runs: list[RecordRange]
    findings: list[Finding]
    relations: tuple[bytes, ...]
    warnings: list[Warned]
    error: Exception | None
    named: Sequence[Named] = ()
    addenda: tuple[bytes, ...] = ()


class LeafRules(NamedTuple):
    """What leaves are checked by.

    Attributes:
        origin: The log's origin.
        vkeys: Keys whose manifests can be verified.
        approvers: Keys of people whose approvals count; without any they are not verified.
        tree_only: Not to look at what the entries are.
        asks: Whether the log is asked for the addenda that they name.
    """

    origin: str
    vkeys: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    tree_only: bool = False
    asks: bool = False


def examine(
    bundles: Sequence[ServedBundle],
    known: Sequence[bytes],
    rules: LeafRules,
    *,
    forms: "Forms | None" = None,
    key: NameKey | None = None,
) -> Examined:
    """Checks entry bundles: framing, leaf hashes, records and manifests.

    Args:
        bundles: Consecutive bundles, at least one; only the last of a log may be partial.
        known: Leaf hashes of the entries at the front that an earlier audit has checked, fewer than
            a bundle's.
        rules: What the leaves are checked by.
        forms: What this process has learned of usual decisions.
        key: Makes keys of the ids of things, see ``events.extract``.
    """
    start = bundles[0].tile.start
    error: FormatError | None = None
    done = 0
    entries: list[bytes] = []
    hashes: list[bytes] = []
    roots: list[bytes] = []
    rest: list[bytes] = []
    findings: list[Finding] = []
    for tile, data, served in bundles:
        try:
            held = check_bundle(tile, data)
        except FormatError as malformed:
            error = malformed
            break
        level = leaf_hashes(held)
        if not done and level[: len(known)] != known:
            findings.append(
                Finding(
                    MISMATCH,
                    f"the leaves from {start} on are not those of the last audit",
                    Weight.UNVERIFIED,
                    start,
                )
            )
        if b"".join(level) != served:
            findings += _mismatches(tile, level, served)
        if tile.is_partial:
            rest = level
        else:
            roots.append(root_of(level))
        entries += held
        hashes += level
        done += 1
    end = start + len(entries)
    if rules.tree_only:
        return Examined(end, done, roots, rest, [], findings, (), [], error)
    skip = min(len(known), len(entries))
    new = _Entries(entries[skip:], hashes[skip:], start + skip, rules, forms)
    runs = new.runs(findings)
    findings.sort(key=lambda one: one.index or 0)
    named: list[Named] = []
    relations = extract(new.entries, new.plain, new.hashes, new.start, rules.origin, named, key)
    return Examined(end, done, roots, rest, runs, findings, relations, new.warnings, error, named)


def _mismatches(tile: Tile, level: Sequence[bytes], served: bytes) -> list[Finding]:
    return [
        Finding(
            MISMATCH,
            f"entry {tile.start + at} does not hash to what the log's level-0 tile says",
            Weight.UNVERIFIED,
            tile.start + at,
        )
        for at, leaf in enumerate(level)
        if served[at * HASH_SIZE : (at + 1) * HASH_SIZE] != leaf
    ]


@lru_cache(maxsize=8)
def _verifiers(vkeys: tuple[str, ...]) -> dict[tuple[str, int], Verifier]:
    keys = [parse_vkey(text) for text in vkeys]
    return {(key.name, key.key_id): verifier_for(key) for key in keys}


def is_meant(entry: bytes) -> bool:
    """Whether a leaf that is no valid record is meant to be one, by the members that all have."""
    return entry.startswith(b"{") and b'"kind"' in entry and b'"producer"' in entry


class _Entries:
    """Consecutive entries, to be cut into runs.

    `plain` has, for each entry, the record when the quick reading could read its run, else None;
    `odd` what is neither a record nor meant to be one.
    """

    def __init__(
        self,
        entries: list[bytes],
        hashes: list[bytes],
        start: int,
        rules: LeafRules,
        forms: "Forms | None",
    ) -> None:
        self.entries = entries
        self.hashes = hashes
        self.start = start
        self.plain: list[Usual | Shaped | None] = []
        self.warnings: list[Warned] = []
        self.odd: list[Finding] = []
        self._rules = rules
        self._forms = forms

    def runs(self, findings: list[Finding]) -> list[RecordRange]:
        ends = [at for at, entry in enumerate(self.entries) if entry.startswith(MANIFEST)]
        runs: list[RecordRange] = []
        begin = 0
        for end in ends:
            producers = self._producers(begin, end, findings)
            seen = self._manifest(end, findings)
            self.plain.append(None)
            runs.append(self._run(begin, end, producers, self.hashes[end], seen))
            begin = end + 1
        if begin < len(self.entries):
            producers = self._producers(begin, len(self.entries), findings)
            runs.append(self._run(begin, len(self.entries), producers, None, None))
        return runs

    def _run(
        self,
        begin: int,
        end: int,
        producers: tuple[tuple[int, str], ...],
        manifest: bytes | None,
        seen: SeenManifest | None,
    ) -> RecordRange:
        hashes = self.hashes[begin:end]
        leaves = CompactRange.EMPTY.extend(hashes) if begin else hashes
        run = RecordRange(self.start + begin, self.start + end, leaves, producers, manifest, seen)
        if not self.odd:
            return run
        odd, self.odd = tuple(self.odd), []
        left_out = {finding.index for finding in odd}
        rest = [one for at, one in enumerate(hashes, run.start) if at not in left_out]
        return run._replace(odd=odd, ours=CompactRange.EMPTY.extend(rest) if begin else rest)

    def _producers(
        self, begin: int, end: int, findings: list[Finding]
    ) -> tuple[tuple[int, str], ...]:
        """Checks the records of one batch; tells who they are from."""
        whose: list[tuple[int, str]] = []
        for at in range(begin, end, PIECE):
            entries = self.entries[at : min(at + PIECE, end)]
            plain = read_plain(entries, self._forms)
            self.plain += [None] * len(entries) if plain is None else plain
            names = producers(plain or ())
            if len(names) == 1:
                found = [(self.start + at, names.pop())]
                self._warn(plain or (), self.start + at)
            else:
                # At least one is out of the ordinary: one by one, to name each that is bad.
                found = self._one_by_one(entries, self.start + at, findings)
            for index, producer in found:
                if not whose or whose[-1][1] != producer:
                    whose.append((index, producer))
        return tuple(whose)

    def _one_by_one(
        self, entries: Sequence[bytes], start: int, findings: list[Finding]
    ) -> list[tuple[int, str]]:
        producers: list[tuple[int, str]] = []
        for index, entry in enumerate(entries, start):
            try:
                record = parse_record(entry)
            except FormatError as error:
                bad = Finding("bad-record", str(error), Weight.CONTENT, index)
                (findings if is_meant(entry) else self.odd).append(bad)
            else:
                producers.append((index, record.producer))
                self._warn((record,), index)
        return producers

    def _warn(self, records: "Sequence[Usual | Shaped | Record]", start: int) -> None:
        """Warns of times that a log would not take any more, and of approvals that do not hold.

        Usual decisions have neither.
        """
        for index, record in enumerate(records, start):
            if isinstance(record, tuple):
                continue
            if (problem := time_problem(record)) is not None:
                sentence = f"entry {index}: {problem}"
                self.warnings.append(Warned("implausible-time", index, sentence))
            self.warnings += judge_approval(record, index, self._rules.approvers)

    def _manifest(self, at: int, findings: list[Finding]) -> SeenManifest | None:
        def wrong(sentence: str) -> None:
            findings.append(Finding("bad-manifest", sentence, Weight.CONTENT, self.start + at))

        try:
            manifest, note = parse_manifest(self.entries[at])
        except FormatError as error:
            wrong(str(error))
            return None
        signer = note.signatures[0].name
        if manifest.origin != self._rules.origin:
            wrong(f"the manifest is for the log {manifest.origin}")
        if not manifest.is_signed_as(signer):
            wrong(f"{signer} signed a manifest of {manifest.producer}")
        verifier = _verifiers(self._rules.vkeys).get((signer, note.signatures[0].key_id))
        if verifier is None:
            return SeenManifest(manifest, signer, is_verified=False)
        try:
            verifier.verify(note.text, note.signatures[0].signature)
        except VerificationError as error:
            wrong(str(error))
            return SeenManifest(manifest, signer, is_verified=False)
        return SeenManifest(manifest, signer, is_verified=True)
