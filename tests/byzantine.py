"""A log that lies, over real HTTP on several loopback addresses; built on nothing but the formats.

    log = ByzantineLog()                      # one honest view, "main", with no leaves
    log.main.append(10)
    other = log.split("other", at=6)          # a second history that differs from leaf 6 on
    with log.serve("127.0.0.1", "127.0.0.2") as stand:
        log.show("other", at="127.0.0.2")     # who connects to 127.0.0.2 gets the other history
        log.show("other", client="127.0.0.9") # or who comes from that address
        log.show("other", path="/b/")         # or who asks below that path
        stand.url("127.0.0.2"), stand.url("127.0.0.1", "/b") ...

A `View` is one history and the ways to misbehave with it: `shown` (rollback), `frozen` (freeze),
`withheld` (missing tiles), `alter` (spoiled checkpoints; see `bad_signature` and its neighbours),
`answers` (anything at all: garbage, oversized, slow, redirects, a closed connection).
`stand.Stand` serves it; `monitoring` makes the answers of a witness of its own.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256

from muniment.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    parse_signed_checkpoint,
    sign_checkpoint,
)
from muniment.tlog.cosignature import signer_for, verifier_for
from muniment.tlog.encoding import FormatError, frame
from muniment.tlog.keys.keyfile import generate
from muniment.tlog.merkle import leaf_hash, root_of
from muniment.tlog.note import SignatureLine, Signer, UnverifiedNote, Verifier
from muniment.tlog.proofs import Node, plan_consistency, plan_inclusion
from muniment.tlog.tiles import ENTRIES, Tile, parse_tile_path
from muniment.tlog.witnesswire import AddCheckpoint, origin_hash
from stand import NOT_FOUND, Answer, Asked, Stand

ORIGIN = "log.example/byzantine"


def new_signer(origin: str = ORIGIN, algorithm: str = "ed25519") -> Signer:
    return signer_for(origin, generate(algorithm), use="log")  # type: ignore[arg-type]


@dataclass
class View:
    """One history of a log, and how it is shown.

    Attributes:
        origin: The log's origin.
        signers: The log's keys.
        entries: The leaves. Grow them by `append`.
        cosigners: Witness keys that the log holds as well; for policies with a quorum.
        shown: Size of the tree at ``/checkpoint``; all of it when None. Tiles are served in full.
        frozen: These bytes at ``/checkpoint``, for ever.
        withheld: Whether a path, without its first slash, is not served (404).
        alter: What to do to a checkpoint before it is served.
        answers: Answers by exact path, or by the beginning of a path when the key ends with ``*``;
            paths begin with a slash.
        delay: Seconds before every answer.
        clock: Unix seconds, for what states a time.
    """

    origin: str = ORIGIN
    signers: Sequence[Signer] = ()
    entries: list[bytes] = field(default_factory=list)
    cosigners: Sequence[Signer] = ()
    shown: int | None = None
    frozen: bytes | None = None
    withheld: Callable[[str], bool] = lambda _path: False
    alter: Callable[[SignedCheckpoint], SignedCheckpoint | bytes] = lambda signed: signed
    answers: dict[str, Answer] = field(default_factory=dict)
    delay: float = 0.0
    clock: Callable[[], int] = lambda: int(time.time())
    _hashes: list[bytes] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.signers = tuple(self.signers) or (new_signer(self.origin),)
        self._hashes += [leaf_hash(entry) for entry in self.entries]

    # The tree

    @property
    def size(self) -> int:
        return len(self._hashes)

    @property
    def vkeys(self) -> list[str]:
        return [str(signer.vkey) for signer in self.signers]

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        return tuple(verifier_for(signer.vkey) for signer in self.signers)

    def append(self, count: int = 1, label: str = "leaf") -> "View":
        """Adds leaves; those of two views with equal labels and places are equal."""
        for _ in range(count):
            entry = f"{label} {self.size}".encode()
            self.entries.append(entry)
            self._hashes.append(leaf_hash(entry))
        return self

    def fork(self, at: int, size: int | None = None, label: str = "forked") -> "View":
        """Another history with the same keys: the same leaves up to `at`, others up to `size`."""
        view = replace(self, entries=self.entries[:at], answers={}, _hashes=[])
        return view.append((self.size if size is None else size) - at, label)

    def root(self, size: int | None = None) -> bytes:
        return root_of(self._hashes[: self.size if size is None else size])

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        plan = plan_consistency(old, new)
        return plan.assemble({node: self._node(node) for node in plan.nodes})

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        plan = plan_inclusion(index, size)
        return plan.assemble({node: self._node(node) for node in plan.nodes})

    def _node(self, node: Node) -> bytes:
        return root_of(self._hashes[node.index << node.level : (node.index + 1) << node.level])

    def checkpoint(
        self,
        size: int | None = None,
        *,
        root: bytes | None = None,
        extensions: Sequence[str] = (),
        cosigners: Sequence[Signer] | None = None,
        now: int | None = None,
    ) -> SignedCheckpoint:
        """A checkpoint signed by the log's keys and the cosigners."""
        size = self.size if size is None else size
        head = Checkpoint(
            self.origin, size, self.root(size) if root is None else root, tuple(extensions)
        )
        more = self.cosigners if cosigners is None else cosigners
        return sign_checkpoint(head, [*self.signers, *more], self.clock() if now is None else now)

    def add_checkpoint(self, old: int, new: int | None = None) -> AddCheckpoint:
        """An add-checkpoint request with a true proof of this history, without cosignatures."""
        new = self.size if new is None else new
        proof = self.proof(old, new) if 0 < old < new else ()
        return AddCheckpoint(old, proof, self.checkpoint(new, cosigners=()))

    def tile(self, tile: Tile) -> bytes:
        """A hash tile or an entry bundle; ValueError beyond the tree."""
        if tile.end > self.size:
            raise ValueError(tile.path)
        if tile.level == ENTRIES:
            return frame(self.entries[tile.start : tile.end])
        span = 256**tile.level
        return b"".join(
            root_of(self._hashes[at : at + span]) for at in range(tile.start, tile.end, span)
        )

    # What is told

    def answer(self, path: str) -> Answer:
        """The answer to GET, for a path that begins with a slash."""
        for key, made in list(self.answers.items()):
            if path == key or (key.endswith("*") and path.startswith(key[:-1])):
                return replace(made, delay=made.delay + self.delay)
        return replace(self._read(path.lstrip("/")), delay=self.delay)

    def _read(self, path: str) -> Answer:
        if self.withheld(path):
            return NOT_FOUND
        if path == "checkpoint":
            if self.frozen is not None:
                return Answer(body=self.frozen)
            made = self.alter(self.checkpoint(self.shown))
            return Answer(body=made if isinstance(made, bytes) else made.encode())
        try:
            return Answer(body=self.tile(parse_tile_path(path)))
        except (FormatError, ValueError):
            return NOT_FOUND

    def freeze(self) -> "View":
        """Shows the checkpoint of now for ever."""
        self.frozen = self.checkpoint(self.shown).encode()
        return self


