"""A PDP with the fixture of the AuthZEN certification scenario, searches and pages included."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from stand import Answer, Asked

SUBJECTS = {"alice": {}, "bob": {"role": "admin"}}
RESOURCES = {"record-1": {"status": "active"}, "record-2": {"status": "archived"}}
ACTIONS = ("read", "write", "delete")
JSON = {"Content-Type": "application/json"}


def decide(subject: Mapping[str, Any], action: str, resource: Mapping[str, Any], soft: Any) -> bool:
    """The policy of the scenario, c-1-4."""
    who = subject.get("id")
    if (subject.get("type"), resource.get("type")) != ("user", "record") or who not in SUBJECTS:
        return False
    if action == "write":
        if subject.get("properties", {}).get("role") == "admin":
            return True
        archived = resource.get("properties", {}).get("status") == "archived"
        return who == "alice" and not archived
    if action == "delete":
        return who == "alice" and resource.get("id") == "record-1" and soft is True
    return action == "read"


def search(kind: str, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All that is found; what the request says of an entity is believed, and else what is known."""
    subject, resource = request["subject"], request["resource"]
    if kind == "action":
        return [{"name": name} for name in ACTIONS if decide(subject, name, resource, None)]
    name = request["action"]["name"]
    if kind == "subject":
        found = ({**subject, "id": who, "properties": of} for who, of in SUBJECTS.items())
        hits = [one for one in found if decide(one, name, resource, None)]
    else:
        found = ({**resource, "id": id_, "properties": of} for id_, of in RESOURCES.items())
        hits = [one for one in found if decide(subject, name, one, None)]
    return [{"type": one["type"], "id": one["id"]} for one in hits]


def paged(results: list[dict[str, Any]], page: Mapping[str, Any]) -> dict[str, Any]:
    """One page: tokens are the places at which they begin; behind a token of others is nothing."""
    token = page.get("token", "0")
    start = int(token[:9]) if token.isdecimal() else len(results)
    end = start + (int(page.get("limit", 0)) or 1000)
    more = str(end) if end < len(results) else ""
    return {"results": results[start:end], "page": {"next_token": more}}


def answer(url: Callable[[], str], *, searches: bool = True) -> Callable[[Asked], Answer]:
    """What `stand.Stand` serves; `url` tells the base URL."""

    def respond(asked: Asked) -> Answer:
        path = asked.path.rpartition("/")
        if asked.path == "/.well-known/authzen-configuration":
            told: dict[str, Any] = {
                "policy_decision_point": url(),
                "access_evaluation_endpoint": f"{url()}/access/v1/evaluation",
                "signed_metadata": "of other URLs",
            }
            if searches:
                for kind in ("subject", "resource", "action"):
                    told[f"search_{kind}_endpoint"] = f"{url()}/find/{kind}"
            return Answer(200, json.dumps(told).encode(), JSON)
        if asked.path == "/access/v1/evaluation":
            request = json.loads(asked.body)
            soft = request["action"].get("properties", {}).get("soft")
            said = decide(request["subject"], request["action"]["name"], request["resource"], soft)
            return Answer(200, json.dumps({"decision": said}).encode(), JSON)
        if searches and path[0] == "/find":
            request = json.loads(asked.body)
            told = paged(search(path[2], request), request.get("page", {}))
            return Answer(200, json.dumps(told).encode(), JSON)
        return Answer(404)

    return respond
