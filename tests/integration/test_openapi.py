"""The services against their own OpenAPI documents, by schemathesis.

It sends what the documents allow and what they do not, hundreds of requests by one seed, and
compares each answer with what is promised: status, media type, headers, schema; that nothing is a
500; that what is allowed is taken and what is not is refused; that calls which need a token are
refused without one. What a document cannot say, a `Driver` arranges, so that requests get further
than the first check.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import schemathesis.hooks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.generation import GenerationMode

import approving
import decisions
import gateway_service
import pdp
import processes
from byzantine import View
from gateway_service import Service
from log_deployment import GATEWAY, PRODUCER, TOKEN, Deployment, ask, deployed
from muniment.records.batchbody import join_body
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import addendum
from muniment.tlog.encoding import frame
from muniment.tlog.evidence import same_size
from muniment.tlog.witnesswire import SignSubtree, origin_hash
from processes import muniment_witness
from stand import Stand
from waiting import eventually
from witness_deployment import configure

MAX_EXAMPLES = 8  # for each call and phase
TILE = "/tile/{level}/{index}.p/{width}"
RECORDS = decisions.decisions(300, producer=GATEWAY)
ADDENDUM = addendum("0" * 32, {"to": "alice"})
DIGEST = sha256(ADDENDUM).hexdigest()


class Driver:
    """Makes valid requests of those that the document alone would only make well-formed."""

    def arrange(self, case: Any, turn: int) -> None:
        raise NotImplementedError


def check(
    document: dict[str, Any], url: str, driver: Driver, headers: dict[str, str], taken: list[str]
) -> Counter[tuple[str, int]]:
    """Runs schemathesis; how often each call gave each status.

    Args:
        document: The document.
        url: The service.
        driver: Arranges valid requests.
        headers: Sent with every request.
        taken: Calls whose bodies have rules that a schema cannot say: I-JSON, records, notes.
    """
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {
                "max-examples": MAX_EXAMPLES,
                "deterministic": True,
                "database": "none",
                "no-shrink": True,
            },
            "phases": {"stateful": {"enabled": False}},
            # A refusal is any of the client's errors, if the document has it, as 431; a server's
            # error is none: what is malformed is so whatever state the service is in.
            "checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}},
            "operations": [
                {
                    "include-name": name,
                    "checks": {
                        "positive_data_acceptance": {
                            "expected-statuses": ["2xx", "400", "403", "404", "409", "422", "503"]
                        }
                    },
                }
                for name in taken
            ],
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.config.update(base_url=url, headers=headers)
    turn = itertools.count()

    @schemathesis.hook
    def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
        if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
            driver.arrange(case, next(turn))

    statuses: Counter[tuple[str, int]] = Counter()
    failures: list[str] = []
    try:
        happened = list(from_schema(schema).execute())
    finally:
        schemathesis.hooks.unregister(before_call)
    for event in happened:
        if isinstance(event, events.NonFatalError | events.FatalError):
            error = event.value if isinstance(event, events.NonFatalError) else event.exception
            failures.append(f"schemathesis: {error!r}")
        if isinstance(event, events.ScenarioFinished):
            record = event.recorder
            for interaction in record.interactions.values():
                if interaction.response is not None:
                    statuses[record.label, interaction.response.status_code] += 1
            failures += [
                f"{record.label}: {found.name}: {found.failure_info.failure.title}: "
                f"{found.failure_info.failure.message}\n  {found.failure_info.code_sample}"
                for checks in record.checks.values()
                for found in checks
                if found.failure_info is not None
            ]
    assert not failures, "\n".join(failures)
    return statuses


def spelled_out(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the path of a tile in parts: OpenAPI has no parameter of many segments."""
    paths = dict(document["paths"])
    for folder in ("", "/index"):
        call = paths.pop(f"{folder}/tile/{{path}}")["get"]
        (whole,) = call["parameters"]
        parts = [
            {**whole, "name": "level", "schema": {"enum": ["0", "1", "entries"]}},
            {**whole, "name": "index", "schema": {"type": "string", "pattern": "^[0-9]{3}$"}},
            {**whole, "name": "width", "schema": {"type": "integer", "minimum": 1, "maximum": 255}},
        ]
        paths[folder + TILE] = {"get": {**call, "parameters": parts}}
    return {**document, "paths": paths}


