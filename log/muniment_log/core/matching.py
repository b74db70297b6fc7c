"""The addenda that come with a request, and the records of it that name them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import MsgspecError, Raw
from msgspec.json import Decoder

from muniment.records.batchbody import (
    FRAME,
    MAX_ADDENDA,
    AddendumError,
    cut_addenda,
    ends_of_addenda,
)
from muniment.records.commitments import complete_addendum
from muniment.tlog.encoding import FormatError
from muniment_log.core.addenda import (
    Addendum,
    BadAddendumError,
    Pack,
    Sent,
    TooManyAddendaError,
)
from muniment_log.core.naming import (
    KEPT,
    Naming,
    SubjectKeys,
    digests_in,
    read_naming,
    subject_key,
    subject_key_of,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from muniment.records.forms import BatchWithholding, Withheld

LEAST_PACKED: Final = 16
"""Addenda that stay together, at the least."""

MOST_PACKED: Final = 4096
"""Bytes of those that stay together, on the average at the most: who reads one reads many."""

_SIZE: Final = 32  # bytes of a digest
_AT_ONCE: Final = 1024  # addenda that are hashed in one step, at the most: a millisecond
_EFFORT: Final = 1 << 20  # bytes of addenda that are hashed in one step: a millisecond
_RECORD_EFFORT: Final = 4096  # what reading a record counts for
_USUAL_EFFORT: Final = 512  # if the check has read it

_keys: Final = SubjectKeys()

_members: Final = Decoder(dict[str, Raw]).decode
_elements: Final = Decoder(list[Raw]).decode


class AddendaSection:
    """The addenda behind a batch, as they came, and their digests; made by `arriving`.

    Attributes:
        data: each behind its length.
        ends: where each ends in there.
        digests: SHA-256 of each.
    """

    def __init__(self, data: bytes, ends: Sequence[int], digests: list[bytes]) -> None:
        """Takes what belongs together."""
        self.data = data
        self.ends = ends
        self.digests = digests

    def addenda(self) -> list[bytes]:
        """Them, one by one."""
        return cut_addenda(self.data, self.ends)


def arriving(section: bytes) -> Generator[None, None, AddendaSection]:
    """Hashes the addenda behind a batch, in steps.

    Raises:
        BadAddendumError: one is empty, too long or cut off.
        TooManyAddendaError: they are too many, or too long together.
    """
    try:
        ends = ends_of_addenda(section)
    except AddendumError as error:
        raise BadAddendumError(error.number, error.reason) from error
    except FormatError as error:
        raise TooManyAddendaError(str(error)) from error
    if len(ends) <= _AT_ONCE and len(section) <= _EFFORT:
        digests = [sha256(data).digest() for data in cut_addenda(section, ends)]
        return AddendaSection(section, ends, digests)
    digests = []
    begin, pause = 0, _EFFORT
    for start in range(0, len(ends), _AT_ONCE):
        for end in ends[start : start + _AT_ONCE]:
            if end > pause:
                pause = end + _EFFORT
                yield
            data = section[begin + FRAME : end]
            is_short = end - begin <= _EFFORT
            digests.append(sha256(data).digest() if is_short else (yield from _hashing(data)))
            begin = end
        if len(ends) > _AT_ONCE:
            yield
    return AddendaSection(section, ends, digests)


def unwrapped(body: bytes) -> tuple[bytes, list[bytes]]:
    """The records and the addenda of a JSON object that has both; else the body and none.

    Such an object has the members `records` and `addenda`, and no record has these two alone.

    Raises:
        FormatError: it is neither that nor a record.
        TooManyAddendaError: there are too many.
    """
    if b'"records"' not in body:
        return body, []
    try:
        members = _members(body)
        if "records" not in members or not members.keys() <= {"records", "addenda"}:
            return body, []
        addenda = _elements(members["addenda"]) if "addenda" in members else []
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return body, []  # whoever reads it next says what is wrong with it
    if len(addenda) > MAX_ADDENDA:
        raise TooManyAddendaError(f"addenda: more than {MAX_ADDENDA}")
    records = bytes(members["records"])
    if not records.startswith(b"["):
        raise FormatError("records: expected an array")
    return records, [bytes(one) for one in addenda]


def completed(texts: Sequence[bytes]) -> list[bytes]:
    """The addenda of which a client sent the JSON; BadAddendumError if one is none."""
    addenda: list[bytes] = []
    for number, text in enumerate(texts):
        try:
            addenda.append(complete_addendum(text, "addendum"))
        except FormatError as error:
            raise BadAddendumError(number, str(error).removeprefix("addendum: ")) from error
    return addenda


def matching(
    records: Sequence[bytes],
    came: AddendaSection | Sequence[bytes],
    text: bytes,
    withheld: BatchWithholding | None = None,
) -> Generator[None, None, Sent | None]:
    """Finds for each addendum the record that names it, in steps; None where nothing is withheld.

    The records are valid, and somewhere in `text`. What came is behind a batch, or is a list of
    addenda. `withheld` is what the check of them told, so that they need not be read again. Costs
    half a microsecond a record where each withholds one member and the addenda come in the same
    order, a few otherwise, and without addenda next to nothing. Raises BadAddendumError if no
    record names one, or it comes twice.
    """
    if isinstance(came, AddendaSection):
        digests = came.digests
        if withheld is not None and (pack := _pack(len(records), came, withheld)) is not None:
            return Sent.packed(pack)
    else:
        digests = (yield from _digests_of(came)) if came else []
    if not digests:
        if withheld is not None and withheld.without == len(records):
            return None  # without looking for a word in megabytes
        if KEPT not in text:
            return None
    each = {} if withheld is None else withheld.each()
    named, expected = yield from _namings(records, each, looks_at_all=bool(digests))
    named_by = [named.get(digest) for digest in digests]
    known = {*digests}
    if None in named_by or len(known) != len(digests):
        raise _refusal(digests, named)
    addenda = came.addenda() if isinstance(came, AddendaSection) else came
    found = [*map(_addendum, digests, addenda, named_by)]
    absent = {digest: at for digest, at in expected.items() if digest not in known}
    return Sent(found, absent) if found or absent else None


def _pack(records: int, came: AddendaSection, withheld: BatchWithholding) -> Pack | None:
    """All that came, if each record withholds one and they are in the same order."""
    digests = came.digests
    if not (
        len(digests) == records >= LEAST_PACKED
        and len(came.data) <= MOST_PACKED * records
        and withheld.is_one_of_each(records)
        and b"".join(digests) == withheld.digests
        and len({*digests}) == records
    ):
        return None
    subjects = _keys.joined(withheld.types, withheld.subjects)
    return Pack(came.data, came.ends, digests, subjects, withheld.runs)


def _namings(
    records: Sequence[bytes], withheld: Mapping[int, Withheld], *, looks_at_all: bool
) -> Generator[None, None, tuple[dict[bytes, Naming | Withheld], dict[bytes, int]]]:
    """By digest: the first record that names it, and the number of one whose log has to keep it."""
    named: dict[bytes, Naming | Withheld] = {}
    expected: dict[bytes, int] = {}
    effort = 0
    for entry, record in enumerate(records):
        if effort > _EFFORT:
            effort = 0
            yield
        if (usual := withheld.get(entry)) is not None:
            effort += _USUAL_EFFORT
            digests: Iterable[bytes] = [
                usual[0][at : at + _SIZE] for at in range(0, len(usual[0]), _SIZE)
            ]
            is_kept = usual[3] is not None
            by: Naming | Withheld = usual
        elif looks_at_all or KEPT in record:
            effort += _RECORD_EFFORT
            by = read_naming(record)
            digests, is_kept = digests_in(by), by.kept is not None
        else:
            continue
        for digest in digests:
            named.setdefault(digest, by)
            if is_kept:
                expected.setdefault(digest, entry)
    return named, expected


def _refusal(digests: Sequence[bytes], named: Mapping[bytes, object]) -> BadAddendumError:
    """Why not all of these can be taken: the first that cannot."""
    seen: set[bytes] = set()
    for number, digest in enumerate(digests):
        if digest not in named:
            return BadAddendumError(number, f"no record of this request names {digest.hex()}")
        if digest in seen:
            return BadAddendumError(number, "came before in this request")
        seen.add(digest)
    raise AssertionError("all can be taken")


def _digests_of(addenda: Sequence[bytes]) -> Generator[None, None, list[bytes]]:
    digests: list[bytes] = []
    effort = 0
    for data in addenda:
        effort += len(data) + 256
        if effort > _EFFORT:
            effort = 0
            yield
        is_short = len(data) <= _EFFORT
        digests.append(sha256(data).digest() if is_short else (yield from _hashing(data)))
    return digests


def _hashing(data: bytes) -> Generator[None, None, bytes]:
    hashing = sha256()
    with memoryview(data) as view:
        for start in range(0, len(data), _EFFORT):
            hashing.update(view[start : start + _EFFORT])
            yield
    return hashing.digest()


def _addendum(digest: bytes, data: bytes, named_by: Naming | Withheld | None) -> Addendum:
    if isinstance(named_by, tuple):
        _, type_, id_, _, run = named_by
        subject = subject_key_of(type_, id_)
        return Addendum(digest, data, subject, None if run is None else run.decode(), ())
    assert named_by is not None  # noqa: S101  # looked at before
    request, key = named_by.request, None
    if request is not None:
        key = subject_key(request.subject.type, request.subject.id)
    labels: tuple[str, ...] = ()
    if named_by.artifact is not None and named_by.artifact.governance is not None:
        labels = tuple(f"{name}={text}" for name, text in named_by.artifact.governance.items())
    return Addendum(digest, data, key, named_by.execution, labels)
