"""AuthZEN 1.0: what a request is, what several in one mean, and the metadata of a PDP.

https://openid.github.io/authzen/. Members that it does not define are kept and passed on.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from muniment.tlog.encoding import FormatError

EVALUATION_PATH: Final = "/access/v1/evaluation"
EVALUATIONS_PATH: Final = "/access/v1/evaluations"
METADATA_PATH: Final = "/.well-known/authzen-configuration"
REQUESTS_PATH: Final = "/access/v1/requests"

SEARCH_PATH: Final = "/access/v1/search/"
"""Before what is searched for: where each search is."""

Kind: TypeAlias = Literal["subject", "resource", "action"]
"""What can be searched for."""

KINDS: Final[tuple[Kind, ...]] = ("subject", "resource", "action")

ACCESS_REQUEST: Final = "urn:openid:authzen:capability:access-request"
"""The capability of whoever takes access requests."""

OWN: Final = "muniment"
"""The member of a context, in a request or a response, that is ours."""

MOST_EVALUATIONS: Final = 1000
"""Most evaluations in one request."""

Semantic: TypeAlias = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]

_SEMANTICS: Final = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")
Parts: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]

_BATCH: Final = frozenset({"evaluations", "options"})
_PARTS: Final[Parts] = (
    ("subject", ("type", "id")),
    ("action", ("name",)),
    ("resource", ("type", "id")),
)


class Evaluations(NamedTuple):
    """Several evaluations in one request: each with the defaults, and when to stop."""

    requests: list[Any]
    semantic: Semantic

    def ends_with(self, *, decision: bool) -> bool:
        """Whether nothing is evaluated after an answer."""
        if self.semantic == "execute_all":
            return False
        return decision is (self.semantic == "permit_on_first_permit")


def check_request(request: object) -> dict[str, Any]:
    """Checks an Access Evaluation request, section "Access Evaluation API".

    Raises FormatError if a required member is missing, or one has the wrong type; names it.
    """
    return check_parts(request, _PARTS)


def check_parts(request: object, parts: Parts) -> dict[str, Any]:
    """Checks that a request is an object with these entities, and each has these texts.

    Raises FormatError if a required member is missing, or one has the wrong type; names it.
    """
    if not isinstance(request, dict):
        raise FormatError("expected a JSON object")
    for part, keys in parts:
        entity = request.get(part)
        if not isinstance(entity, dict):
            raise FormatError(f"{part}: {_missing_or(request, part, 'an object')}")
        for key in keys:
            if not isinstance(entity.get(key), str):
                raise FormatError(f"{part}.{key}: {_missing_or(entity, key, 'a string')}")
        if not isinstance(entity.get("properties", {}), dict):
            raise FormatError(f"{part}.properties: expected an object")
    if not isinstance(request.get("context", {}), dict):
        raise FormatError("context: expected an object")
    return request


def parse_batch(request: object) -> Evaluations | None:
    """The evaluations of an Access Evaluations request; None when it is a single evaluation.

    An entity of an evaluation replaces the default of its name as a whole. What is wrong with one
    evaluation is not looked at here: it is the answer to that one. Raises FormatError if the
    request itself is malformed; names the member.
    """
    if not isinstance(request, dict):
        raise FormatError("expected a JSON object")
    evaluations = request.get("evaluations", [])
    if not isinstance(evaluations, list):
        raise FormatError("evaluations: expected an array")
    semantic = _semantic(request)
    if not evaluations:
        return None
    if len(evaluations) > MOST_EVALUATIONS:
        raise FormatError(f"evaluations: more than {MOST_EVALUATIONS}")
    defaults = {name: value for name, value in request.items() if name not in _BATCH}
    return Evaluations(
        [{**defaults, **one} if isinstance(one, dict) else one for one in evaluations], semantic
    )


def single_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request without evaluations as the single evaluation that it is."""
    return {name: value for name, value in request.items() if name not in _BATCH}


def _semantic(request: Mapping[str, Any]) -> Semantic:
    options = request.get("options", {})
    if not isinstance(options, dict):
        raise FormatError("options: expected an object")
    semantic = options.get("evaluations_semantic", "execute_all")
    if semantic not in _SEMANTICS:
        raise FormatError(f"options.evaluations_semantic: expected one of {', '.join(_SEMANTICS)}")
    return cast("Semantic", semantic)


def metadata(
    url: str, of_engine: Mapping[str, Any], *, takes_requests: bool = False
) -> dict[str, Any]:
    """The metadata of a PDP at a URL, in front of one that tells these.

    Its URLs are ours, and there are those only of what we serve: of a search, when the engine has
    it. What else the engine tells stays,
    but for signed metadata: they take precedence over the plain ones, and nobody but the engine
    could sign others.
    """
    kept = {
        name: value
        for name, value in of_engine.items()
        if name not in {"policy_decision_point", "signed_metadata"}
        and not name.endswith(("_endpoint", "_uri"))
        and value not in (None, [], {})
    }
    told = {
        **kept,
        "policy_decision_point": url,
        "access_evaluation_endpoint": url + EVALUATION_PATH,
        "access_evaluations_endpoint": url + EVALUATIONS_PATH,
    }
    for kind in KINDS:
        if isinstance(of_engine.get(endpoint(kind)), str):
            told[endpoint(kind)] = f"{url}{SEARCH_PATH}{kind}"
    given = kept.get("capabilities")
    others = [one for one in given if one != ACCESS_REQUEST] if isinstance(given, list) else []
    if takes_requests:  # those that come to us are for our people, whatever the engine takes
        told["access_request_endpoint"] = url + REQUESTS_PATH
        others.append(ACCESS_REQUEST)
    if others:
        told["capabilities"] = others
    else:
        told.pop("capabilities", None)
    return told


def endpoint(kind: Kind) -> str:
    """The member of a PDP's metadata that has the URL of a search."""
    return f"search_{kind}_endpoint"


def own_context(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a request says to the gateway itself: the member `muniment` of its context."""
    context = request.get("context")
    own = context.get(OWN) if isinstance(context, dict) else None
    return own if isinstance(own, dict) else {}


def _missing_or(holder: Mapping[str, Any], name: str, expected: str) -> str:
    return f"expected {expected}" if name in holder else "missing"
