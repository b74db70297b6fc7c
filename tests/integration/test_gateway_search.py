"""AuthZEN's searches through the gateway: the certification scenario, OpenFGA, a hostile PDP."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import foreign
import gateway_service
import hostile
import pdp
from gateway_service import Service, evaluation
from log_deployment import Deployment, ask
from stand import Answer, Asked, Stand
from waiting import eventually

SEARCH = "/access/v1/search/"
METADATA = "/.well-known/authzen-configuration"
TOKEN = "token-of-the-one-client"

ALICE = {"type": "user", "id": "alice"}
READ = {"name": "read"}
RECORD = {"type": "record", "id": "record-1"}
ARCHIVED = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}
ADMIN = {"type": "user", "id": "bob", "properties": {"role": "admin"}}


@dataclass
class Pdp:
    """What the gateway asks: the fixture of the scenario, or one answer to every search."""

    service: Service
    stand: Stand
    lies: dict[str, Answer] = field(default_factory=dict)


def table(url: str, *lines: str) -> str:
    more = "".join(f"{line}\n" for line in lines)
    return f'[[authority]]\nname = "pdp"\nkind = "authzen"\nurl = "{url}"\n{more}'


@pytest.fixture(scope="module")
def fixture(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pdp]:
    folder = tmp_path_factory.mktemp("search")
    lies: dict[str, Answer] = {}

    def respond(asked: Asked) -> Answer:
        lie = lies.get("search") if asked.path.startswith("/find/") else None
        return lie or pdp.answer(stand.url)(asked)

    with Stand(respond).serve() as stand:
        client = folder / "client.token"
        client.write_text(f"{TOKEN}\n")
        client.chmod(0o600)
        tables = table(stand.url(), "deadline_seconds = 1.5")
        tables += f'[[client]]\nname = "shop"\ntoken_file = "{client}"\n'
        service = gateway_service.made(
            deployment, folder / "gateway", tables, name="gw.example/search"
        )
        with service.running():
            yield Pdp(service, stand, lies)


def find(found: Pdp, kind: str, request: object, **headers: str) -> Any:
    more = {"Authorization": f"Bearer {TOKEN}", **headers}
    return found.service.post(SEARCH + kind, request, more)


def results(found: Pdp, kind: str, request: object) -> list[str]:
    answer = find(found, kind, request)
    assert answer.status == 200, answer.body
    return [one.get("id") or one["name"] for one in answer.json["results"]]


CORE: list[tuple[str, Mapping[str, Any], set[str]]] = [
    (
        "subject",
        {"subject": {"type": "user"}, "action": READ, "resource": RECORD},
        {"alice", "bob"},
    ),
    ("resource", {"subject": ALICE, "action": READ, "resource": {"type": "record"}}, {"record-1"}),
    ("action", {"subject": ALICE, "resource": RECORD}, {"read", "write"}),
    (
        "subject",
        {"subject": {"type": "user"}, "action": {"name": "write"}, "resource": ARCHIVED},
        {"bob"},
    ),
    (
        "resource",
        {"subject": ADMIN, "action": {"name": "write"}, "resource": {"type": "record"}},
        {"record-2"},
    ),
    ("action", {"subject": ADMIN, "resource": ARCHIVED}, {"write"}),
    ("action", {"subject": {"type": "user", "id": "nobody"}, "resource": RECORD}, set()),
    ("subject", {"subject": {"type": "spaceship"}, "action": READ, "resource": RECORD}, set()),
]


@pytest.mark.parametrize("more", [{}, {"context": {"time": "now"}, "future": [1]}])
def test_the_searches_of_the_certification_scenario(fixture: Pdp, more: dict[str, Any]) -> None:
    """c-4-2, c-4-3, c-4-4, c-4-6: core and properties."""
    for kind, request, wanted in CORE:
        found = results(fixture, kind, {**request, **more})
        assert wanted <= set(found), request
        assert wanted or not found


def test_the_identity_of_what_is_searched_for_is_ignored(fixture: Pdp) -> None:
    """c-4-2-3, c-4-3-2; an action is not asked for at all."""
    asked = {"subject": ALICE, "action": READ, "resource": RECORD}
    assert {"alice", "bob"} <= set(results(fixture, "subject", asked))
    assert "record-2" in results(fixture, "resource", asked)
    assert "write" in results(fixture, "action", asked)
    last = fixture.stand.asked[-1]
    assert "action" not in json.loads(last.body)


def test_pages_and_their_tokens_pass(fixture: Pdp) -> None:
    """c-4-5."""
    asked = {"subject": {"type": "user"}, "action": READ, "resource": RECORD}
    seen: list[str] = []
    page: dict[str, Any] = {"limit": 1}
    for _ in range(3):
        answer = find(fixture, "subject", {**asked, "page": page}).json
        seen += [one["id"] for one in answer["results"]]
        if not answer["page"]["next_token"]:
            break
        page = {"limit": 1, "token": answer["page"]["next_token"]}
    assert sorted(seen) == ["alice", "bob"]


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        ("subject", {"subject": {"type": "user"}, "resource": RECORD}),
        ("resource", {"action": READ, "resource": {"type": "record"}}),
        ("action", {"subject": ALICE}),
        ("subject", {"subject": {"type": "user"}, "action": READ, "resource": {"type": "record"}}),
        ("resource", {"subject": {"type": "user"}, "action": READ, "resource": {"type": "record"}}),
        ("subject", {"subject": {"type": 1}, "action": READ, "resource": RECORD}),
        ("action", {"subject": ALICE, "resource": RECORD, "page": [1]}),
        ("action", {"subject": ALICE, "resource": RECORD, "page": {"token": 1}}),
        ("action", {"subject": ALICE, "resource": RECORD, "page": {"limit": True}}),
        ("action", {"subject": ALICE, "resource": RECORD, "context": "none"}),
        ("subject", []),
        ("subject", b"{"),
        ("action", b""),
    ],
)
def test_what_is_no_search_is_a_bad_request(fixture: Pdp, kind: str, request_: object) -> None:
    """c-4-7; the PDP is not asked."""
    before = len(fixture.stand.asked)
    answer = find(fixture, kind, request_, **{"X-Request-ID": "of a bad one"})
    assert answer.status == 400, answer.body
    assert isinstance(json.loads(answer.body), str)
    assert answer.headers["X-Request-ID"] == "of a bad one"
    asked = list(fixture.stand.asked)[before:]
    assert not [one for one in asked if one.path.startswith("/find/")]


def test_tokens_and_ids_are_as_for_evaluations(fixture: Pdp) -> None:
    service, asked = fixture.service, CORE[2][1]
    assert service.post(SEARCH + "action", asked).status == 401
    wrong = service.post(SEARCH + "action", asked, {"Authorization": "Bearer x"})
    assert wrong.status == 401
    answer = find(fixture, "action", asked, **{"X-Request-ID": "s-1"})
    assert answer.headers["X-Request-ID"] == "s-1"
    last = fixture.stand.asked[-1]
    headers = {name.lower(): value for name, value in last.headers.items()}
    assert headers["x-request-id"] == "s-1"
    assert "authorization" not in headers  # a client's token is not the PDP's
    plain = {"Content-Type": "text/plain"}
    assert find(fixture, "action", asked, **plain).status == 400


def test_a_search_says_that_it_permits_nothing_and_is_no_decision(fixture: Pdp) -> None:
    service = fixture.service
    before = service.counted()
    answer = find(fixture, "subject", CORE[0][1]).json
    assert answer["context"]["muniment"] == {"permission": False, "authority": "pdp"}
    assert "decision" not in answer
    assert service.counted() == before
    assert (
        'muniment_gateway_searches_total{end="answered"}'
        in ask(f"{service.url}/metrics").body.decode()
    )


def test_the_metadata_name_the_searches_at_the_gateway(fixture: Pdp) -> None:
    """c-6-4."""
    told = ask(fixture.service.url + METADATA).json
    for kind in ("subject", "resource", "action"):
        assert told[f"search_{kind}_endpoint"] == f"{fixture.service.url}{SEARCH}{kind}"
    assert fixture.stand.url() not in json.dumps(told)
    assert "signed_metadata" not in told


LIES = {
    "another type": {"results": [{"type": "robot", "id": "alice"}]},
    "no id": {"results": [{"type": "user"}]},
    "no results": {"decision": True},
    "results that are none": {"results": {"type": "user", "id": "alice"}},
    "texts": {"results": ["alice"]},
    "a page that is none": {"results": [], "page": "next"},
    "a token that is none": {"results": [], "page": {"next_token": 7}},
    "a context that is none": {"results": [], "context": []},
    "too many": {"results": [{"type": "user", "id": "x"}] * 10_001},
    "an array": [],
}


def test_what_is_no_answer_to_a_search_is_not_passed_on(fixture: Pdp) -> None:
    lies = {name: Answer(200, json.dumps(lie).encode()) for name, lie in LIES.items()}
    for name, lie in {**lies, **hostile.ANSWERS}.items():
        fixture.lies["search"] = lie
        try:
            answer = find(fixture, "subject", CORE[0][1])
        finally:
            fixture.lies.clear()
        assert answer.status in {400, 404, 502}, (name, answer.status, answer.body)
        assert isinstance(json.loads(answer.body), str), name
    assert results(fixture, "subject", CORE[0][1])
    assert "unhandled" not in fixture.service.process.stderr


def test_a_pdp_that_hangs_is_given_up_in_its_deadline(fixture: Pdp) -> None:
    fixture.lies["search"] = Answer(delay=600.0)
    try:
        answer = find(fixture, "subject", CORE[0][1])
    finally:
        fixture.lies.clear()
    assert answer.status == 502
    assert "within 1.5 s" in json.loads(answer.body)


def test_without_a_pdp_there_is_no_search(service: Service) -> None:
    """The gateway of this folder decides by Cedar."""
    answer = service.post(SEARCH + "action", CORE[2][1])
    assert answer.status == 404
    assert isinstance(json.loads(answer.body), str)
    told = ask(service.url + METADATA).json
    assert [name for name in told if name.startswith("search_")] == []


def test_openfga_is_searched_and_decides(deployment: Deployment, tmp_path: Path) -> None:
    with foreign.openfga(tmp_path / "openfga.log") as store:
        foreign.openfga_write(
            store, {"record": ["read", "write"]}, [("alice", "read"), ("bob", "read")], RECORD
        )
        tables = table(store, "deadline_seconds = 5.0")
        service = gateway_service.made(
            deployment, tmp_path / "gateway", tables, name="gw.example/openfga"
        )
        with service.running():
            found = Pdp(service, Stand(lambda _: Answer()))
            for kind, request, wanted in CORE[:3]:
                assert wanted - {"write"} == set(results(found, kind, request))
            assert service.evaluate(evaluation())["decision"] is True
            assert service.evaluate(evaluation("bob", "write"))["decision"] is False
            # OpenFGA itself takes 50 of these at once, and none when one is malformed.
            batch = {
                "subject": ALICE,
                "action": READ,
                "evaluations": [{"resource": RECORD}] * 51 + [{}],
            }
            answers = service.post("/access/v1/evaluations", batch).json["evaluations"]
            assert [one["decision"] for one in answers] == [True] * 51 + [False]
            # A type that it does not know is an error there, and not an empty answer.
            strange = {"subject": ALICE, "action": READ, "resource": {"type": "spaceship"}}
            assert find(found, "resource", strange).status == 400
            eventually(lambda: len(service.logged()) >= 2)
