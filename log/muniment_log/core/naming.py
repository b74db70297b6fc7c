"""What a record says of its addenda: which it names, whose they are, and who keeps them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.json import Decoder

from muniment.records.manifest import MANIFEST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

KEPT: Final = b'"kept":"log"'
"""What stands in a record that says that the log keeps its addenda; elsewhere, too."""

SUBJECT_SIZE: Final = 16
"""Bytes that stand for a subject, see `subject_key`."""

_PREFIX: Final = "sha256:"
_SUBJECTS: Final = 16_384  # whose keys are known at one time: 3 MB


class _Subject(Struct, gc=False):
    type: str
    id: str


class _Request(Struct, gc=False):
    subject: _Subject


class _Artifact(Struct, gc=False):
    governance: dict[str, str] | None = None


class _LeftOut(Struct):
    digest: str = ""


class _Denial(Struct):
    reduced: dict[str, _LeftOut] | None = None


class Naming(Struct, gc=False):
    """What of a record that was checked is looked at."""

    kind: str
    execution: str | None = None
    addenda: dict[str, str] | None = None
    kept: str | None = None
    request: _Request | None = None
    artifact: _Artifact | None = None
    inputs: dict[str, str] | None = None
    outputs: dict[str, str] | None = None
    denial: _Denial | None = None


read_naming: Final = Decoder(Naming).decode
"""Reads a valid record; raises nothing then."""


def subject_key(type_: str, id_: str) -> bytes:
    """What stands for a subject beside its addenda: enough to find them, and not its name."""
    return subject_key_of(type_.encode(), id_.encode())


def subject_key_of(type_: bytes, id_: bytes) -> bytes:
    """The same, of what is encoded already."""
    return sha256(len(type_).to_bytes(4, "big") + type_ + id_).digest()[:SUBJECT_SIZE]


class SubjectKeys:
    """Finds the keys of subjects; those that asked lately it knows, for many ask again."""

    def __init__(self) -> None:
        """Knows none."""
        self._left = _SUBJECTS
        self._known: dict[bytes, dict[bytes, bytes]] = {}  # by type and id

    def joined(self, types: Sequence[bytes], ids: Sequence[bytes]) -> bytes:
        """The keys of some subjects, one after the other."""
        if len({*types}) == 1:
            keys = [*map(self._known.get(types[0], {}).get, ids)]
            if None not in keys:
                return b"".join(keys)  # type: ignore[arg-type]  # none is None
        return b"".join(map(self._key_of, types, ids))

    def _key_of(self, type_: bytes, id_: bytes) -> bytes:
        if (key := self._known.get(type_, {}).get(id_)) is None:
            if not self._left:
                self._known, self._left = {}, _SUBJECTS
            self._left -= 1
            key = self._known.setdefault(type_, {})[id_] = subject_key_of(type_, id_)
        return key


def digests_of(record: bytes) -> list[bytes]:
    """The digests of the addenda that a valid record names."""
    return [*_places(read_naming(record))]


def kept_by(record: bytes) -> list[bytes]:
    """The digests of the addenda of which a valid record says that the log keeps them."""
    if KEPT not in record:
        return []
    naming = read_naming(record)
    return [] if naming.kept is None else [*_places(naming)]


def named_at(record: bytes) -> dict[bytes, str]:
    """By digest, the addenda that a valid record names: the JSON pointer of each.

    That of an outcome's commitment leads to the commitment: it has no other place.
    """
    return _places(read_naming(record))


async def unnamed(leaves: AsyncIterator[bytes], digests: Iterable[bytes]) -> set[bytes]:
    """Those of the digests that no record among some leaves names."""
    left = set(digests)
    async for leaf in leaves:
        if not left:
            break
        left.difference_update(() if leaf.startswith(MANIFEST) else digests_of(leaf))
    return left


def digests_in(naming: Naming) -> Iterable[bytes]:
    """The digests that a record names."""
    return _places(naming)


def _places(naming: Naming) -> dict[bytes, str]:
    """By digest: where the record names it."""
    found = {bytes.fromhex(digest): pointer for pointer, digest in (naming.addenda or {}).items()}
    # Salted commitments, of a run and of a reduced denial: their addenda have the same form.
    commitments: dict[str, str] = {}
    if naming.kind == "outcome":
        for member, digests in (("inputs", naming.inputs), ("outputs", naming.outputs)):
            commitments |= {f"/{member}/{name}": one for name, one in (digests or {}).items()}
    elif naming.denial is not None:
        commitments = {
            f"/denial/reduced/{path}/digest": one.digest
            for path, one in (naming.denial.reduced or {}).items()
        }
    return found | {
        bytes.fromhex(digest.removeprefix(_PREFIX)): pointer
        for pointer, digest in commitments.items()
        if digest.startswith(_PREFIX)
    }
