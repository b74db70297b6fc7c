"""AuthZEN's searches: what a request must have, and what an answer may be. Pure.

Who may do this, to what may this be done, what may be done: a PDP answers with what it would allow
now. That is no decision about anything.
"""

from collections.abc import Mapping
from typing import Any, Final

from muniment.tlog.encoding import FormatError
from muniment_gateway.core.authzen import OWN, Kind, Parts, check_parts

MOST_RESULTS: Final = 10_000
"""Most results of one answer; a PDP that has more has pages."""

_NEEDS: Final[dict[Kind, Parts]] = {
    "subject": (("subject", ("type",)), ("action", ("name",)), ("resource", ("type", "id"))),
    "resource": (("subject", ("type", "id")), ("action", ("name",)), ("resource", ("type",))),
    "action": (("subject", ("type", "id")), ("resource", ("type", "id"))),
}


def check_search(kind: Kind, request: object) -> dict[str, Any]:
    """Checks a request for a search; it comes back without the identity of what is searched for.

    AuthZEN wants that ignored. Raises FormatError if a required member is missing, or one has the
    wrong type; names it.
    """
    checked = check_parts(request, _NEEDS[kind])
    _check_page(checked.get("page", {}))
    if kind == "action":
        return {name: value for name, value in checked.items() if name != "action"}
    sought = {name: value for name, value in checked[kind].items() if name != "id"}
    return {**checked, kind: sought}


def _check_page(page: object) -> None:
    if not isinstance(page, dict):
        raise FormatError("page: expected an object")
    if not isinstance(page.get("token", ""), str):
        raise FormatError("page.token: expected a string")
    limit = page.get("limit", 0)
    is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
    if not is_number or limit < 0 or limit % 1:  # JSON's 10.0 is 10
        raise FormatError("page.limit: expected a number of results")
    if not isinstance(page.get("properties", {}), dict):
        raise FormatError("page.properties: expected an object")


def check_results(kind: Kind, request: Mapping[str, Any], answer: object) -> dict[str, Any]:
    """Checks a PDP's answer to a search.

    Raises FormatError if it is none: something was found that was not searched for, say.
    """
    if not isinstance(answer, dict):
        raise FormatError("expected a JSON object")
    results = answer.get("results")
    if not isinstance(results, list):
        raise FormatError("results: expected an array")
    if len(results) > MOST_RESULTS:
        raise FormatError(f"results: more than {MOST_RESULTS}, in one page")
    for number, one in enumerate(results):
        if not (isinstance(one, dict) and _is_found(kind, request, one)):
            raise FormatError(f"results[{number}]: not a {kind} that was searched for")
    page = answer.get("page", {})
    if not isinstance(page, dict) or not isinstance(page.get("next_token", ""), str):
        raise FormatError("page: expected an object with a next_token")
    if not isinstance(answer.get("context", {}), dict):
        raise FormatError("context: expected an object")
    return answer


def _is_found(kind: Kind, request: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    if kind == "action":
        return isinstance(one.get("name"), str)
    return isinstance(one.get("id"), str) and one.get("type") == request[kind]["type"]


def said_by(answer: Mapping[str, Any], authority: str) -> dict[str, Any]:
    """A PDP's answer as it is passed on: with whose it is, and that it permits nothing.

    A `decision` in it would be taken for one of the gateway's.
    """
    own = {"permission": False, "authority": authority}
    kept = {name: value for name, value in answer.items() if name != "decision"}
    return {**kept, "context": {**answer.get("context", {}), OWN: own}}
