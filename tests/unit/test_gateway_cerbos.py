"""What Cerbos is asked: nothing that AuthZEN does not define, and all that it does."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from muniment_gateway.core.authzen import check_request
from muniment_gateway.engines.cerbos import known_members

EXTRA = st.dictionaries(st.sampled_from(["tenant", "future", "x"]), st.integers(), max_size=2)


@given(above=EXTRA, inside=EXTRA, context=st.booleans())
def test_only_what_authzen_defines_is_asked(
    above: dict[str, Any], inside: dict[str, Any], *, context: bool
) -> None:
    request = {
        "subject": {"type": "user", "id": "alice", "properties": {"tenant": 1}},
        "action": {"name": "read"},
        "resource": {"type": "record", "id": "1"},
        **({"context": {"future": 1}} if context else {}),
    }
    asked = {
        **request,
        **above,
        "subject": {**request["subject"], **inside},
        "action": {**request["action"], **inside},
    }
    assert known_members(check_request(asked)) == request
