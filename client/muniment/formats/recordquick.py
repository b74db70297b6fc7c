"""A whole batch of plain records (design section 3.1), read and checked at once.

This is the fast path of logging and auditing. One call decodes all records into types, one call
encodes them again, one comparison of bytes shows that all were canonical: half of what it costs
record by record. It only ever accepts. A batch with one record that is out of the ordinary is not
judged here at all; it goes record by record (`recordcodec`), where the complete check has the last
word.
"""

from collections.abc import Sequence
from typing import Final

from msgspec.json import Decoder

from muniment.formats.encoding import FormatError, check_key_name
from muniment.formats.recordcheck import check_rules
from muniment.formats.recordguards import ENCODER, UNDECIDED, needs_care, plain_float
from muniment.formats.recordshape import PlainDecision, Shaped

_decode_lines: Final = Decoder(Shaped, float_hook=plain_float).decode_lines


def read_plain(entries: Sequence[bytes]) -> list[Shaped] | None:
    """Reads entries that are all canonical, valid records, as most are.

    Whose records they are, the caller compares.

    Returns:
        The records, in order. None when that is not certain, for one of them at least: then nothing
        is said of any.
    """
    if not entries:
        return []
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
            ):
                check_rules(record)
        else:
            check_rules(record)
    text = "".join(ids)
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise FormatError("id: expected visible ASCII characters only")
