"""Plain JSON made into records (design section 3.2): what curl, an OPA server or NDJSON brings.

Accepted, besides records that lack common members, are OpenID AuthZEN 1.0 evaluation pairs, and
the lines of the AuthZEN interop suite, which state the expected decision in place of a response.
"""

from collections.abc import Callable
from typing import Any

from muniment.formats.canonical import MAX_TEXT, parse_json
from muniment.formats.encoding import FormatError
from muniment.formats.recordcodec import RecordError, encode_members


def complete_record(data: bytes, *, producer: str, now_ms: int, new_id: Callable[[], str]) -> bytes:
    """Completes one JSON object to a record, and brings it into canonical form.

    Fills in `v`, `id`, `time` and `producer` where they are missing, and changes nothing that is
    there. An object without `kind` is read by `decision_of_evaluation`.

    Args:
        data: A JSON object in any spelling.
        producer: The key name of the record's producer.
        now_ms: Unix milliseconds, the `time` of a record without one.
        new_id: Makes a fresh id, unique for the producer.

    Returns:
        The bytes of a valid record.

    Raises:
        FormatError: If the text is not an I-JSON object, states another producer, or is not a
            valid record when completed; the message names the member.
    """
    value = parse_json(data, "record")
    return _complete(value, producer=producer, now_ms=now_ms, new_id=new_id)


def complete_records(
    data: bytes,
    *,
    producer: str,
    now_ms: int,
    new_id: Callable[[], str],
    most: int = MAX_TEXT,
) -> list[bytes]:
    """Completes a JSON object, or each object of a JSON array; see `complete_record`.

    Args:
        data: A JSON object or array of objects, in any spelling.
        producer: The key name of the records' producer.
        now_ms: Unix milliseconds, the `time` of records without one.
        new_id: Makes a fresh id, unique for the producer.
        most: Largest length of `data` accepted, in bytes.

    Returns:
        The bytes of the records, at least one, in the order of the array.

    Raises:
        RecordError: For the first object that is no record, with its number from 0.
        FormatError: If the text is not I-JSON, or an empty array.
    """
    value = parse_json(data, "records", most=most)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise FormatError("records: an empty array")
    records: list[bytes] = []
    for number, one in enumerate(values):
        try:
            records.append(_complete(one, producer=producer, now_ms=now_ms, new_id=new_id))
        except FormatError as error:
            raise RecordError(number, str(error).removeprefix("record: ")) from None
    return records


def decision_of_evaluation(members: dict[str, Any]) -> dict[str, Any]:
    """Makes the members of a decision record of an AuthZEN evaluation.

    Two forms are read; further members that a decision may have (`execution`, `artifact`, …) stay:

    - ``{"request": {…}, "response": {"decision": …, …}}``: request and response verbatim;
    - ``{"request": {…}, "expected": true|false}``, the AuthZEN interop suite's: the response is
      ``{"decision": expected}``.

    A decision of false without a denial gets the code `denied_by_policy`, the plain no.

    Raises:
        FormatError: If the object has neither form.
    """
    rest = dict(members)
    request = rest.pop("request", None)
    if "expected" in rest and "response" in rest:
        raise FormatError("expected: not together with response")
    response = {"decision": rest.pop("expected")} if "expected" in rest else rest.pop("response", 0)
    if not isinstance(request, dict) or not isinstance(response, dict):
        raise FormatError("kind: missing, and there is no AuthZEN request with a response")
    if response.get("decision") is False:
        rest.setdefault("denial", {"codes": ["denied_by_policy"]})
    return {"kind": "decision", "request": request, "response": response, **rest}


def _complete(value: Any, *, producer: str, now_ms: int, new_id: Callable[[], str]) -> bytes:
    if not isinstance(value, dict):
        raise FormatError("record: expected an object")
    try:
        members = value if "kind" in value else decision_of_evaluation(value)
        if members.get("producer", producer) != producer:
            raise FormatError(f"producer: expected {producer!a}, or none")
        common = {"v": 1, "time": now_ms, "producer": producer}
        if "id" not in members:
            common["id"] = new_id()
    except FormatError as error:
        raise FormatError(f"record: {error}") from None
    return encode_members(common | members)
