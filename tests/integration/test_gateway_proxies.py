"""Proxies that ask over HTTP: nginx itself where it is installed, and what others send."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import approving
import gateway_service
import processes
import proxy_tools
from gateway_service import Service
from log_deployment import Answer, Deployment
from muniment import Denied, Guard, Trust
from muniment.adapters.http import RequestSide
from muniment.permit.header import format_header, parse_header
from muniment.records.kinds import Entity
from muniment_gateway.config import load
from proxy_tools import ask
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

NGINX = """\
[[proxy]]
name = "nginx"
kind = "nginx"
path = "/proxy/nginx"
subject = "header:X-User"
"""
PATIENT_NGINX = f"""\
{NGINX}deadline_seconds = 30
permit_header_bytes = 16000
"""
ENVOY = """\
[[proxy]]
name = "envoy"
kind = "envoy-http"
path = "/proxy/envoy"
subject = "header:X-User"
headers = ["User-Agent"]
permit_header_bytes = 16000
deadline_seconds = 30
body = "json"
[[proxy.route]]
path = "/accounts/{account}/pay"
action = "pay"
resource_type = "account"
resource_id = "{account}"
"""
TABLES = f"""\
[[client]]
name = "edge"
token_file = "edge.token"
{PATIENT_NGINX}[[proxy]]
name = "traefik"
kind = "traefik"
path = "/proxy/traefik"
subject = "header:X-User"
deadline_seconds = 30
permit_header_bytes = 16000
client = "edge"
[[proxy.route]]
path = "/tools/{{tool}}/call"
methods = ["POST"]
action = "call"
resource_type = "tool"
resource_id = "{{tool}}"
{ENVOY}[permit]
spiffe_id = "spiffe://tests/upstream"
"""
TOKEN = {"Muniment-Client": "Bearer edge-token-0123456789"}
ADA = {"X-User": "ada", **TOKEN}


@pytest.fixture(scope="module")
def service(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "edge.token").write_text("edge-token-0123456789\n")
    (folder / "edge.token").chmod(0o600)
    made = proxy_tools.made(deployment, folder, TABLES, "proxies")
    with made.running():
        yield made


def denied(answer: Answer, slug: str = "denied") -> list[str]:
    """The codes of a denial."""
    told = answer.problem(403, slug)
    return list(told.get("codes", []))


def recorded(service: Service, answer: Answer) -> None:
    """A denial is on record."""
    wanted = answer.json["evaluation_id"]
    eventually(lambda: wanted in {one.id for one in service.logged()})


def nginx(method: str = "GET", uri: str = "/todos", host: str = "api.example") -> dict[str, str]:
    """What nginx says of a request, by the configuration in docs/gateway.md."""
    return {"X-Original-Method": method, "X-Original-URI": uri, "X-Original-Host": host}


def traefik(method: str = "GET", uri: str = "/todos", host: str = "api.example") -> dict[str, str]:
    """What Traefik's ForwardAuth is documented to say of a request."""
    return {
        "X-Forwarded-Method": method,
        "X-Forwarded-Uri": uri,
        "X-Forwarded-Host": host,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "10.0.0.1",
    }


def test_an_allow_is_200_with_the_permit_and_a_denial_403_with_its_codes(service: Service) -> None:
    allowed = ask(service.url, "GET", "/proxy/nginx", {**ADA, **nginx()})
    assert (allowed.status, allowed.body) == (200, b"")
    permit, execution = parse_header(allowed.headers["Muniment-Permit"])
    decision = permit.decision
    assert (decision.id, decision.execution) == (allowed.headers["Muniment-Evaluation"], execution)
    assert (decision.action, decision.resource) == ("GET", Entity("route", "/todos"))
    service.deployment.policy.verify(permit.proof.checkpoint)

    refused = ask(service.url, "GET", "/proxy/nginx", {**ADA, **nginx("DELETE")})
    assert denied(refused) == ["denied_by_policy"]
    recorded(service, refused)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/proxy/nginx", {**ADA, **nginx(), "X-Original-URI": "/todos/../admin"}),
        ("/proxy/nginx", {**ADA, **nginx(), "X-Original-URI": "todos"}),
        ("/proxy/nginx", {**ADA, **nginx(), "X-Original-Method": ""}),
        ("/proxy/nginx", {**TOKEN, **nginx()}),
        ("/proxy/nginx", {**nginx(), **ADA, "X-User": "mallory, ada"}),
        ("/proxy/nginx/more", {**ADA, **nginx()}),
        ("/proxy/nginxes", {**ADA, **nginx()}),
        ("/proxy/traefik", {**ADA, **traefik(), "X-Forwarded-Uri": ""}),
        ("/proxy/envoy", ADA),
        ("/proxy/envoytodos", ADA),
        ("/proxy/envoy//todos", ADA),
    ],
)
def test_what_cannot_be_read_for_certain_is_a_denial_on_record(
    service: Service, path: str, headers: dict[str, str]
) -> None:
    answer = ask(service.url, "GET", path, headers)
    assert denied(answer, "malformed") == ["could_not_evaluate"]
    recorded(service, answer)


