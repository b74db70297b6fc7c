"""COAZ-MCP: what is asked of the policy about a request of MCP.

https://openid.net/specs/authzen-coaz-mcp-binding-1_0.html, draft 1: the default mappings, and those
that a server declares for a tool (`x-authzen-mapping` in its input schema). Methods that the
binding does not know, of revision 2026-07-28, have rows of the same form. Stricter than the draft:
no mapping may say another subject than the caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from muniment.records.canonical import encode_canonical
from muniment.records.members import MAX_ITEMS
from muniment.tlog.encoding import FormatError
from muniment_gateway.mcp.expressions import ABSENT, evaluate
from muniment_gateway.mcp.messages import Message, by_case, misspelt

DECLARED: Final = "x-authzen-mapping"
"""The member of a tool's input schema that is its mapping."""

MAPPING: Final = "declared_mapping"
"""The member of the context with the digest of the mapping by which something is asked, if it is
the server's own: policies can insist on the one that somebody has looked at.
"""

PASSED: Final = frozenset({"ping"})
"""Requests that the binding lets through without a decision; so it does all notifications."""

MOST_EVALUATIONS: Final = 16
"""Most evaluations of one call."""

_SERVER: Final = ("mcp_server", "$token.aud")
_ROWS: Final[Mapping[str, tuple[str, str]]] = {
    "initialize": _SERVER,
    "tools/list": _SERVER,
    "tools/call": ("tool", "$params.name"),
    "resources/list": _SERVER,
    "resources/read": ("resource", "$params.uri"),
    "resources/subscribe": ("resource", "$params.uri"),
    "resources/unsubscribe": ("resource", "$params.uri"),
    "prompts/list": _SERVER,
    "prompts/get": ("prompt", "$params.name"),
    "logging/setLevel": _SERVER,
    "tasks/get": ("task", "$params.taskId"),
    "tasks/result": ("task", "$params.taskId"),
    "tasks/cancel": ("task", "$params.taskId"),
    "tasks/list": _SERVER,
    # Not of the binding.
    "server/discover": _SERVER,
    "resources/templates/list": _SERVER,
    "subscriptions/listen": _SERVER,
    "tasks/update": ("task", "$params.taskId"),
}
_CONTEXT: Final[Mapping[str, Mapping[str, str]]] = {
    "initialize": {"protocol_version": "$params.protocolVersion"},
    "logging/setLevel": {"level": "$params.level"},
}
_COMPLETION: Final = "completion/complete"
_REF_PROMPT: Final = ("prompt", "$params.ref.name")
_REF_RESOURCE: Final = ("resource", "$params.ref.uri")

_PARAMS: Final = by_case(
    *("name", "arguments", "uri", "ref", "taskId", "protocolVersion", "level"),
    *("_meta", "requestState", "inputResponses"),
)
_REF: Final = by_case("type", "name", "uri")

KNOWN: Final = frozenset({*_ROWS, _COMPLETION})
"""Methods that have a row."""

