"""Engines are sent the numbers that are recorded, however a client has written them."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions import request
from mcp_policy import Policy
from muniment.http.client import HttpSession
from muniment.permit.meta import META_KEY
from muniment.records.canonical import MAX_SAFE_INTEGER, canonicalize, encode_canonical
from muniment_gateway.authorities import Authority, AuthorityEntry
from muniment_gateway.core.anyjson import parse_any, whole_number, whole_numbers
from muniment_gateway.core.proxied import Identity, Proxied, ProxyRules
from muniment_gateway.core.search import check_search
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.deciding.searches import Searches
from muniment_gateway.engines.make import make_engine
from muniment_gateway.engines.opa import request_of
from muniment_gateway.engines.port import PassedOn, UnfitError
from muniment_gateway.mcp.gate import McpGate, McpRules
from muniment_gateway.mcp.mapping import Caller, Declared
from muniment_gateway.mcp.messages import read_message
from muniment_gateway.mcp.passage import PassedMessage
from muniment_service.metrics import Metrics
from stand import Answer, Asked, Stand

SPELLINGS = {
    "10.0": b"10",
    "1e1": b"10",
    "0.1E+2": b"10",
    "-0.0": b"0",
    "-0": b"0",
    "-1.00": b"-1",
    "0.50": b"0.5",
    "1e-6": b"0.000001",
    "1E-7": b"1e-7",
    "1e21": b"1e+21",
    "9007199254740991.0": b"9007199254740991",
    '[1e1,{"z":2.0,"a":[-0.0]}]': b'[10,{"a":[0],"z":2}]',
}
"""What a client may write, and what records have of it."""

NOT_RECORDED = ("9007199254740992", "123456789012345678901234567890")

FOUND = b'{"decision":true,"results":[],"result":true}'


def text(number: str) -> bytes:
    """An evaluation with a number in each place that has any, its members in no order."""
    return (
        b'{"subject":{"type":"user","id":"alice","properties":{"level":N}},"action":{"name":"read",'
        b'"properties":{"n":N}},"resource":{"id":"1","type":"record","properties":{"n":N}},'
        b'"context":{"n":N,"a":true}}'
    ).replace(b"N", number.encode())


@pytest.fixture
async def http() -> AsyncIterator[HttpSession]:
    async with HttpSession(headers={}) as session:
        yield session


async def sent(http: HttpSession, kind: Any, body: Any, **entry: Any) -> bytes:
    """What an engine of a kind, at a URL, is sent about a request."""
    with Stand(lambda _: Answer(200, FOUND)).serve() as stand:
        made = Authority(AuthorityEntry(name="pdp", kind=kind, **entry), stand.url())
        await make_engine(made, http).evaluate(body, PassedOn({}))
        return stand.asked[0].body


@pytest.mark.parametrize("kind", ["authzen", "cerbos"])
@pytest.mark.parametrize("number", SPELLINGS)
async def test_a_pdp_is_sent_what_is_recorded(http: HttpSession, kind: str, number: str) -> None:
    body = text(number)
    asked = await sent(http, kind, parse_any(body, "body"))
    assert asked == canonicalize(body, "body")
    assert asked.count(SPELLINGS[number]) == 4


@pytest.mark.parametrize("number", SPELLINGS)
async def test_an_opa_is_sent_what_is_recorded(number: str) -> None:
    with Stand(lambda _: Answer(200, b'{"result":true}')).serve() as stand:
        async with HttpSession(headers={}) as http:
            url = stand.url(path="/v1/data/authz/allow")
            opa = make_engine(Authority(AuthorityEntry(name="opa", kind="opa"), url), http)
            for input_ in (text(number), number.encode(), b'{"n":%s}' % number.encode()):
                asked = request_of("authz/allow", parse_any(input_, "input"), "")
                # Its list of policies is answered with no list, which is no answer.
                with pytest.raises(Exception, match="lists no policies"):
                    await opa.evaluate(asked, PassedOn({}))
                expected = b'{"input":%s}' % canonicalize(input_, "input")
                assert [one.body for one in stand.asked if one.method == "POST"][-1] == expected


@pytest.mark.parametrize("number", SPELLINGS)
async def test_a_command_is_given_what_is_recorded(
    http: HttpSession, tmp_path: Path, number: str
) -> None:
    path = tmp_path / "given"
    program = (
        f"import sys; open({str(path)!r}, 'wb').write(sys.stdin.buffer.read());"
        "print('{\"decision\":true}')"
    )
    entry = AuthorityEntry(name="it", kind="command", command=(sys.executable, "-c", program))
    engine = make_engine(Authority(entry), http)
    await engine.evaluate(parse_any(text(number), "body"), PassedOn({}))
    assert path.read_bytes() == canonicalize(text(number), "body")


async def test_cedar_decides_on_what_is_recorded(http: HttpSession, tmp_path: Path) -> None:
    pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")
    policies = tmp_path / "authz.cedar"
    policies.write_text(
        "permit(principal, action, resource)\n"
        "when { context.n == 10 && principal.level == 10 && resource.n == 10 };\n"
    )
    entry = AuthorityEntry(name="cedar", kind="cedar", policies=(policies,))
    cedar = make_engine(Authority(entry), http)
    for number in ("10", "10.0", "1e1", "0.1E+2"):
        found = await cedar.evaluate(parse_any(text(number), "body"), PassedOn({}))
        assert found.response["decision"] is True
    found = await cedar.evaluate(parse_any(text("-0.0"), "body"), PassedOn({}))
    assert found.response["decision"] is False
    for number in ("10.5", "1e21"):
        with pytest.raises(UnfitError, match="no integer"):
            await cedar.evaluate(parse_any(text(number), "body"), PassedOn({}))


@pytest.mark.parametrize("kind", ["authzen", "cerbos", "opa", "command", "cedar"])
async def test_what_no_record_can_hold_is_sent_to_nobody(
    http: HttpSession, tmp_path: Path, kind: Any
) -> None:
    policies = tmp_path / "authz.cedar"
    policies.write_text("permit(principal, action, resource);")
    with Stand(lambda _: Answer(200, FOUND)).serve() as stand:
        entry = AuthorityEntry(name="pdp", kind=kind, policies=(policies,), command=("/nothing",))
        engine = make_engine(Authority(entry, stand.url()), http)
        for number in ("9007199254740992", "-123456789012345678901234567890"):
            with pytest.raises(UnfitError):
                await engine.evaluate(parse_any(text(number), "body"), PassedOn({}))
        assert not stand.asked


@pytest.mark.parametrize("number", [*SPELLINGS, *NOT_RECORDED])
async def test_a_search_asks_with_the_numbers_of_an_evaluation(
    http: HttpSession, number: str
) -> None:
    async def no_metadata() -> dict[str, Any]:
        return {}

    def respond(_: Asked) -> Answer:
        return Answer(200, FOUND)

    with Stand(respond).serve() as stand:
        pdp = Authority(AuthorityEntry(name="pdp", kind="authzen"), stand.url())
        searches = Searches([pdp], http, no_metadata, Metrics("test"))
        asked = check_search("action", parse_any(text(number), "body"))
        await searches.search("action", asked, PassedOn({}))
        body = stand.asked[0].body
    if number in SPELLINGS:
        assert body == encode_canonical(asked)
    else:  # no evaluation of it would be decided; a search decides nothing
        assert parse_any(body, "body") == asked


@pytest.mark.parametrize("number", SPELLINGS)
async def test_an_engine_is_sent_the_arguments_of_a_proxied_request(
    http: HttpSession, number: str
) -> None:
    rules = ProxyRules("edge", Identity.of("header:X-User"), body="json")
    body = b'{"z":true,"n":%s}' % number.encode()
    headers = {"x-user": "ada", "content-length": str(len(body))}
    asked = rules.request(Proxied("POST", "/pay", "api.example", headers, body=body))
    expected = b'"context":{"arguments":%s,' % canonicalize(body, "body")
    assert expected in await sent(http, "authzen", asked)


MAPPING = {
    "evaluation": {
        "action": {"name": "$params.name"},
        "resource": {"type": "tool", "id": "$params.name"},
        "context": {"amount": "$params.arguments.amount"},
    }
}


@pytest.mark.parametrize("declared", [None, Declared({"pay": MAPPING})])
async def test_a_tool_gets_the_numbers_that_were_decided_on(declared: Declared | None) -> None:
    policy = Policy()
    gate = McpGate(policy, policy, McpRules(declared=declared))
    message = read_message(
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":'
        b'{"z":[1e1,-0.0],"amount":10.0,"half":0.5,"id":1152921504606846976,"far":1e16}}}'
    )
    passage = await gate.judge(message, Caller({"sub": "alice", "aud": "t"}), RequestDetails())
    assert isinstance(passage, PassedMessage)
    passed = read_message(passage.data).params
    assert META_KEY in passed["_meta"]
    # Its integers stay exact, and so do floats of which an integer would say more than is known.
    wanted = {"z": [10, 0], "amount": 10, "half": 0.5, "id": 2**60, "far": 1e16}
    assert repr(passed["arguments"]) == repr(wanted)
    [asked] = policy.asked
    shown = {**wanted, "id": {"$integer": str(2**60)}, "far": {"$float": "1e+16"}}
    assert repr(asked["context"]["arguments"]) == repr(shown)
    assert repr(asked["context"].get("amount", 10)) == "10"
    await passage.end("completed")


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(FLOATS | st.integers().map(float))
def test_a_whole_float_is_the_integer_of_its_canonical_form(value: float) -> None:
    found = whole_number(value)
    assert found == value
    is_integer = encode_canonical(value).lstrip(b"-").isdigit() and abs(value) <= MAX_SAFE_INTEGER
    assert isinstance(found, int) is is_integer
    assert encode_canonical(found) == encode_canonical(value)


@given(
    st.recursive(
        FLOATS | st.booleans() | st.none() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
    )
)
def test_nothing_else_of_a_value_changes(value: Any) -> None:
    assert encode_canonical(whole_numbers(value)) == encode_canonical(value)
    assert whole_numbers(request("alice")) == request("alice")
