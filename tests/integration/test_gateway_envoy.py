"""The real Envoy, which asks the gateway over gRPC and over HTTP."""

import asyncio
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gateway_service
import proxy_tools
from certificates import Authority
from gateway_service import Service
from log_deployment import Answer, Deployment
from muniment.permit.header import parse_header
from muniment.records.kinds import Entity
from muniment_gateway.envoy.messages import METHOD, PERMISSION_DENIED, Messages
from muniment_gateway.envoy.service import MAX_CHECK
from ports import free_port
from proxy_tools import Upstream, ask, grpc_port
from waiting import eventually, until

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")
grpc: Any = pytest.importorskip("grpc", reason="the extra `envoy` is not installed")
aio: Any = pytest.importorskip("grpc.aio", reason="the extra `envoy` is not installed")

TOKEN = "edge-token-0123456789"
FORGED = [(f"Muniment-{name}", "forged") for name in ("Permit", "Evaluation", "Client")]


def tables(port: int = 0) -> str:
    return f"""\
[[client]]
name = "edge"
token_file = "edge.token"
[[proxy]]
name = "grpc"
kind = "envoy"
listen = "127.0.0.1:{port}"
client = "edge"
subject = "header:x-user"
headers = ["user-agent"]
body = "json"
deadline_seconds = 30
permit_header_bytes = 16000
[[proxy.route]]
path = "/accounts/{{account}}/pay"
action = "pay"
resource_type = "account"
resource_id = "{{account}}"
[[proxy]]
name = "http"
kind = "envoy-http"
path = "/proxy/http"
client = "edge"
subject = "header:x-user"
deadline_seconds = 30
permit_header_bytes = 16000
"""


def grpc_table(subject: str, seconds: int = 30) -> str:
    return f"""\
[[proxy]]
name = "grpc"
kind = "envoy"
listen = "127.0.0.1:0"
subject = "{subject}"
deadline_seconds = {seconds}
"""


def gateway(deployment: Deployment, folder: Path, text: str, name: str) -> Service:
    folder.mkdir(exist_ok=True)
    (folder / "edge.token").write_text(f"{TOKEN}\n")
    (folder / "edge.token").chmod(0o600)
    return proxy_tools.made(deployment, folder, text, name)


@pytest.fixture(scope="module")
def service(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = gateway(deployment, tmp_path_factory.mktemp("gateway"), tables(), "envoy")
    with made.running():
        yield made


@pytest.fixture(scope="module")
def port(service: Service) -> int:
    return grpc_port(service)


@pytest.fixture(scope="module")
def behind() -> Iterator[Upstream]:
    with proxy_tools.upstream() as made:
        yield made


def over_grpc(**more: Any) -> dict[str, Any]:
    """The filter of docs/gateway.md; it waits for longer, on a loaded machine."""
    return {
        "transport_api_version": "V3",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": "gateway"},
            "timeout": "60s",
            "initial_metadata": [{"key": "authorization", "value": f"Bearer {TOKEN}"}],
        },
        **more,
    }


WHOLE = {"max_request_bytes": 8192, "allow_partial_message": True}


@pytest.fixture(scope="module")
def url(
    service: Service, behind: Upstream, tmp_path_factory: pytest.TempPathFactory, port: int
) -> Iterator[str]:
    asks = over_grpc(with_request_body=WHOLE)
    folder = tmp_path_factory.mktemp("envoy") / "grpc"
    with proxy_tools.envoy(asks, port, behind, folder) as made:
        yield made


def denied(answer: Answer, slug: str = "denied") -> list[str]:
    assert answer.status == 403, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == f"urn:muniment:problem:{slug}"
    return list(answer.json.get("codes", []))


def test_what_is_allowed_reaches_the_upstream_with_our_headers_alone(
    service: Service, url: str, behind: Upstream
) -> None:
    answer = ask(url, "GET", "/todos?x=1", [("x-user", "ada"), ("User-Agent", "t"), *FORGED])
    assert (answer.status, answer.body) == (200, b"ran")
    reached = behind.reached[-1]
    [value] = reached.headers["muniment-permit"]
    permit, execution = parse_header(value)
    decision = permit.decision
    assert reached.headers["muniment-evaluation"] == [decision.id]
    assert "muniment-client" not in reached.headers
    assert (decision.execution, decision.action) == (execution, "GET")
    assert decision.resource == Entity("route", "/todos")
    service.deployment.policy.verify(permit.proof.checkpoint)
    disclosed = permit.disclosed
    assert disclosed["/request/context/http/query"] == "x=1"
    assert disclosed["/request/context/http/headers"] == {"user-agent": "t"}