class LogDriver(Driver):
    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.stream = deployment.stream()

    def arrange(self, case: Any, turn: int) -> None:
        query = case.query or {}
        if "wait" in query or "timeout" in query:  # one goes with the other
            query.update(wait="published", timeout="60")
        match case.operation.label:
            case "POST /v1/batches":
                case.body = self.stream.take([RECORDS[turn % len(RECORDS)]])
            case "POST /v1/records" if case.media_type == "application/x-ndjson":
                case.body = b"\n".join([json.dumps(_evaluation()).encode()] * (1 + turn % 3))
            case "POST /v1/records" if turn % 4 == 1:
                case.body = [_evaluation()] * (1 + turn % 3)
            case "POST /v1/records" if turn % 4 == 3:
                evaluation = _evaluation() | {"addenda": {"/request/arguments": DIGEST}}
                sent = [json.loads(ADDENDUM)] * (turn % 8 == 3)
                case.body = {"records": [evaluation], "addenda": sent}
            case "GET /addenda/{s0}/{s1}/{digest}" if turn % 2:
                case.path_parameters = {"s0": DIGEST[:2], "s1": DIGEST[2:4], "digest": DIGEST}
            case "GET /v1/streams/{gateway}/{stream}" if turn % 2:
                case.path_parameters = {"gateway": GATEWAY, "stream": self.stream.label}
            case "GET /v1/decisions/{id}" | "GET /v1/executions/{id}" if turn % 2:
                record = json.loads(RECORDS[turn % 50])
                case.path_parameters = {"id": record.get("execution", record["id"])}
            case "GET /v1/lineage/{type}/{id}" if "page" in query:
                query["page"] = f"1.{turn % 50}"
            case label if label == f"GET {TILE}":
                level = ("0", "entries")[turn % 2]
                case.path_parameters = {"level": level, "index": "000", "width": 1 + turn % 255}
            case label if label == f"GET /index{TILE}":
                level = ("0", "entries")[turn % 2]
                case.path_parameters = {"level": level, "index": "000", "width": 1}
            case "GET /v1/index/proof":
                query["key"] = [f"execution {turn}", "revocations key_name a%2Fb"][: 1 + turn % 2]
            case "POST /v1/index/proof":
                case.body = f"key=execution+{turn}&limit=9".encode()
            case "GET /v1/proofs/inclusion":
                pair = sorted((int(query["index"]), int(query.get("size", 2**62))))
                query["index"] = pair[0] % 250
                if "size" in query:
                    query["size"] = 250 + pair[1] % 50
            case "GET /v1/proofs/consistency":
                query["from"], query["to"] = sorted((query["from"], query["to"]), key=int)


def _evaluation() -> dict[str, Any]:
    record = json.loads(RECORDS[0])
    return {"request": record["request"], "response": record["response"]}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with deployed(folder, mirrors=1, complete="enabled = true\n") as made:
        with made.config.open("a") as file:
            file.write("[read]\nopen_addenda = true\n")
            file.write(f'[[witness]]\nurl = "{made.witnesses[2].url}"\nper_day = 86400000\n')
        processes.run(processes.muniment_log("reload", "--config", made.config), code=0)
        yield made


def test_the_log_does_what_its_document_says(deployment: Deployment) -> None:
    assert deployment.post(deployment.stream().take(RECORDS), "?wait=published").status == 200
    withheld = encode_canonical(
        json.loads(RECORDS[0]) | {"addenda": {"/request/arguments": DIGEST}}
    )
    body = join_body(deployment.stream().take([withheld]), [ADDENDUM])
    assert deployment.post(body).status == 200
    for name in ("checkpoint.cosigned", "checkpoint.mirrored"):
        eventually(lambda name=name: ask(f"{deployment.url}/{name}").status == 200)
    eventually(lambda: ask(f"{deployment.url}/readyz").json["index_log"]["covered"] > 0)
    document = spelled_out(ask(f"{deployment.url}/openapi.json").json)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    driver = LogDriver(deployment)
    found = check(document, deployment.url, driver, headers, ["POST /v1/records"])
    # The requests got past the door: every call has done its work, and said no.
    calls = {label for label, _ in found}
    assert calls == {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    }
    assert {label for label, status in found if status == 200} == calls
    assert found["POST /v1/records", 401]
    assert found["GET /v1/proofs/inclusion", 400]
    # And it still works.
    assert deployment.post(driver.stream.take(RECORDS[:1])).status == 200
    assert ask(f"{deployment.url}/v1/streams/{PRODUCER}/x").status == 200
    assert "unhandled exception" not in deployment.log.stderr


