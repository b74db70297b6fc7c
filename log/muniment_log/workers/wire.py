"""What the processes of one log tell each other; both are this program, started together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from multidict import CIMultiDict

from muniment.records.manifest import parse_frames
from muniment.tlog.merkle import split_hashes
from muniment_log.core.addenda import Addendum, Pack, Sent
from muniment_log.core.repeats import RequestRecords, Said
from muniment_log.logfile import LogFile
from muniment_service.config import Address
from muniment_service.http import Request

if TYPE_CHECKING:
    from muniment.records.manifest import Batch
    from muniment_service.http import BodySource


class Setup(msgspec.Struct, frozen=True, array_like=True):
    """What a worker begins with.

    Attributes:
        path: the configuration file, for messages.
        file: its content, see `pack_file`.
        port: where to listen, at the file's host; another process of this log holds it.
        workers: how many there are.
        pruned: entries below this index are not there any more.
    """

    path: str
    file: dict[str, Any]
    port: int
    workers: int
    pruned: int


class PackParts(msgspec.Struct, frozen=True, array_like=True):
    """`Pack`, as it travels."""

    section: bytes
    ends: list[int]
    digests: list[bytes]
    subjects: bytes
    runs: list[bytes | None]

    @classmethod
    def of(cls, pack: Pack) -> PackParts:
        """The parts."""
        return cls(pack.section, list(pack.ends), pack.digests, pack.subjects, list(pack.runs))

    @property
    def pack(self) -> Pack:
        """What `of` was given."""
        return Pack(self.section, self.ends, self.digests, self.subjects, self.runs)


class SentParts(msgspec.Struct, frozen=True, array_like=True):
    """`Sent`, as it travels: a pack, or the addenda one by one."""

    pack: PackParts | None
    addenda: list[Addendum]
    expected: list[tuple[bytes, int]]

    @classmethod
    def of(cls, sent: Sent | None) -> SentParts | None:
        """The parts; None without addenda."""
        if sent is None:
            return None
        if sent.pack is not None:
            return cls(PackParts.of(sent.pack), [], [])
        return cls(None, list(sent.addenda), list(sent.expected.items()))

    @staticmethod
    def whole(parts: SentParts | None) -> Sent | None:
        """What `of` was given."""
        if parts is None:
            return None
        if parts.pack is not None:
            return Sent.packed(parts.pack.pack)
        return Sent(parts.addenda, dict(parts.expected))


class BatchOrder(msgspec.Struct, frozen=True, array_like=True):
    """A batch that a worker has verified, record by record.

    Attributes:
        body: the batch.
        hashes: the leaf hashes of its records, side by side.
        sent: the addenda that came with it.
    """

    body: bytes
    hashes: bytes
    sent: SentParts | None

    @classmethod
    def of(cls, batch: Batch, sent: Sent | None) -> BatchOrder:
        """The order of a batch."""
        return cls(batch.body, b"".join(batch.leaf_hashes[:-1]), SentParts.of(sent))

    @property
    def batch(self) -> Batch:
        """The batch, whose records nobody hashes again."""
        return parse_frames(self.body).hashed(split_hashes(self.hashes))


class RecordsOrder(msgspec.Struct, frozen=True, array_like=True):
    """Records that a worker has completed, of a producer that cannot sign; see `RequestRecords`."""

    producer: str
    records: list[bytes]
    said: list[Said | None]
    key: tuple[bytes, bytes] | None
    sent: SentParts | None

    @classmethod
    def of(cls, producer: str, request: RequestRecords, sent: Sent | None) -> RecordsOrder:
        """The order of some records."""
        records, said = list(request.records), list(request.said)
        return cls(producer, records, said, request.key, SentParts.of(sent))

    @property
    def request(self) -> RequestRecords:
        """The records, and what they are recognised by."""
        return RequestRecords(self.records, self.said, self.key)


class EdgeParts(msgspec.Struct, frozen=True, array_like=True):
    """The partial hash tiles of a tree, by which all that is full is authenticated."""

    size: int
    root: bytes
    partials: list[bytes]


class Forwarded(msgspec.Struct, frozen=True, array_like=True):
    """A request that another process answers.

    Attributes:
        target: path and query, as sent.
        headers: as sent, too: their values may be no UTF-8.
        body: the whole body.
        client: the address that the connection came from.
    """

    method: str
    target: str
    headers: dict[str, bytes]
    body: bytes
    client: str

    @classmethod
    def of(cls, request: Request, body: bytes) -> Forwarded:
        """A request whose body has come."""
        target = f"{request.path}?{request.query}" if request.query else request.path
        headers = {
            name: value.encode(errors="surrogateescape") for name, value in request.headers.items()
        }
        return cls(request.method, target, headers, body, request.client)

    def request(self, body: BodySource) -> Request:
        """What `of` was given; it reads `body`."""
        headers = CIMultiDict(
            {name: value.decode(errors="surrogateescape") for name, value in self.headers.items()}
        )
        return Request(self.method, self.target, headers, body, self.client)


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """The answer; see `Response`."""

    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]


def pack_file(file: LogFile) -> dict[str, Any]:
    """A configuration file, to be unpacked in another process."""
    packed: dict[str, Any] = msgspec.to_builtins(file, enc_hook=str)
    return packed


def unpack_file(packed: dict[str, Any]) -> LogFile:
    """What `pack_file` was given; its paths are whole already."""

    def convert(kind: type[Any], value: object) -> object:
        return kind(value) if kind in {Path, Address} else value

    return msgspec.convert(packed, LogFile, dec_hook=convert)
