"""Messages of MCP as the gate reads them, their headers, and what a denied call is answered."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.permit.meta import META_KEY, meta_of, read_meta
from muniment.tlog.encoding import FormatError
from muniment_gateway.mcp.headers import check_headers, decode_header
from muniment_gateway.mcp.messages import (
    DENIED,
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    VERSION_KEY,
    Message,
    MessageError,
    error_answer,
    read_message,
    with_meta,
)
from muniment_gateway.mcp.refusals import refusal

VERSION = "2026-07-28"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
IDS = st.text(max_size=64) | st.integers(-(2**63), 2**63 - 1)


def request(method: str = "tools/call", *, modern: bool = True, id_: Any = 1, **params: Any) -> Any:
    if modern:
        params["_meta"] = {VERSION_KEY: VERSION, **params.get("_meta", {})}
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def read(value: object) -> Message:
    return read_message(json.dumps(value).encode())


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_a_message_or_the_one_error_whose_answer_is_a_message(
    data: bytes,
) -> None:
    try:
        message = read_message(data)
    except MessageError as error:
        message = read_message(error.answer())
        is_told = message.kind == "response" and message.value["error"]["code"] == error.code
    else:
        is_told = True
    assert is_told
    assert json.loads(message.data) == message.value


@given(IDS, JSON, st.dictionaries(st.text(), JSON, max_size=3))
def test_a_permit_changes_nothing_but_its_own_member(
    id_: str | int, arguments: Any, meta: dict[str, Any]
) -> None:
    sent = request(id_=id_, name="add", arguments=arguments, _meta=meta)
    message = read(sent)
    found = json.loads(with_meta(message, META_KEY, {"permits": []}))
    assert found["params"]["_meta"].pop(META_KEY) == {"permits": []}
    sent["params"]["_meta"].pop(META_KEY, None)
    assert found == sent
    assert type(found["id"]) is type(id_)


def test_without_a_permit_the_bytes_stay_and_a_clients_own_claim_goes() -> None:
    plain = b'{ "jsonrpc":"2.0","id":1.0e0,"method":"x" }'
    with pytest.raises(MessageError, match="id"):
        read_message(plain)
    message = read_message(b'{ "jsonrpc":"2.0", "id":1, "method":"x","params":{"a":1E2} }\n')
    assert with_meta(message, META_KEY, None) == message.data
    forged = read(request(name="add", _meta={META_KEY: "mine"}))
    assert json.loads(with_meta(forged, META_KEY, None))["params"]["_meta"] == {
        VERSION_KEY: VERSION
    }


@pytest.mark.parametrize(
    ("data", "code", "id_"),
    [
        (b"", PARSE_ERROR, None),
        (b"{", PARSE_ERROR, None),
        (b"\xff", PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}', PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":NaN}}', PARSE_ERROR, None),
        (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", PARSE_ERROR, None),
        (b"[]", INVALID_REQUEST, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"a"}]', INVALID_REQUEST, None),
        (b"7", INVALID_REQUEST, None),
        (b'{"id":7,"method":"a"}', INVALID_REQUEST, 7),
        (b'{"jsonrpc":"2.0","id":true,"method":"a"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"a"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":[1],"method":"a"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":"x","method":7}', INVALID_REQUEST, "x"),
        (b'{"jsonrpc":"2.0","id":"x","method":"a","result":{}}', INVALID_REQUEST, "x"),
        (b'{"jsonrpc":"2.0","id":"x","method":"a","params":[1]}', INVALID_PARAMS, "x"),
        (b'{"jsonrpc":"2.0","id":2,"method":"a","params":{"_meta":1}}', INVALID_PARAMS, 2),
        (b'{"jsonrpc":"2.0","id":2,"result":1,"error":{}}', INVALID_REQUEST, 2),
        # Go and .NET read these as the members that they name, and the last one counts.
        (b'{"jsonrpc":"2.0","id":2,"method":"ping","Method":"tools/call"}', INVALID_REQUEST, 2),
        (b'{"jsonrpc":"2.0","method":"a","ID":7}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":2,"method":"a","Param\xc5\xbf":{}}', INVALID_REQUEST, 2),
        (b'{"jsonrpc":"2.0","result":1}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":"%s","method":"a"}' % (b"x" * 1025), INVALID_REQUEST, None),
    ],
)
def test_what_is_no_message_gets_the_protocols_error(data: bytes, code: int, id_: object) -> None:
    with pytest.raises(MessageError) as found:
        read_message(data)
    assert (found.value.code, found.value.id) == (code, id_)
    assert json.loads(found.value.answer())["id"] == id_


def test_a_message_is_bounded_before_it_is_parsed() -> None:
    with pytest.raises(MessageError, match="more than 8 bytes"):
        read_message(b'"' * 9, most=8)


def test_kinds_and_ids() -> None:
    assert read({"jsonrpc": "2.0", "method": "notifications/x"}).kind == "notification"
    assert read({"jsonrpc": "2.0", "id": 1, "result": {}}).kind == "response"
    assert read({"jsonrpc": "2.0", "id": None, "error": {"code": 1}}).kind == "response"
    assert read(request(id_=1)).key != read(request(id_="1")).key
    assert not read(request(modern=False)).is_modern
    assert read(request()).is_modern


TOLD = {"codes": ["denied_by_policy"], "reasons": ["no \ud800"], "evaluation_id": "e-1", "index": 4}


def test_a_denied_call_is_a_result_that_the_model_reads() -> None:
    answer = json.loads(refusal(read(request(id_="7", name="add")), TOLD))
    assert answer["id"] == "7"
    assert answer["result"]["isError"] is True
    assert answer["result"]["resultType"] == "complete"
    [content] = answer["result"]["content"]
    assert content == {"type": "text", "text": "Denied (denied_by_policy): no \\ud800"}
    assert answer["result"]["_meta"][META_KEY] == {
        "codes": ["denied_by_policy"], "evaluation_id": "e-1", "index": 4,
    }  # fmt: skip
    legacy = json.loads(refusal(read(request(modern=False, name="add")), TOLD))
    assert "resultType" not in legacy["result"]


@pytest.mark.parametrize(
    ("codes", "code"),
    [(["denied_by_policy"], DENIED), (["could_not_evaluate"], INTERNAL_ERROR)],
)
def test_another_denied_method_is_the_error_that_coaz_names(codes: list[str], code: int) -> None:
    answer = json.loads(refusal(read(request("prompts/get", name="p")), {"codes": codes}))
    assert answer["error"]["code"] == code
    # A client's own timeout has the same code: this tells them apart.
    assert answer["error"]["data"][META_KEY]["codes"] == codes


def headers(**more: str | None) -> list[tuple[str, str]]:
    found = {"MCP-Protocol-Version": VERSION, "Mcp-Method": "tools/call", "Mcp-Name": "add"}
    found |= {name.replace("_", "-"): value for name, value in more.items()}
    return [(name, value) for name, value in found.items() if value is not None]


def test_headers_that_repeat_the_body_pass() -> None:
    check_headers(read(request(name="add")), headers())
    check_headers(read(request(modern=False, name="add")), [("accept", "x")])
    check_headers(read(request(modern=False, name="add")), [("mcp-protocol-version", "2025-11-25")])
    check_headers(read(request(name="Zeü")), headers(Mcp_Name="=?base64?WmXDvA==?="))
    check_headers(read(request("tools/list")), headers(Mcp_Method="tools/list", Mcp_Name=None))


@pytest.mark.parametrize(
    ("given_headers", "modern"),
    [
        (headers(Mcp_Name=None), True),
        (headers(Mcp_Name="other"), True),
        (headers(Mcp_Name="=?base64?WmXDvA=?="), True),
        (headers(Mcp_Method=None), True),
        (headers(Mcp_Method="tools/list"), True),
        (headers(MCP_Protocol_Version=None), True),
        ([("MCP-Protocol-Version", "2027-01-01"), *headers(MCP_Protocol_Version=None)], True),
        ([*headers(), ("mcp-NAME", "add")], True),
        ([*headers(), ("mcp-param-x", "1"), ("Mcp-Param-X", "2")], True),
        ([("Mcp-Name", "other")], False),
        ([("Mcp-Method", "tools/list")], False),
    ],
)
def test_a_header_that_lies_is_refused(given_headers: list[tuple[str, str]], modern: bool) -> None:
    with pytest.raises(MessageError) as found:
        check_headers(read(request(name="add", modern=modern)), given_headers)
    assert (found.value.code, found.value.id) == (HEADER_MISMATCH, 1)


def test_a_version_that_asks_for_meta_needs_it() -> None:
    with pytest.raises(MessageError) as found:
        check_headers(read(request(modern=False)), [("mcp-protocol-version", VERSION)])
    assert found.value.code == INVALID_PARAMS


@given(st.text())
def test_a_header_in_base64_is_read_in_its_one_spelling(text: str) -> None:
    import base64

    try:
        coded = base64.b64encode(text.encode()).decode()
    except UnicodeEncodeError:
        return
    assert decode_header(f"=?base64?{coded}?=") == text
    assert decode_header(f"=?base64?{coded} ?=") is None


@given(JSON)
def test_what_travels_in_meta_is_read_or_refused(value: Any) -> None:
    for meta in (value, {META_KEY: value}, {META_KEY: {"permits": value}}):
        with pytest.raises(FormatError):
            read_meta(meta)
    with pytest.raises(FormatError, match="tlog-proof"):
        read_meta({META_KEY: meta_of([("run-1", "no permit")])})


def test_an_error_answer_is_ascii_safe() -> None:
    assert json.loads(error_answer("\ud800", -1, "\ud800"))["id"] is None