class ByzantineLog:
    """A log with several histories, of which each reader gets the one chosen for it.

    Attributes:
        views: The histories by name; "main" is the one for everybody without a rule.
    """

    def __init__(
        self,
        origin: str = ORIGIN,
        signers: Sequence[Signer] = (),
        cosigners: Sequence[Signer] = (),
    ) -> None:
        self.views = {"main": View(origin, signers, cosigners=cosigners)}
        self._at: dict[str, str] = {}
        self._clients: dict[str, str] = {}
        self._paths: dict[str, str] = {}

    @property
    def main(self) -> View:
        return self.views["main"]

    @property
    def origin(self) -> str:
        return self.main.origin

    @property
    def vkeys(self) -> list[str]:
        return self.main.vkeys

    def split(self, name: str, at: int, size: int | None = None) -> View:
        """A second history: the leaves of main up to `at`, then others up to `size`."""
        self.views[name] = self.main.fork(at, size, label=name)
        return self.views[name]

    def show(
        self,
        name: str,
        *,
        at: str | None = None,
        client: str | None = None,
        path: str | None = None,
    ) -> None:
        """Shows a view to who comes to the address `at`, from `client`, or asks below `path`."""
        for rules, key in ((self._at, at), (self._clients, client), (self._paths, path)):
            if key is not None:
                rules[key] = name

    def answer(self, asked: Asked) -> Answer:
        path = asked.path
        name = self._clients.get(asked.client) or self._at.get(asked.at) or "main"
        for prefix, view in self._paths.items():
            if path.startswith(prefix):
                name, path = view, "/" + path[len(prefix) :].lstrip("/")
                break
        return self.views[name].answer(path)

    @contextlib.contextmanager
    def serve(self, *hosts: str) -> Iterator[Stand]:
        """Serves the log on these loopback addresses; 127.0.0.1 when there are none."""
        with Stand(self.answer).serve(*hosts) as stand:
            yield stand