def test_what_is_denied_does_not_reach_it_and_the_client_reads_why(
    service: Service, url: str, behind: Upstream
) -> None:
    before = len(behind.reached)
    answer = ask(url, "DELETE", "/todos", {"x-user": "ada"})
    assert denied(answer) == ["denied_by_policy"]
    wanted = answer.json["evaluation_id"]
    eventually(lambda: wanted in {one.id for one in service.logged()})
    assert denied(ask(url, "GET", "/todos", {}), "malformed") == ["could_not_evaluate"]
    assert denied(ask(url, "GET", "/todos/%2e%2e/x", {"x-user": "ada"}), "malformed")
    twice = [("x-user", "mallory"), ("x-user", "ada")]
    assert denied(ask(url, "GET", "/todos", twice), "malformed")
    assert len(behind.reached) == before


def test_a_body_is_decided_on_when_all_of_it_is_there(url: str, behind: Upstream) -> None:
    def pay(body: bytes) -> Answer:
        headers = {"x-user": "ada", "Content-Type": "application/json"}
        return ask(url, "POST", "/accounts/1/pay", headers, body)

    assert pay(b'{"amount": 10}').status == 200
    assert behind.reached[-1].body == b'{"amount": 10}'
    permit, _ = parse_header(behind.reached[-1].headers["muniment-permit"][0])
    assert permit.disclosed["/request/context/arguments"] == {"amount": 10}
    before = len(behind.reached)
    assert denied(pay(b'{"amount": 11}')) == ["denied_by_policy"]
    for body in (b'{"amount": 1, "amount": 11}', b"[]", b"", b'{"amount": 1}' + b" " * 9000):
        assert pay(body).status == 403
    assert len(behind.reached) == before


def test_what_envoy_leaves_out_is_not_taken_for_nothing(
    service: Service, behind: Upstream, tmp_path: Path, port: int
) -> None:
    """A body that it does not send, and its token, which no header of a client stands for."""
    before = len(behind.reached)
    with proxy_tools.envoy(over_grpc(), port, behind, tmp_path / "body") as url:
        answer = ask(url, "POST", "/accounts/1/pay", {"x-user": "ada"}, b'{"amount": 1}')
        assert denied(answer, "malformed") == ["could_not_evaluate"]
    asks = over_grpc()
    del asks["grpc_service"]["initial_metadata"]
    with proxy_tools.envoy(asks, port, behind, tmp_path / "token") as url:
        headers = {"x-user": "ada", "authorization": f"Bearer {TOKEN}"}
        assert denied(ask(url, "GET", "/todos", headers), "unknown-proxy") == []
    assert len(behind.reached) == before


def test_over_http_the_same_holds(service: Service, behind: Upstream, tmp_path: Path) -> None:
    gateway_port = int(service.url.rpartition(":")[2])
    ours = {"patterns": [{"prefix": "muniment-", "ignore_case": True}]}
    asks = {
        "transport_api_version": "V3",
        "http_service": {
            "server_uri": {"uri": service.url, "cluster": "gateway", "timeout": "60s"},
            "path_prefix": "/proxy/http",
            "authorization_request": {
                "headers_to_add": [{"key": "Muniment-Client", "value": f"Bearer {TOKEN}"}],
            },
            "authorization_response": {"allowed_upstream_headers": ours},
        },
        "allowed_headers": {"patterns": [{"exact": "x-user"}]},
    }
    with proxy_tools.envoy(asks, gateway_port, behind, tmp_path / "envoy", http2=False) as url:
        answer = ask(url, "GET", "/todos?x=1", [("x-user", "ada"), *FORGED])
        assert (answer.status, answer.body) == (200, b"ran")
        reached = behind.reached[-1]
        permit, _ = parse_header(",".join(reached.headers["muniment-permit"]))
        assert permit.decision.resource == Entity("route", "/todos")
        assert reached.headers["muniment-evaluation"] == [permit.decision.id]
        assert "muniment-client" not in reached.headers
        before = len(behind.reached)
        assert denied(ask(url, "DELETE", "/todos", {"x-user": "ada"})) == ["denied_by_policy"]
        assert denied(ask(url, "GET", "/todos", {}), "malformed") == ["could_not_evaluate"]
        assert ask(url, "HEAD", "/todos", {"x-user": "ada"}).status == 403
        assert len(behind.reached) == before


