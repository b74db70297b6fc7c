"""AuthZEN's searches: what is one, what may be found, and how many go on at one time."""

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.http.client import HttpSession
from muniment.tlog.encoding import FormatError
from muniment_gateway.authorities import Authority, AuthorityEntry
from muniment_gateway.core.authzen import KINDS, Kind
from muniment_gateway.core.search import check_results, check_search, said_by
from muniment_gateway.deciding.searches import MOST_SEARCHES, Searches, TooManySearchesError
from muniment_gateway.engines.port import PassedOn as Passed
from muniment_service.metrics import Metrics
from stand import Answer, Asked, Stand

WHOLE: dict[str, Any] = {
    "subject": {"type": "user", "id": "alice", "properties": {"role": "admin"}},
    "action": {"name": "read"},
    "resource": {"type": "record", "id": "1"},
    "context": {"ip": "::1"},
    "page": {"limit": 10.0, "token": "x"},
    "future": 1,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_identity_of_what_is_sought_goes_and_all_else_stays(kind: Kind) -> None:
    checked = check_search(kind, WHOLE)
    if kind == "action":
        assert checked == {name: one for name, one in WHOLE.items() if name != "action"}
        return
    sought = {name: one for name, one in WHOLE[kind].items() if name != "id"}
    assert checked == {**WHOLE, kind: sought}


@given(st.sampled_from(KINDS), st.sampled_from(sorted(WHOLE)), JSON)
def test_any_member_is_checked_or_passes(kind: Kind, name: str, value: Any) -> None:
    said = ""
    try:
        checked = check_search(kind, {**WHOLE, name: value})
    except FormatError as error:
        checked, said = {}, str(error)
    assert said.startswith(name) if said else (name in checked) == ((name, kind) != ("action",) * 2)


@given(st.sampled_from(KINDS), JSON | st.builds(lambda one: {"results": one}, JSON))
def test_any_answer_is_results_or_refused(kind: Kind, answer: Any) -> None:
    try:
        found = check_results(kind, WHOLE, answer)
    except FormatError:
        return
    members = ("name",) if kind == "action" else ("type", "id")
    assert all(isinstance(one[member], str) for one in found["results"] for member in members)
    said = said_by(found, "pdp")
    assert said["context"]["muniment"] == {"permission": False, "authority": "pdp"}
    assert "decision" not in said_by({**found, "decision": True}, "pdp")


async def test_so_many_searches_go_on_and_no_more() -> None:
    release = threading.Event()

    def respond(_: Asked) -> Answer:
        release.wait(60)
        return Answer(200, json.dumps({"results": []}).encode())

    async def no_metadata() -> dict[str, Any]:
        return {}

    with Stand(respond).serve() as stand:
        entry = AuthorityEntry(name="pdp", kind="authzen", deadline_seconds=120.0)
        async with HttpSession(headers={}) as http:
            authority = Authority(entry, stand.url())
            searches = Searches([authority], http, no_metadata, Metrics("test"))
            request = check_search("action", WHOLE)
            first = [
                asyncio.create_task(searches.search("action", request, Passed({})))
                for _ in range(MOST_SEARCHES)
            ]
            await asyncio.sleep(0)  # each has begun
            with pytest.raises(TooManySearchesError, match=f"{MOST_SEARCHES} searches"):
                await searches.search("action", request, Passed({}))
            release.set()
            assert all(one["results"] == [] for one in await asyncio.gather(*first))
            assert (await searches.search("action", request, Passed({})))["results"] == []