# Ways to spoil a checkpoint: values for `View.alter`


def bad_signature(signed: SignedCheckpoint) -> SignedCheckpoint:
    """Every signature has one bit flipped."""
    return _with_lines(
        signed,
        [
            replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
            for line in signed.note.signatures
        ],
    )


def unsigned(signed: SignedCheckpoint) -> SignedCheckpoint:
    """Signed by a key that nobody knows, and by nobody else."""
    name = signed.checkpoint.origin
    return _with_lines(signed, [_stranger(name).sign(signed.note.text, 1)])


def poisoned(signed: SignedCheckpoint) -> SignedCheckpoint:
    """The true signatures, and after them a false one of the first key."""
    first = signed.note.signatures[0]
    false = replace(first, signature=bytes(len(first.signature)))
    return _with_lines(signed, [*signed.note.signatures, false])


def equivocating(view: View, other: View) -> Callable[[SignedCheckpoint], SignedCheckpoint]:
    """Alternates between two histories, request by request, at the size that is asked for."""
    turns = itertools.cycle((view, other))
    return lambda signed: next(turns).checkpoint(min(signed.checkpoint.size, other.size))


@lru_cache(maxsize=64)
def _stranger(name: str) -> Signer:
    return new_signer(name)


def _with_lines(signed: SignedCheckpoint, lines: Sequence[SignatureLine]) -> SignedCheckpoint:
    return SignedCheckpoint(signed.checkpoint, UnverifiedNote(signed.note.text, tuple(lines)))


# The other side of witnesses


def monitoring(
    heads: Mapping[str, Callable[[], bytes | Answer | None]],
) -> Callable[[Asked], Answer]:
    """The monitoring endpoint of a witness that is not ours, for `Stand`.

    Args:
        heads: For each origin what to serve at ``/<origin hash>/checkpoint``; None is a 404.
            Answers carry an ETag and honour If-None-Match.
    """
    paths = {f"/{origin_hash(origin)}/checkpoint": head for origin, head in heads.items()}

    def answer(asked: Asked) -> Answer:
        head = paths.get(asked.path)
        made = None if head is None else head()
        if made is None:
            return NOT_FOUND
        if isinstance(made, Answer):
            return made
        etag = f'"{sha256(made).hexdigest()}"'
        if asked.headers.get("If-None-Match") == etag:
            return Answer(304, headers={"ETag": etag})
        return Answer(body=made, headers={"ETag": etag})

    return answer


def cosigned(view: View, witness: Signer, size: int | None = None, *, now: int) -> bytes:
    """A checkpoint of a view as a witness's monitoring endpoint serves it."""
    signed = parse_signed_checkpoint(view.checkpoint(size, cosigners=(), now=now).encode())
    return signed.with_signatures([witness.sign(signed.note.text, now)]).encode()
