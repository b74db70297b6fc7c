"""Keyed pseudonyms for what relates records to each other, and so cannot be withheld.

Lineage and permits compare ids, so that each has to stay the same from record to record. A
pseudonym does, and tells the id only to whoever has the key, who can make it of the id and compare.
Whoever destroys the key has made all of its ids unreadable at once; one alone cannot be erased.
"""

import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from muniment.gateway.secretfiles import make_secret
from muniment.records.addenda import copied_json
from muniment.records.canonical import encode_canonical
from muniment.records.thingnames import thing_name
from muniment.tlog.encoding import FormatError

SUBJECT_ID: Final = "/request/subject/id"
RESOURCE_ID: Final = "/request/resource/id"

MARK: Final = "hmac-sha256:"
"""Begins a pseudonym; 64 hexadecimal digits follow."""

_PSEUDONYM: Final = re.compile(rf"{MARK}[0-9a-f]{{64}}")


class Pseudonyms:
    """Replaces ids by their pseudonyms under the keys of one gateway; any thread may use it.

    Args:
        keys: For ``/request/subject/id``, ``/request/resource/id`` or both the file of the key,
            which is made when there is none. The subject's is that of all agents, too.

    Raises:
        ValueError: If another pointer is among them.
        MunimentError: If a key file cannot be read or made, or is damaged.
    """

    def __init__(self, keys: Mapping[str, Path | str]) -> None:
        if others := keys.keys() - {SUBJECT_ID, RESOURCE_ID}:
            raise ValueError(f"pseudonyms: {min(others)!a}: expected {SUBJECT_ID} or {RESOURCE_ID}")
        made = {at: make_secret(Path(path), "pseudonym key") for at, path in keys.items()}
        self._subject, self._resource = made.get(SUBJECT_ID), made.get(RESOURCE_ID)

    def subject(self, id_: str) -> str:
        """The pseudonym of a subject or agent; its name in edges, if those have none.

        Raises FormatError if the id holds a lone surrogate.
        """
        return _pseudonym(self._subject, thing_name(id_))

    def resource(self, id_: str) -> str:
        """The pseudonym of a resource; as ``subject``. Raises as ``subject``."""
        return _pseudonym(self._resource, thing_name(id_))

    def replace(self, members: dict[str, Any]) -> bool:
        """Replaces the ids in the JSON of a decision or edge; says whether there were any.

        A decision's `request` has to be the caller's own; other parts are copied.
        """
        before = copied_json(members)
        if members.get("kind") == "edge":
            for end in ("from", "to"):
                thing: Any = members.get(end)
                is_agent = isinstance(thing, Mapping) and thing.get("type") == "agent"
                if is_agent and thing.get("origin") is None:
                    members[end] = self._with(thing, "id", self._subject, is_name=True)
        elif members.get("kind") == "decision":
            request, artifact = members.get("request"), members.get("artifact")
            if isinstance(request, dict):
                for name, key in (("subject", self._subject), ("resource", self._resource)):
                    request[name] = self._with(request.get(name), "id", key)
            if isinstance(artifact, Mapping):
                members["artifact"] = self._artifact(copied_json(artifact))
        return bool(members != before)

    def replaced(self, members: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """As ``replace``, of a copy of what may be no decision; False where an id has none."""
        copied = {**members, "kind": "decision", "request": copied_json(members.get("request"))}
        try:
            self.replace(copied)
        except (FormatError, RecursionError):
            return copied, False
        return copied, True

    def _artifact(self, artifact: dict[str, Any]) -> dict[str, Any]:
        scope, attribution = artifact.get("scope"), artifact.get("attribution")
        if isinstance(scope, dict) and isinstance(scope.get("resources"), list):
            found = scope["resources"]
            scope["resources"] = [self._with(one, "id", self._resource) for one in found]
        actor = attribution
        while isinstance(actor, dict) and isinstance(actor.get("act"), dict):
            actor["act"] = self._with(actor["act"], "sub", self._subject, is_name=True)
            actor = actor["act"]
        return artifact

    @staticmethod
    def _with(value: Any, name: str, key: bytes | None, *, is_name: bool = False) -> Any:
        """An object with its member, an id or the name of one, replaced; what is none stays."""
        if not isinstance(value, Mapping) or not isinstance(value.get(name), str):
            return value
        thing = value[name] if is_name or key is None else thing_name(value[name])
        return {**value, name: _pseudonym(key, thing)}


def _pseudonym(key: bytes | None, name: str) -> str:
    """The pseudonym of an id's name in edges, so that an agent is one in edges and decisions."""
    if key is None or _PSEUDONYM.fullmatch(name):
        return name
    data = encode_canonical(["muniment/pseudonym/v1", name])
    return MARK + hmac.digest(key, data, "sha256").hex()