def test_with_the_log_stopped_it_is_the_gateway_that_denies_in_time(
    deployment: Deployment, behind: Upstream, tmp_path: Path
) -> None:
    """By its own deadline, which is below Envoy's 200 ms, and not by that of the other callers."""
    text = (
        tables().partition('[[proxy]]\nname = "http"')[0].replace("seconds = 30", "seconds = 0.15")
    )
    service = gateway(deployment, tmp_path / "gateway", text, "stopped")
    service.config.write_text(f"deadline_seconds = 60\n{service.config.read_text()}")
    headers = {"x-user": "ada"}
    with (
        service.running(),
        proxy_tools.envoy(over_grpc(), grpc_port(service), behind, tmp_path / "e") as url,
    ):
        eventually(lambda: ask(url, "GET", "/todos", headers).status == 200)
        before = len(behind.reached)
        deployment.log.pause()  # it still has its sockets: requests wait for it
        try:
            for _ in range(5):
                answer = ask(url, "GET", "/todos", headers)
                assert denied(answer) == ["governance_mesh_discontinuity"]
            eventually(lambda: not service.is_ready())  # from now on nothing waits for it
            assert denied(ask(url, "GET", "/todos", headers)) == ["governance_mesh_discontinuity"]
        finally:
            deployment.log.resume()
        assert len(behind.reached) == before
        eventually(lambda: ask(url, "GET", "/todos", headers).status == 200)


def test_with_the_gateway_gone_envoy_denies(
    deployment: Deployment, behind: Upstream, tmp_path: Path
) -> None:
    port = free_port()
    service = gateway(deployment, tmp_path / "gateway", tables(port), "gone")
    before = len(behind.reached)
    with proxy_tools.envoy(over_grpc(), port, behind, tmp_path / "envoy") as url:
        assert ask(url, "GET", "/todos", {"x-user": "ada"}).status == 403
        with service.running():
            eventually(lambda: ask(url, "GET", "/todos", {"x-user": "ada"}).status == 200)
        reached = len(behind.reached)
        assert ask(url, "GET", "/todos", {"x-user": "ada"}).status == 403
        assert len(behind.reached) == reached > before


def pem(certificate: Path, key: Path, ca: Path, **more: Any) -> dict[str, Any]:
    """A TLS context of Envoy's, for a side that shows a certificate and wants one of the CA's."""
    chain, private, trusted = ({"filename": str(path)} for path in (certificate, key, ca))
    pair = {"certificate_chain": chain, "private_key": private}
    both = {"tls_certificates": [pair], "validation_context": {"trusted_ca": trusted}}
    return {"common_tls_context": both, **more}


def test_the_principal_of_the_clients_certificate_is_the_subject(
    deployment: Deployment, behind: Upstream, tmp_path: Path
) -> None:
    """The gateway's port has TLS too, and the certificate of Envoy is its way in."""
    (tmp_path / "tls").mkdir()
    authority = Authority(tmp_path / "tls")
    edge = authority.issue("edge")
    own = authority.issue("gateway")
    tls = f'certificate = "{own[0]}"\nkey = "{own[1]}"\nclient_ca = "{authority.file}"\n'
    text = f"{grpc_table('principal')}[tls]\n{tls}"
    service = gateway(deployment, tmp_path / "gateway", text, "principal")
    inside = pem(*edge, authority.file)
    outside = pem(*edge, authority.file, require_client_certificate=True)
    asks = over_grpc(include_tls_session=True)
    before = len(behind.reached)
    service.start()
    try:
        port = grpc_port(service)
        with proxy_tools.envoy(
            asks, port, behind, tmp_path / "envoy", tls=outside, gateway_tls=inside
        ) as url:

            def get(name: str, uri: str = "") -> Answer:
                tls = ssl.create_default_context(cafile=authority.file)
                tls.load_cert_chain(*authority.issue(name, uri=uri))
                return ask(url, "GET", "/todos", {"x-user": "ada"}, tls=tls)

            eventually(lambda: get("ada", "spiffe://tests/ada").status == 200)
            reached = len(behind.reached)
            assert reached > before
            answer = get("mallory", "spiffe://tests/mallory")
            assert denied(answer) == ["denied_by_policy"]
            eventually(lambda: answer.json["evaluation_id"] in {o.id for o in service.logged()})
            [record] = [o for o in service.logged() if o.id == answer.json["evaluation_id"]]
            assert record.subject == Entity("user", "spiffe://tests/mallory")
        with proxy_tools.envoy(asks, port, behind, tmp_path / "plain") as url:
            assert ask(url, "GET", "/todos", {"x-user": "ada"}).status == 403
        assert len(behind.reached) == reached
    finally:
        service.stop()


