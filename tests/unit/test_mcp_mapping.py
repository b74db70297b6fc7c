"""What is asked of the policy about a request of MCP: the rows of COAZ, and declared mappings."""

import importlib.util
import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.records.canonical import encode_canonical
from muniment_gateway.core.authzen import check_request
from muniment_gateway.mcp.expressions import ABSENT, MAX_LOOPED, ExpressionError, evaluate
from muniment_gateway.mcp.mapping import (
    DECLARED,
    KNOWN,
    MAPPING,
    REMOVED,
    Caller,
    Declared,
    MappingError,
    UnknownMethodError,
    requests_of,
)
from muniment_gateway.mcp.messages import VERSION_KEY, Message, read_message

has_cel = pytest.mark.skipif(
    importlib.util.find_spec("cel") is None, reason="the extra cel is not installed"
)
ALICE = Caller({"sub": "alice", "client_id": "planner", "aud": "mcp.example"})
VARIABLES = {
    "params": {"name": "add", "arguments": {"a": 1, "s": "é", "n": None, "deep": {"x": [1]}}},
    "token": {"sub": "alice", "client_id": "planner"},
}
PARAMS = {
    "name": "n", "uri": "file:///a", "taskId": "t-1", "level": "info", "protocolVersion": "v",
    "ref": {"type": "ref/prompt", "name": "n"},
}  # fmt: skip


def message(method: str = "tools/call", **params: Any) -> Message:
    value = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return read_message(json.dumps(value).encode())


def declared(mapping: Any, tool: str = "copy") -> Declared:
    found = Declared()
    found.learn({"tools": [{"name": tool, "inputSchema": {DECLARED: mapping}}]})
    return found


@pytest.mark.parametrize("method", sorted(KNOWN))
def test_each_known_method_asks_one_thing_in_the_form_of_coaz(method: str) -> None:
    [asked] = requests_of(message(method, **PARAMS), ALICE)
    check_request(asked)
    assert asked["subject"] == {"type": "identity", "id": "alice"}
    assert asked["action"] == {"name": method}
    assert asked["context"]["agent"] == "planner"


@pytest.mark.parametrize(
    ("method", "resource", "context"),
    [
        ("tools/call", {"type": "tool", "id": "n"}, {}),
        ("tools/list", {"type": "mcp_server", "id": "mcp.example"}, {}),
        ("initialize", {"type": "mcp_server", "id": "mcp.example"}, {"protocol_version": "v"}),
        ("logging/setLevel", {"type": "mcp_server", "id": "mcp.example"}, {"level": "info"}),
        ("resources/subscribe", {"type": "resource", "id": "file:///a"}, {}),
        ("prompts/get", {"type": "prompt", "id": "n"}, {}),
        ("tasks/cancel", {"type": "task", "id": "t-1"}, {}),
        ("completion/complete", {"type": "prompt", "id": "n"}, {}),
        ("server/discover", {"type": "mcp_server", "id": "mcp.example"}, {}),
    ],
)
def test_rows(method: str, resource: dict[str, str], context: dict[str, str]) -> None:
    [asked] = requests_of(message(method, **PARAMS), ALICE)
    assert asked["resource"] == resource
    assert asked["context"] == {"agent": "planner", **context}


def test_a_completion_of_a_resource_is_about_that() -> None:
    [asked] = requests_of(
        message("completion/complete", ref={"type": "ref/resource", "uri": "file:///b"}), ALICE
    )
    assert asked["resource"] == {"type": "resource", "id": "file:///b"}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "add", "Name": "delete"}),
        ("tools/call", {"name": "add", "Arguments": {"all": True}}),
        ("tools/call", {"name": "add", "argument\u017f": {}}),
        ("tools/call", {"name": "add", "_Meta": {}}),
        ("resources/read", {"uri": "file:///a", "URI": "file:///b"}),
        ("tasks/cancel", {"taskId": "t-1", "taskid": "t-2"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "n", "NAME": "m"}}),
    ],
)
def test_a_member_that_some_read_as_another_one_cannot_be_asked_about(
    method: str, params: dict[str, Any]
) -> None:
    """Go and .NET tell members apart by more than case only where they are told to."""
    for known in (None, declared(None, "add")):
        with pytest.raises(MappingError, match="is no name here: some servers read it as"):
            requests_of(message(method, **params), ALICE, known)


def test_arguments_have_the_names_that_a_tool_gives_them() -> None:
    [asked] = requests_of(message(name="add", arguments={"Name": 1, "name": 2}), ALICE)
    assert asked["resource"] == {"type": "tool", "id": "add"}