def test_a_header_that_the_proxy_has_added_to_the_clients_names_nobody(service: Service) -> None:
    twice = [*TOKEN.items(), *nginx().items(), ("X-User", "mallory"), ("X-User", "ada")]
    assert denied(ask(service.url, "GET", "/proxy/nginx", twice), "malformed")
    twice = [*ADA.items(), *nginx().items(), ("X-Original-URI", "/admin")]
    assert denied(ask(service.url, "GET", "/proxy/nginx", twice), "malformed")


def test_who_shows_no_token_of_a_proxy_is_told_nothing(service: Service) -> None:
    for path, headers in (
        ("/proxy/nginx", {"X-User": "ada", **nginx()}),
        ("/proxy/nginx", {**ADA, **nginx(), "Muniment-Client": "Bearer guessed-guessed-guessed"}),
        ("/proxy/nginx", {**nginx(), "X-User": "ada", "Authorization": TOKEN["Muniment-Client"]}),
    ):
        answer = ask(service.url, "GET", path, headers)
        assert denied(answer, "unknown-proxy") == []
        assert "Muniment-Permit" not in answer.headers


def test_traefik_asks_by_get_about_any_method_and_a_route_says_what(service: Service) -> None:
    headers = {**ADA, **traefik("POST", "/tools/search/call?x=1")}
    answer = ask(service.url, "GET", "/proxy/traefik", headers)
    assert answer.status == 200
    permit, _ = parse_header(answer.headers["Muniment-Permit"])
    assert permit.decision.resource == Entity("tool", "search")
    # The query is withheld: the log has its digest, and the permit discloses it.
    http = json.loads(permit.entry)["request"]["context"]["http"]
    assert http == {"proxy": "traefik", "method": "POST", "host": "api.example",
                    "path": "/tools/search/call"}  # fmt: skip
    headers = {**ADA, **traefik("POST", "/tools/other/call")}
    assert denied(ask(service.url, "GET", "/proxy/traefik", headers)) == ["denied_by_policy"]


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "DELETE", "PATCH", "PROPFIND", "OPTIONS"]
)
def test_envoy_sends_the_request_itself_whatever_its_method(service: Service, method: str) -> None:
    answer = ask(service.url, method, "/proxy/envoy/todos?x=1", ADA)
    if method == "GET":
        assert answer.status == 200
        assert answer.headers["X-Envoy-Auth-Headers-To-Remove"] == "muniment-client"
        permit, _ = parse_header(answer.headers["Muniment-Permit"])
        assert permit.decision.resource == Entity("route", "/todos")
    else:
        assert answer.status == 403
        assert not answer.headers.get("Muniment-Permit")


def test_why_an_engine_could_not_evaluate_is_on_record_without_the_arguments(
    service: Service,
) -> None:
    headers = {**ADA, "x-envoy-auth-partial-body": "false", "Content-Type": "application/json"}
    path = "/proxy/envoy/accounts/1/pay"
    answer = ask(service.url, "POST", path, headers, b'{"hunter2": null}')
    assert denied(answer) == ["could_not_evaluate"]
    recorded(service, answer)
    [record] = [one for one in service.logged() if one.id == answer.json["evaluation_id"]]
    [told] = record.response["context"]["muniment"]["answers"]
    assert told["error"] == "Cedar has no null"
    form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    denied(ask(service.url, "POST", path, form, b'{"amount": 10}'), "malformed")


def test_a_body_is_decided_on_when_it_is_all_there(service: Service) -> None:
    def pay(body: bytes, partial: str | None = "false") -> Answer:
        headers = dict(ADA) if partial is None else {**ADA, "x-envoy-auth-partial-body": partial}
        return ask(service.url, "POST", "/proxy/envoy/accounts/1/pay", headers, body)

    allowed = pay(b'{"amount": 10}')
    assert allowed.status == 200
    permit, _ = parse_header(allowed.headers["Muniment-Permit"])
    assert "amount" not in permit.entry.decode()
    assert denied(pay(b'{"amount": 11}')) == ["denied_by_policy"]
    for answer in (
        pay(b'{"amount": 1}', "true"),
        pay(b'{"amount": 1}', None),
        pay(b'{"amount": 1, "amount": 11}'),
        pay(b"x" * (1 << 20) + b"x"),
    ):
        assert denied(answer, "malformed") == ["could_not_evaluate"]