@pytest.mark.parametrize("source", ["extension:who", "metadata:/tests.filter/claims/who"])
def test_the_subject_is_what_envoys_configuration_or_its_filters_say(
    deployment: Deployment, behind: Upstream, tmp_path: Path, source: str
) -> None:
    name = source.partition(":")[0]
    service = gateway(deployment, tmp_path / "gateway", grpc_table(source), name)
    kind = "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config"
    told = {"metadata_namespace": "tests.filter", "value": {"claims": {"who": "ada", "n": 1.5}}}
    config = {"@type": kind, "metadata": [told]}
    filters = [{"name": "envoy.filters.http.set_metadata", "typed_config": config}]
    of_route = {"check_settings": {"context_extensions": {"who": "ada"}}}
    asks = over_grpc(metadata_context_namespaces=["tests.filter"])
    folder = tmp_path / "envoy"
    with (
        service.running(),
        proxy_tools.envoy(
            asks, grpc_port(service), behind, folder, before=filters, of_route=of_route
        ) as url,
    ):
        forged = {"who": "mallory", "x-user": "mallory"}
        eventually(lambda: ask(url, "GET", "/todos", forged).status == 200)
        assert denied(ask(url, "DELETE", "/todos", forged)) == ["denied_by_policy"]


async def test_what_is_no_question_is_denied_in_the_protocols_form(
    service: Service, port: int
) -> None:
    messages = Messages()
    secret = (("authorization", f"Bearer {TOKEN}"),)
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(METHOD)
        for data in (b"\xff", b"\x0a\xff", b"", b"\x0a\x02\x22\x00"):
            response = messages.response()
            response.ParseFromString(await check(data, metadata=secret, timeout=60))
            assert response.status.code == PERMISSION_DENIED
            assert response.denied_response.status.code == 403
            told = json.loads(response.denied_response.body)
            assert (told["status"], told["codes"]) == (403, ["could_not_evaluate"])
        wanted = told["evaluation_id"]
        for metadata in ((), (*secret, *secret)):
            response.ParseFromString(await check(b"", metadata=metadata, timeout=60))
            assert response.status.code == PERMISSION_DENIED
            assert "unknown-proxy" in response.denied_response.body
        with pytest.raises(aio.AioRpcError) as refused:
            await check(b"x" * (MAX_CHECK + 1), metadata=secret, timeout=60)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: wanted in {one.id for one in service.logged()})


async def test_what_envoy_no_longer_waits_for_is_decided_and_on_record(
    deployment: Deployment, tmp_path: Path
) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    os.mkfifo(go_on)
    program = f"touch {begun}; cat {go_on} >/dev/null; echo '{{\"decision\": true}}'"
    authority = f"""\
[[authority]]
name = "slow"
kind = "command"
command = ["/bin/sh", "-c", {json.dumps(program)}]
deadline_seconds = 60
"""
    service = gateway_service.made(
        deployment, tmp_path / "gateway", authority, name="gw.example/patient"
    )
    text = service.config.read_text()
    service.config.write_text(f"{text}\n{grpc_table('header:x-user', 60)}")
    request = Messages().request()
    http = request.attributes.request.http
    http.method, http.path, http.host = "GET", "/todos", "h"
    http.headers["x-user"] = "ada"
    with service.running():
        async with aio.insecure_channel(f"127.0.0.1:{grpc_port(service)}") as channel:
            call = channel.unary_unary(METHOD)(request.SerializeToString(), wait_for_ready=True)
            await until(lambda: begun.exists() or call.done())
            assert not call.done(), await call
            call.cancel()
        await asyncio.to_thread(go_on.write_text, "")
        await until(lambda: any(one.subject == Entity("user", "ada") for one in service.logged()))