def test_an_agent_that_is_not_known_is_left_out() -> None:
    [asked] = requests_of(message(name="add"), Caller({"sub": "alice", "aud": "x"}))
    assert asked["context"] == {}


def test_an_unknown_method_is_asked_about_only_when_that_is_wanted() -> None:
    with pytest.raises(MappingError, match="no mapping"):
        requests_of(message("tools/explode"), ALICE)
    [asked] = requests_of(message("tools/explode"), ALICE, ask_unknown=True)
    assert asked["action"] == {"name": "tools/explode"}


@pytest.mark.parametrize("method", ["tools/explode", *sorted(REMOVED)])
def test_what_a_revision_does_not_have_is_unknown_to_it(method: str) -> None:
    modern = message(method, **PARAMS, _meta={VERSION_KEY: "2026-07-28"})
    with pytest.raises(UnknownMethodError):
        requests_of(modern, ALICE)
    [asked] = requests_of(modern, ALICE, ask_unknown=True)
    assert asked["resource"] == {"type": "mcp_server", "id": "mcp.example"}
    assert asked["context"] == {"agent": "planner"}


def test_the_policy_can_insist_on_a_mapping() -> None:
    """Its digest is in the context, and the server cannot say another."""
    template = {"action": {"name": "read"}, "resource": {"type": "file", "id": "a"}}
    mapping = {"evaluation": {**template, "context": {MAPPING: "sha256:its own word"}}}
    [asked] = requests_of(message(name="copy"), ALICE, declared(mapping))
    digest = sha256(encode_canonical(mapping)).hexdigest()
    assert asked["context"] == {"agent": "planner", MAPPING: f"sha256:{digest}"}
    [plain] = requests_of(message(name="copy"), ALICE, declared(None))
    assert MAPPING not in plain["context"]


def test_a_server_that_changes_its_word_is_told_of() -> None:
    found = declared({"evaluation": {}})
    same = {"name": "copy", "inputSchema": {DECLARED: {"evaluation": {}}}}
    assert found.learn({"tools": [same, {"name": "new"}]}) == []
    assert found.learn({"tools": [{"name": "copy"}]}) == ["copy"]
    assert found.mappings == {"copy": None, "new": None}


@pytest.mark.parametrize("name", [None, 7, ["add"], {}])
def test_what_names_no_tool_cannot_be_asked_about(name: Any) -> None:
    with pytest.raises(MappingError):
        requests_of(message(name=name), ALICE)
    with pytest.raises(MappingError):
        requests_of(message(), ALICE)


def test_several_evaluations_take_the_defaults_and_have_one_subject() -> None:
    mapping = {
        "evaluations": {
            "subject": {"type": "identity", "id": "$token.sub"},
            "context": {"case": "$params.arguments.?case", "price": "$$5"},
            "evaluations": [
                {"action": {"name": "read"},
                 "resource": {"type": "object", "id": "$params.arguments.source"}},
                {"action": {"name": "write"},
                 "resource": {"type": "object", "id": "$params.arguments['target']"}},
            ],
        }
    }  # fmt: skip
    call = message(name="copy", arguments={"source": "/a", "target": "/b"})
    asked = requests_of(call, ALICE, declared(mapping))
    assert [(one["action"]["name"], one["resource"]["id"]) for one in asked] == [
        ("read", "/a"), ("write", "/b"),
    ]  # fmt: skip
    contexts = [{**one["context"], MAPPING: ""} for one in asked]
    assert contexts == [{"agent": "planner", "price": "$5", MAPPING: ""}] * len(asked)
    assert all(one["subject"] == {"type": "identity", "id": "alice"} for one in asked)


EVALUATION: dict[str, Any] = {"action": {"name": "a"}, "resource": {"type": "t", "id": "x"}}


@pytest.mark.parametrize(
    "mapping",
    [
        7,
        {},
        {"evaluation": EVALUATION, "evaluations": {}},
        {"other": EVALUATION},
        {"evaluation": []},
        {"evaluation": {"action": {"name": "a"}}},
        {"evaluation": {**EVALUATION, "extra": 1}},
        {"evaluation": {**EVALUATION, "context": 7}},
        {"evaluation": {**EVALUATION, "subject": {"id": "bob"}}},
        {"evaluation": {**EVALUATION, "subject": {"id": "$params.arguments.who"}}},
        {"evaluation": {**EVALUATION, "resource": {"type": "t", "id": "$params.?nothing"}}},
        {"evaluation": {**EVALUATION, "resource": {"type": "t", "id": "$params.nothing"}}},
        {"evaluation": {**EVALUATION, "resource": {"type": "t", "id": 7}}},
        {"evaluations": {**EVALUATION, "evaluations": []}},
        {"evaluations": {**EVALUATION, "evaluations": [{"subject": {"id": "alice"}}]}},
        {"evaluations": {**EVALUATION, "evaluations": [{}] * 17}},
    ],
)
def test_a_mapping_that_is_none_or_says_another_subject_is_an_error(mapping: Any) -> None:
    call = message(name="copy", arguments={"who": "bob"})
    with pytest.raises(MappingError):
        requests_of(call, ALICE, declared(mapping))