class GatewayDriver(Driver):
    """Has calls denied for want of an approval, and uses their ids."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.numbers = itertools.count()

    def denied(self) -> dict[str, Any]:
        asked = gateway_service.evaluation("alice", "write", f"record-{next(self.numbers)}")
        context = self.service.evaluate(asked)["context"]
        expires = context["access_request"]["expires_at"]
        denial = {"evaluation_id": context["evaluation_id"], "expires_at": expires}
        return {**asked, "denial": denial}

    def arrange(self, case: Any, turn: int) -> None:
        label = case.operation.label
        if label == "POST /access/v1/requests":
            case.body = self.denied()
        elif "/access/v1/requests/" in label:
            task = self.service.post("/access/v1/requests", self.denied()).json["task"]
            case.path_parameters["id"] = task["id"]


def gateway_of(deployment: Deployment, folder: Path, tables: str) -> Service:
    """A gateway that asks people about writes."""
    service = gateway_service.made(deployment, folder / "gateway", tables)
    carol = approving.person(folder, "carol")
    approving.ask_people(service, [carol], 'actions = ["write"]', "most_waiting = 1000")
    return service


def test_the_gateway_does_what_its_document_says(deployment: Deployment, tmp_path: Path) -> None:
    pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")
    tables = (
        '[[authority]]\nname = "cedar"\nkind = "cedar"\npolicies = ["authz.cedar"]\n'
        '[[authority]]\nname = "pdp"\nkind = "authzen"\nurl = "{}"\ndeadline_seconds = 10.0\n'
    )
    with (
        Stand(lambda asked: pdp.answer(pdp_at.url)(asked)).serve() as pdp_at,  # noqa: PLW0108 - it is made then
        gateway_of(deployment, tmp_path, tables.format(pdp_at.url())).running() as service,
    ):
        document = ask(f"{service.url}/openapi.json").json
        taken = [
            "POST /access/v1/evaluations",  # what it needs hangs on whether it has evaluations
            "POST /access/v1/requests",  # a denial of before
            "POST /approvals/{request}",  # a signature
        ]
        driver = GatewayDriver(service)
        found = check(document, service.url, driver, {}, taken)
        calls = {label for label, _ in found}
        assert calls == {
            f"{method.upper()} {path}"
            for path, item in document["paths"].items()
            for method in item
        }
        signed = {"GET /approvals", "GET /approvals/{request}", "POST /approvals/{request}"}
        assert {label for label, status in found if status in {200, 202}} == calls - signed
        assert {label for label, status in found if status == 401} == signed - {
            "POST /approvals/{request}"
        }
        assert found["POST /access/v1/evaluation", 400]
        assert service.evaluate(gateway_service.evaluation())["decision"] is True
        assert "unhandled exception" not in service.process.stderr


class WitnessDriver(Driver):
    def __init__(self, view: View) -> None:
        self.view = view
        self.size = 0
        self.cosigned: Any = None

    def arrange(self, case: Any, turn: int) -> None:
        view = self.view
        if "origin" in (case.path_parameters or {}) and turn % 2:
            case.path_parameters["origin"] = origin_hash(view.origin)
        match case.operation.label:
            case "POST /add-checkpoint":
                old, self.size = self.size, self.size + 1
                case.body = view.add_checkpoint(old, self.size).encode().decode()
            case "POST /sign-subtree":
                reference = self.cosigned or view.checkpoint(4)
                asked = SignSubtree(0, 4, view.root(4), (), reference)
                case.body = asked.encode().decode()
            case "POST /gossip/heads":
                case.body = frame([view.checkpoint(1 + turn % 30).encode()])
            case "POST /gossip/evidence":
                # Of a log that this witness does not know: it goes on cosigning the other.
                other = View("other.example").append(5)
                pair = other.checkpoint(5), other.fork(2, 5).checkpoint(5)
                case.body = same_size(*pair).encode().decode()
            case "GET /{origin}/history/{size}" if turn % 2:
                case.path_parameters["size"] = 0


def test_a_witness_does_what_its_document_says(tmp_path: Path) -> None:
    view = View("log.example/openapi").append(200)
    config = configure(tmp_path / "w", {view.vkeys[0]: ""}, {})
    with processes.start(muniment_witness("serve", "--config", config)) as witness:
        document = ask(f"{witness.url}/openapi.json").json
        driver = WitnessDriver(view)
        posts = [f"POST {path}" for path, item in document["paths"].items() if "post" in item]
        found = check(document, witness.url, driver, {}, posts)
        calls = {label for label, _ in found}
        assert calls == {
            f"{method.upper()} {path}"
            for path, item in document["paths"].items()
            for method in item
        }
        for label in ("POST /add-checkpoint", "POST /gossip/heads", "GET /{origin}/checkpoint"):
            assert found[label, 200], label
        assert ask(f"{witness.url}/{origin_hash(view.origin)}/checkpoint").status == 200
        assert "unhandled exception" not in witness.stderr
        assert witness.terminate() == 0