async def test_the_upstream_verifies_the_permit_on_what_it_has_received(service: Service) -> None:
    config = load(service.config)
    trust = Trust(
        policy=service.deployment.policy,
        gateways=(config.signer.vkey,),
        require_policy=False,
        require_facts=False,
    )

    def pay() -> str:
        headers = {**ADA, "x-envoy-auth-partial-body": "false"}
        answer = ask(service.url, "POST", "/proxy/envoy/accounts/1/pay", headers, b'{"amount": 10}')
        return answer.headers["Muniment-Permit"]

    account = Entity("account", "1")
    side = RequestSide(Guard(trust), spiffe_id="spiffe://tests/upstream")
    value = pay()
    assert (await side.check(value, "pay", account, {"amount": 10})).permitted
    with pytest.raises(Denied, match="used already"):
        await side.check(value, "pay", account, {"amount": 10})
    run, _, packed = pay().partition(".")
    for header, action, resource, amount in (
        (None, "pay", account, 10),
        ("forged", "pay", account, 10),
        (f"{run}.{packed[:-8]}AAAAAAAA", "pay", account, 10),
        (f"{format_header('other', '').partition('.')[0]}.{packed}", "pay", account, 10),
        (f"{run}.{packed}", "pay", Entity("account", "2"), 10),
        (f"{run}.{packed}", "read", account, 10),
        (f"{run}.{packed}", "pay", account, 1000),
    ):
        with pytest.raises(Denied):
            await side.check(header, action, resource, {"amount": amount})
    assert (await side.check(f"{run}.{packed}", "pay", account, {"amount": 10})).permitted


def test_a_permit_that_is_too_long_for_a_header_is_left_out(
    deployment: Deployment, tmp_path: Path
) -> None:
    tables = PATIENT_NGINX.replace("16000", "100")
    service = proxy_tools.made(deployment, tmp_path / "gateway", tables, "short")
    with service.running():
        answer = ask(service.url, "GET", "/proxy/nginx", {"X-User": "ada", **nginx()})
        assert answer.status == 200
        assert "Muniment-Permit" not in answer.headers
        assert answer.headers["Muniment-Evaluation"]
        metrics = ask(service.url, "GET", "/metrics").body.decode()
        assert 'muniment_gateway_permits_too_long_total{proxy="nginx"} 1.0' in metrics
        assert 'muniment_gateway_proxied_total{answer="allow",proxy="nginx"} 1.0' in metrics


def test_with_the_log_stopped_proxies_are_denied_by_their_own_deadline(
    deployment: Deployment, tmp_path: Path
) -> None:
    """The gateway's deadline is that of a minute; a proxy would not wait so long."""
    service = proxy_tools.made(deployment, tmp_path / "gateway", NGINX, "stopped")
    service.config.write_text(f"deadline_seconds = 60\n{service.config.read_text()}")
    headers = {"X-User": "ada", **nginx()}
    with service.running():
        eventually(lambda: ask(service.url, "GET", "/proxy/nginx", headers).status == 200)
        before = service.counted()
        deployment.log.pause()  # it still has its sockets: requests wait for it
        try:
            answers = [ask(service.url, "GET", "/proxy/nginx", headers) for _ in range(5)]
            for answer in answers:
                assert denied(answer) == ["governance_mesh_discontinuity"]
            assert service.counted() == before + 5
            eventually(lambda: not service.is_ready())  # from now on nothing waits for it
            assert denied(ask(service.url, "GET", "/proxy/nginx", headers))
        finally:
            deployment.log.resume()
        eventually(lambda: ask(service.url, "GET", "/proxy/nginx", headers).status == 200)
        recorded(service, answers[0])


