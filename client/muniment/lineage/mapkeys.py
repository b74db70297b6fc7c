"""Under which key of the map the answer to a lookup of `Facts` stands."""

from typing import Any

from muniment.lineage.facts import Ref, Role, TargetRef
from muniment.records.touched import Kind, spell_thing


def key_of(role: Role, key: Any, origin: str) -> tuple[Kind, str]:
    """The kind and value of the map's key under which all records are that answer a lookup.

    Other records may be under it, too. A decision by its id is there only if it states no run; one
    that does is under its run. `key` is of the type that `Facts` has for the role: a Ref, a
    TargetRef, or text.
    """
    match role:
        case "from" | "to":
            ref: Ref = key
            place = None if ref.origin == origin else ref.origin
            if role == "from" and ref.type == "run" and place is None:
                return "execution", ref.id
            return role, spell_thing(ref.type, ref.id, place)
        case "decision of" | "outcome" | "verification":
            return "execution", key
        case "revocation":
            target: TargetRef = key
            return "revocations", f"{target.kind}\0{target.id}"
        case "decision" | "approval" | "erasure":
            return role, key
