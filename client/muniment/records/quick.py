"""A whole batch of plain records, read and checked at once.

This is the fast path of logging and auditing, in two steps. A pattern recognises usual decisions
(`forms`). What is left is decoded into types by one call and encoded again by another, and
one comparison of bytes shows that all were canonical: half of what it costs record by record. Both
only ever accept. A batch with one record that is out of the ordinary is not judged here at all; it
goes record by record (`codec`), where the complete check has the last word.
"""

from collections.abc import Sequence
from typing import Final

from msgspec.json import Decoder

from muniment.records.check import check_rules
from muniment.records.forms import BatchWithholding, Forms, Usual
from muniment.records.guards import ENCODER, UNDECIDED, needs_care, plain_float
from muniment.records.shape import PlainDecision, Shaped
from muniment.tlog.encoding import FormatError, check_key_name

AT_ONCE: Final = 64
"""Records decoded together: what they become still fits into a processor's own cache."""

_decode_lines: Final = Decoder(Shaped, float_hook=plain_float).decode_lines


def read_plain(
    entries: Sequence[bytes],
    forms: Forms | None,
    withheld: BatchWithholding | None = None,
    first: int = 0,
) -> list[Usual | Shaped] | None:
    """Reads entries that are all canonical, valid records, as most are.

    Whose records they are, the caller compares, see `producers`. `forms` is what whoever checks has
    learned of usual decisions, and learns more of here; `withheld` and `first` are for
    `Forms.read`. Returns the records, in order; None when that is not certain, for one of them at
    least: then nothing is said of any.
    """
    found: list[Usual | Shaped | None] = [None] * len(entries)
    if forms is not None:
        found = [*forms.read(entries, withheld, first)]
    rest = [at for at, one in enumerate(found) if one is None]
    for start in range(0, len(rest), AT_ONCE):
        places = rest[start : start + AT_ONCE]
        shaped = _read_shaped([entries[at] for at in places])
        if shaped is None:
            return None
        if forms is not None:
            forms.learn(shaped)
        for at, one in zip(places, shaped, strict=True):
            found[at] = one
    return found  # type: ignore[return-value]  # no None is left


def producers(records: Sequence[Usual | Shaped]) -> set[str]:
    """Who records are from that `read_plain` has read."""
    usual = {record[2] for record in records if isinstance(record, tuple)}
    others = {record.producer for record in records if not isinstance(record, tuple)}
    return others.union(map(bytes.decode, usual))


def _read_shaped(entries: Sequence[bytes]) -> list[Shaped] | None:
    """Reads entries into types, or says nothing of any, see `read_plain`."""
    joined = b"\n".join(entries) + b"\n"
    try:
        records = _decode_lines(joined)
        # The encoder writes no newline inside a record. So bytes that are equal, and as many
        # records as entries, mean that each entry is what its record is written as.
        if (
            len(records) != len(entries)
            or ENCODER.encode_lines(records) != joined
            or needs_care(entries, joined)
        ):
            return None
        _check_rules(records)
        for producer in {record.producer for record in records}:
            check_key_name(producer, "producer")
    except (*UNDECIDED, FormatError):
        return None
    return records


def _check_rules(records: Sequence[Shaped]) -> None:
    ids: list[str] = []
    for record in records:
        if isinstance(record, PlainDecision):
            ids.append(record.id)
            if record.execution is not None:
                ids.append(record.execution)
            if (
                record.denial is not None
                or record.artifact is not None
                or record.signatures is not None
                or record.addenda is not None
                or record.kept is not None
            ):
                check_rules(record)
        else:
            check_rules(record)
    text = "".join(ids)
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise FormatError("id: expected visible ASCII characters only")