REMOVED: Final = frozenset(
    {"initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
)
"""Methods that revision 2026-07-28 no longer has: to it they are as unknown as any other."""


class MappingError(FormatError):
    """Nothing can be asked about a request by its mapping."""


class UnknownMethodError(MappingError):
    """There is no mapping for a request's method."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the claims of the binding's `token`, `sub` and `aud` at least.

    Attributes:
        claims: The claims. `sub` is the subject, `client_id` the agent, `aud` the server.
        session: The id of the session, of revisions that have one.
    """

    claims: Mapping[str, Any]
    session: str | None = None


@dataclass(slots=True)
class Declared:
    """The mappings that a server has declared, by tool, as far as its listings were seen.

    Attributes:
        mappings: By the tool's name; None of a tool that declares none.
    """

    mappings: dict[str, Any] = field(default_factory=dict)

    MOST = 10_000

    def learn(self, result: object) -> list[str]:
        """Takes the tools of a `tools/list` result; the newest word on a tool counts.

        Returns those of which the server said something else before.
        """
        changed: list[str] = []
        tools = result.get("tools") if isinstance(result, dict) else None
        for tool in tools if isinstance(tools, list) else ():
            name = tool.get("name") if isinstance(tool, dict) else None
            if not isinstance(name, str):
                continue
            if name not in self.mappings and len(self.mappings) >= self.MOST:
                break  # what is not known is not decided
            schema = tool.get("inputSchema")
            mapping = schema.get(DECLARED) if isinstance(schema, dict) else None
            if self.mappings.get(name, mapping) != mapping:
                changed.append(name)
            self.mappings[name] = mapping
        return changed


def requests_of(
    message: Message, caller: Caller, declared: Declared | None = None, *, ask_unknown: bool = False
) -> list[dict[str, Any]]:
    """The AuthZEN requests about a request: all must be allowed. At least one.

    Raises MappingError if a mapping cannot be resolved, UnknownMethodError if there is none.

    Args:
        message: A request.
        caller: Who asks.
        declared: The mappings that the server declares, where these count: then a call of a tool
            that was in no listing cannot be mapped.
        ask_unknown: Whether the policy is asked about methods that have no row.
    """
    ref = message.params.get("ref")
    wrong = misspelt(message.params, _PARAMS) or (
        misspelt(ref, _REF) if isinstance(ref, dict) else None
    )
    if wrong is not None:
        raise MappingError(f"params: {wrong}")
    variables = {"params": message.params, "token": caller.claims}
    template = None
    if declared is not None and message.method == "tools/call":
        name = message.params.get("name")
        if not isinstance(name, str):
            raise MappingError("params.name: expected a string")
        if name not in declared.mappings:
            raise MappingError(
                f"tool {name[:64]!a}: in no listing yet, so its mapping is not known"
            )
        template = declared.mappings[name]
    try:
        if template is not None:
            digest = f"sha256:{sha256(encode_canonical(template)).hexdigest()}"
            return [
                {**one, "context": {**one["context"], MAPPING: digest}}
                for one in _by_declaration(template, variables)
            ]
        return [_by_row(message, variables, ask_unknown=ask_unknown)]
    except MappingError:
        raise
    except FormatError as error:
        raise MappingError(str(error)) from None


def _by_row(message: Message, variables: Mapping[str, Any], *, ask_unknown: bool) -> dict[str, Any]:
    method = message.method
    is_known = not (message.is_modern and method in REMOVED)
    row = _ROWS.get(method) if is_known else None
    if method == _COMPLETION:
        ref = message.params.get("ref")
        is_prompt = isinstance(ref, dict) and ref.get("type") == "ref/prompt"
        row = _REF_PROMPT if is_prompt else _REF_RESOURCE
    if row is None and ask_unknown:
        row = _SERVER
    if row is None:
        raise UnknownMethodError(f"method {method[:64]!a}: there is no mapping for it")
    return _request(
        {
            "action": {"name": method},
            "resource": {"type": row[0], "id": row[1]},
            "context": dict(_CONTEXT.get(method, {})) if is_known else {},
        },
        variables,
        is_declared=False,
    )


def _by_declaration(mapping: Any, variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not isinstance(mapping, dict) or len(mapping) != 1:
        raise MappingError(f"{DECLARED}: expected one member: evaluation or evaluations")
    [(envelope, template)] = mapping.items()
    if envelope not in ("evaluation", "evaluations") or not isinstance(template, dict):
        raise MappingError(f"{DECLARED}: expected an object: evaluation or evaluations")
    if envelope == "evaluation":
        return [_request(template, variables)]
    listed = template.get("evaluations")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_EVALUATIONS:
        raise MappingError(f"{DECLARED}: expected 1 to {MOST_EVALUATIONS} evaluations")
    defaults = {name: one for name, one in template.items() if name != "evaluations"}
    found: list[dict[str, Any]] = []
    for one in listed:
        if not isinstance(one, dict) or "subject" in one:
            raise MappingError(f"{DECLARED}: an evaluation is an object without a subject")
        found.append(_request({**defaults, **one}, variables))
    return found


def _request(
    template: Mapping[str, Any], variables: Mapping[str, Any], *, is_declared: bool = True
) -> dict[str, Any]:
    unknown = template.keys() - {"subject", "action", "resource", "context"}
    if unknown:
        raise MappingError(f"{DECLARED}: {min(unknown)[:64]!a} is no member of an evaluation")
    subject = {"type": "identity", "id": "$token.sub", **_object(template, "subject")}
    context = {"agent": "$token.?client_id", **_object(template, "context")}
    resolved: dict[str, Any] = _resolve(
        {**template, "subject": subject, "context": context}, variables, 0
    )
    for member, names in (
        ("subject", ("type", "id")),
        ("action", ("name",)),
        ("resource", ("type", "id")),
    ):
        entity = resolved.get(member)
        for name in names:
            if not isinstance(entity, dict) or not isinstance(entity.get(name), str):
                raise MappingError(f"{member}.{name}: expected a string")
    if is_declared and resolved["subject"]["id"] != variables["token"]["sub"]:
        raise MappingError("subject.id: not the caller's")
    return resolved


def _object(template: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = template.get(name, {})
    if not isinstance(value, dict):
        raise MappingError(f"{DECLARED}: {name}: expected an object")
    return value


def _resolve(value: Any, variables: Mapping[str, Any], depth: int) -> Any:
    if depth > 16:
        raise MappingError(f"{DECLARED}: more than 16 levels deep")
    if isinstance(value, dict):
        if len(value) > MAX_ITEMS:
            raise MappingError(f"{DECLARED}: more than {MAX_ITEMS} members")
        found = {name: _resolve(one, variables, depth + 1) for name, one in value.items()}
        return {name: one for name, one in found.items() if one is not ABSENT}
    if isinstance(value, list):
        listed = [_resolve(one, variables, depth + 1) for one in value[: MAX_ITEMS + 1]]
        if len(listed) > MAX_ITEMS or any(one is ABSENT for one in listed):
            raise MappingError(f"{DECLARED}: an array with too much, or with something absent")
        return listed
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value.startswith("$$"):
        return value[1:]
    return evaluate(value[1:], variables)
