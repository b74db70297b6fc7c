"""Envoy's messages, as their bytes are on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.tlog.encoding import FormatError
from muniment_gateway.deciding.proxied import ProxyAnswer

pytest.importorskip("google.protobuf", reason="the extra `envoy` is not installed")

from muniment_gateway.envoy.messages import Messages

MESSAGES = Messages()


def field(number: int, *values: bytes | str) -> bytes:
    """Fields of one number, of the wire type for what has a length."""
    out = b""
    for value in values:
        data = value.encode() if isinstance(value, str) else value
        assert len(data) < 128
        out += bytes([number << 3 | 2, len(data)]) + data
    return out


def entry(key: str, value: str | bytes) -> bytes:
    return field(1, key) + field(2, value)


def asked(http: bytes, *more: bytes) -> bytes:
    return b"".join([b"\x0a", _size(attributes := field(4, field(2, http)) + b"".join(more)),
                     attributes])  # fmt: skip


def _size(data: bytes) -> bytes:
    return bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])


def test_a_question_is_read_by_envoys_numbers() -> None:
    address = field(1, field(1, field(2, "10.0.0.1")))
    struct = field(1, entry("who", field(3, "ada")))
    http = field(2, "GET") + field(3, entry("X-User", "ada")) + field(4, "/a?b") + field(5, "h")
    told = MESSAGES.read(
        asked(
            http + field(11, "body"),
            field(1, address + field(4, "spiffe://a")),
            field(10, entry("k", "v")),
            field(11, field(1, entry("jwt", struct))),
        )
    )
    assert (told.method, told.target, told.host) == ("GET", "/a?b", "h")
    assert told.headers == {"x-user": "ada"}
    assert (told.source, told.principal, told.body) == ("10.0.0.1", "spiffe://a", b"body")
    assert (told.extensions, told.metadata) == ({"k": "v"}, {"jwt": {"who": "ada"}})
    told = MESSAGES.read(asked(field(12, b"\xff"), field(12, field(1, "sni.example"))))
    assert (told.body, told.sni) == (b"\xff", "sni.example")


def test_headers_in_a_list_are_joined_where_they_come_twice() -> None:
    """With `encode_raw_headers` Envoy does not join them itself."""
    listed = field(1, field(1, "x-user") + field(2, "a"), field(1, "X-User") + field(3, b"\xe4"))
    assert MESSAGES.read(asked(field(13, listed))).headers == {"x-user": "a,ä"}


def test_answers_are_written_by_envoys_numbers() -> None:
    allowed = MESSAGES.write(ProxyAnswer(allows=True, headers={"Muniment-Permit": "p"}))
    header = field(1, field(1, "muniment-permit") + field(2, "p")) + b"\x18\x02"
    removed = field(5, "muniment-evaluation", "muniment-client")
    assert allowed == field(1, b"") + field(3, field(2, header) + removed)
    denied = MESSAGES.write(ProxyAnswer(allows=False, headers={"Content-Type": "c"}, body=b"{}"))
    header = field(1, field(1, "content-type") + field(2, "c")) + b"\x18\x02"
    status = field(1, b"\x08\x93\x03")  # 403
    assert denied == field(1, b"\x08\x07") + field(2, status + field(2, header) + field(3, "{}"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_question_or_a_format_error(data: bytes) -> None:
    try:
        told = MESSAGES.read(data)
    except FormatError:
        return
    assert isinstance(told.method, str)


def test_a_question_of_many_levels_is_refused() -> None:
    deep = b"\x1a\x00"
    for _ in range(200):
        listed = b"\x0a" + _size(deep) + deep  # a ListValue with one Value
        deep = b"\x32" + _size(listed) + listed  # and a Value with that
    struct = b"\x0a\x01k\x12" + _size(deep) + deep
    listed = b"\x0a" + _size(struct) + struct
    named = b"\x0a\x01n\x12" + _size(listed) + listed
    metadata = b"\x0a" + _size(named) + named
    with pytest.raises(FormatError):
        MESSAGES.read(asked(b"", b"\x5a" + _size(metadata) + metadata))