def test_a_tool_that_declares_nothing_has_the_row_and_one_never_listed_nothing() -> None:
    known = Declared()
    known.learn({"tools": [{"name": "add", "inputSchema": {"type": "object"}}, 7, {"name": 1}]})
    known.learn("nothing")
    [asked] = requests_of(message(name="add"), ALICE, known)
    assert asked["resource"] == {"type": "tool", "id": "add"}
    with pytest.raises(MappingError, match="listing"):
        requests_of(message(name="other"), ALICE, known)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("token.sub", "alice"),
        ("token.?client_id", "planner"),
        ("token.?nobody", ABSENT),
        ("params.?nothing.more", ABSENT),
        ("params.arguments.?a", 1),
        ('params.arguments["s"]', "é"),
        ("params.arguments.n", None),
        ("params.arguments.deep", {"x": [1]}),
    ],
)
def test_selections_need_no_library(expression: str, value: Any) -> None:
    assert evaluate(expression, VARIABLES) == value


@pytest.mark.parametrize(
    "expression",
    ["token.nobody", "params.arguments.a.b", "params.arguments.a.?b", "params.name.x"],
)
def test_a_selection_of_nothing_is_an_error(expression: str) -> None:
    with pytest.raises(ExpressionError, match="no such key"):
        evaluate(expression, VARIABLES)


@has_cel
@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'a' + token.sub", "aalice"),
        ("params.arguments.a > 10000 ? 'high' : 'standard'", "standard"),
        ("[1, 2].exists(r, r == 2)", True),
        ("{'a': [1, 2.5, null]}", {"a": [1, 2.5, None]}),
    ],
)
def test_the_library_evaluates_the_rest(expression: str, value: Any) -> None:
    assert evaluate(expression, VARIABLES) == value


@has_cel
@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("params[params.secret]", "KeyError"),
        ("duration(params.secret)", "Function 'duration' error"),
        ("params.name.matches(params.secret)", "Function 'matches' error"),
    ],
)
def test_an_error_quotes_no_parameter(expression: str, kind: str) -> None:
    """It is recorded, and arguments are not."""
    params = {**VARIABLES["params"], "secret": "(hunter2"}
    with pytest.raises(ExpressionError) as found:
        evaluate(expression, {**VARIABLES, "params": params})
    assert str(found.value) == f"expression {expression!a} failed: {kind}"


@has_cel
@pytest.mark.parametrize(
    "expression",
    [
        "token.",
        "nobody",
        "1 / 0",
        "params.arguments.nothing + 1",
        "b'a'",
        "timestamp('2020-01-01T00:00:00Z')",
        "has(token.sub) ? token.?x : 1",
        "[1].map(a, [2].map(b, a + b))",
        "(" * 40 + "1" + ")" * 40,
        "x" * 1025,
    ],
)
def test_what_the_library_does_not_know_or_should_not_run_is_an_error(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(expression, VARIABLES)


@has_cel
def test_a_loop_runs_over_little_and_integers_are_exact() -> None:
    much = {"params": {"l": ["x" * MAX_LOOPED]}, "token": {}}
    with pytest.raises(ExpressionError, match="bytes"):
        evaluate("params.l.map(x, x)", much)
    with pytest.raises(ExpressionError, match="64 bits"):
        evaluate("params.n + 1", {"params": {"n": 2**63}, "token": {}})
    assert evaluate("params.n + 0", {"params": {"n": 2**63 - 1}, "token": {}}) == 2**63 - 1


@has_cel
@given(st.text(max_size=40) | st.text("params.token?()[]{}'\"$+-*/<>=!&|:,0123 xsub", max_size=40))
def test_any_expression_is_a_value_or_the_one_error(expression: str) -> None:
    try:
        found = evaluate(expression, VARIABLES)
    except ExpressionError:
        return
    if found is not ABSENT:
        json.dumps(found)