def test_doctor_says_where_anybody_could_ask_in_anybodys_name(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = proxy_tools.made(deployment, tmp_path / "gateway", NGINX, "doctor")
    text = service.config.read_text()
    for listen, code, word in (("127.0.0.1:0", 0, "ok   "), ("0.0.0.0:0", 8, "wrong")):
        service.config.write_text(text.replace("127.0.0.1:0", listen))
        done = processes.run(
            processes.muniment_gateway("doctor", "--config", service.config), code=code
        )
        assert f"{word}  proxy nginx: " in done.stdout


def test_nginx_lets_through_what_is_allowed_with_our_headers_alone(
    service: Service, deployment: Deployment, tmp_path: Path
) -> None:
    open_to_all = proxy_tools.made(deployment, tmp_path / "gateway", PATIENT_NGINX, "nginx")
    forged = [("X-User", "ada"), ("Muniment-Permit", "forged"), ("Muniment-Evaluation", "forged"),
              ("Muniment-Client", "forged"), ("X-Original-URI", "/todos"),
              ("X-Original-Method", "GET")]  # fmt: skip
    with (
        open_to_all.running(),
        proxy_tools.upstream() as behind,
        proxy_tools.nginx(open_to_all, behind, tmp_path / "nginx") as url,
    ):
        assert ask(url, "GET", "/todos?as=ada", forged).status == 200
        [reached] = behind.reached
        [value] = reached.headers["muniment-permit"]
        permit, _ = parse_header(value)
        assert reached.headers["muniment-evaluation"] == [permit.decision.id]
        assert not {"muniment-client", "x-user"} & set(reached.headers)

        for method, target in (
            ("GET", "/todos"),  # nobody is authenticated, whatever the client says
            ("GET", "/todos?as=bob"),
            ("DELETE", "/todos?as=ada"),
            ("GET", "/admin?as=ada"),
            ("GET", "/admin/..%2Ftodos?as=ada"),
            ("GET", "//todos?as=ada"),
        ):
            assert ask(url, method, target, forged).status == 403
        assert len(behind.reached) == 1


def test_engines_have_no_longer_than_the_proxy_waits(
    deployment: Deployment, tmp_path: Path
) -> None:
    """The engine's own deadline is that of a minute; nobody has decided, so it is a denial."""
    authority = """\
[[authority]]
name = "slow"
kind = "command"
command = ["/bin/sleep", "600"]
deadline_seconds = 60
"""
    service = gateway_service.made(
        deployment, tmp_path / "gateway", authority, name="gw.example/engine"
    )
    service.config.write_text(f"{service.config.read_text()}\n{NGINX}")
    service.start()
    try:
        answer = ask(service.url, "GET", "/proxy/nginx", {"X-User": "ada", **nginx()})
        assert denied(answer) == ["could_not_evaluate"]
        recorded(service, answer)
    finally:
        service.stop()


def test_caddy_asks_as_traefik_does_and_lets_through_what_is_allowed(
    service: Service, tmp_path: Path
) -> None:
    forged = [("X-User", "ada"), ("Muniment-Permit", "forged"), ("Muniment-Client", "forged"),
              ("X-Forwarded-Uri", "/todos"), ("X-Forwarded-Method", "GET"),
              ("X-Forwarded-Host", "other.example")]  # fmt: skip
    with (
        proxy_tools.upstream() as behind,
        proxy_tools.caddy(service, "edge-token-0123456789", behind, tmp_path / "caddy") as url,
    ):
        assert ask(url, "POST", "/tools/search/call?as=ada", forged, b"{}").status == 200
        [reached] = behind.reached
        [value] = reached.headers["muniment-permit"]
        permit, _ = parse_header(value)
        assert permit.decision.resource == Entity("tool", "search")
        assert permit.decision.subject == Entity("user", "ada")
        assert "muniment-client" not in reached.headers
        answer = ask(url, "POST", "/tools/other/call?as=ada", forged, b"{}")
        assert denied(answer) == ["denied_by_policy"]
        assert denied(ask(url, "GET", "/todos", forged), "malformed") == ["could_not_evaluate"]
        assert len(behind.reached) == 1


def test_a_body_that_comes_too_slowly_is_a_denial_on_record(
    deployment: Deployment, tmp_path: Path
) -> None:
    limits = "[limits]\nbody_seconds = 0.2\n"
    service = proxy_tools.made(deployment, tmp_path / "gateway", f"{ENVOY}{limits}", "slow")
    with service.running():
        host, port = urlsplit(service.url).hostname, urlsplit(service.url).port
        connection = http.client.HTTPConnection(host or "", port, timeout=60)
        connection.putrequest("POST", "/proxy/envoy/accounts/1/pay")
        for name, value in (("X-User", "ada"), ("x-envoy-auth-partial-body", "false"),
                            ("Content-Length", "14")):  # fmt: skip
            connection.putheader(name, value)
        connection.endheaders(b'{"amount"')
        response = connection.getresponse()
        answer = Answer(response.status, dict(response.headers), response.read())
        connection.close()
        assert denied(answer, "malformed") == ["could_not_evaluate"]
        recorded(service, answer)


def test_a_request_that_people_decide_on_is_denied_until_they_have_and_passes_once(
    deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "edge.token").write_text("edge-token-0123456789\n")
    (tmp_path / "edge.token").chmod(0o600)
    service = proxy_tools.made(deployment, tmp_path, TABLES, "people")
    carol = approving.person(tmp_path, "carol")
    approving.ask_people(service, [carol], 'actions = ["GET"]')
    with service.running():

        def asked() -> Answer:
            return ask(service.url, "GET", "/proxy/nginx", {**ADA, **nginx()})

        refused = asked()
        assert denied(refused) == ["could_not_evaluate"]
        assert refused.json["approval"]["status"] == "pending"
        again = asked().json["approval"]["request"]
        assert again == refused.json["approval"]["request"] == carol.only(service)
        carol.approve(service, "allow", again)
        allowed = asked()
        assert allowed.status == 200
        permit, _ = parse_header(allowed.headers["Muniment-Permit"])
        assert permit.decision.artifact.approval is not None
        assert asked().status == 403
