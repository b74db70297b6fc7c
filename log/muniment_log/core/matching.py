"""The addenda that come with a request, and the records of it that name them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import MsgspecError, Raw
from msgspec.json import Decoder

from muniment.records.addenda import complete_addendum
from muniment.records.batchbody import MAX_ADDENDA, AddendumError, split_addenda
from muniment.tlog.encoding import FormatError
from muniment_log.core.addenda import Addendum, BadAddendumError, Sent, TooManyAddendaError
from muniment_log.core.naming import KEPT, names_of, read_naming, subject_key

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from muniment_log.core.naming import Naming

_EFFORT: Final = 1 << 20  # bytes of addenda that are hashed in one step: a millisecond
_RECORD_EFFORT: Final = 4096  # what reading a record counts for

_members: Final = Decoder(dict[str, Raw]).decode
_elements: Final = Decoder(list[Raw]).decode


def unpacked(section: bytes) -> list[bytes]:
    """The addenda behind a batch.

    Raises:
        BadAddendumError: one is empty, too long or cut off.
        TooManyAddendaError: they are too many, or too long together.
    """
    try:
        return split_addenda(section)
    except AddendumError as error:
        raise BadAddendumError(error.number, error.reason) from error
    except FormatError as error:
        raise TooManyAddendaError(str(error)) from error


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
    records: Sequence[bytes], addenda: Sequence[bytes], text: bytes
) -> Generator[None, None, Sent | None]:
    """Finds for each addendum the record that names it, in steps; None where nothing is withheld.

    The records are valid, and somewhere in `text`. Costs two microseconds a record, and without
    addenda next to nothing. Raises BadAddendumError if no record names one, or it comes twice.
    """
    if not addenda and KEPT not in text:
        return None
    named: dict[str, Naming] = {}  # by digest in hexadecimal digits
    expected: dict[str, int] = {}
    effort = 0
    for entry, record in enumerate(records):
        if effort > _EFFORT:
            effort = 0
            yield
        effort += _RECORD_EFFORT
        if not addenda and not _says_kept(record):
            continue
        naming = read_naming(record)
        for name in names_of(naming):
            named.setdefault(name, naming)
            if naming.kept is not None:
                expected.setdefault(name, entry)
    found: dict[str, Addendum] = {}
    for number, data in enumerate(addenda):
        if effort > _EFFORT:
            effort = 0
            yield
        effort += len(data) + 256
        is_short = len(data) <= _EFFORT
        digest = sha256(data).digest() if is_short else (yield from _hashing(data))
        name = digest.hex()
        if (named_by := named.get(name)) is None:
            raise BadAddendumError(number, f"no record of this request names {name}")
        if name in found:
            raise BadAddendumError(number, "came before in this request")
        found[name] = _addendum(digest, data, named_by)
    absent = {bytes.fromhex(name): at for name, at in expected.items() if name not in found}
    return Sent([*found.values()], absent) if found or absent else None


def _says_kept(record: bytes) -> bool:
    return KEPT in record


def _hashing(data: bytes) -> Generator[None, None, bytes]:
    hashing = sha256()
    with memoryview(data) as view:
        for start in range(0, len(data), _EFFORT):
            hashing.update(view[start : start + _EFFORT])
            yield
    return hashing.digest()


def _addendum(digest: bytes, data: bytes, naming: Naming) -> Addendum:
    request, subject = naming.request, None
    if request is not None:
        subject = subject_key(request.subject.type, request.subject.id)
    labels: tuple[str, ...] = ()
    if naming.artifact is not None and naming.artifact.governance is not None:
        labels = tuple(f"{name}={text}" for name, text in naming.artifact.governance.items())
    return Addendum(digest, data, subject, naming.execution, labels)
