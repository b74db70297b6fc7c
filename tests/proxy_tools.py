"""Real proxies in front of an upstream of tests, which notes what reaches it."""

import contextlib
import http.client
import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import gateway_service
from gateway_service import Service
from log_deployment import Answer, Deployment
from ports import free_port
from waiting import eventually, listens

SECONDS = 60.0  # only a failure waits so long

POLICIES = """\
permit(principal == user::"ada", action == Action::"GET", resource == route::"/todos");
permit(principal == user::"spiffe://tests/ada", action == Action::"GET", resource);
permit(principal, action == Action::"call", resource == tool::"search");
permit(principal, action == Action::"pay", resource == account::"1")
  when { context has arguments && context.arguments.amount <= 10 };
"""


@dataclass
class Reached:
    """A request that has reached the upstream; headers by name in lower case."""

    method: str
    path: str
    headers: dict[str, list[str]]
    body: bytes


@dataclass
class Upstream:
    """What stands behind a proxy.

    Attributes:
        port: Where, on loopback.
        reached: What has come, in order.
    """

    port: int
    reached: list[Reached] = field(default_factory=list)


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    """Serves an upstream that answers every request with 200."""

    class Noting(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            headers: dict[str, list[str]] = {}
            for name, value in self.headers.items():
                headers.setdefault(name.lower(), []).append(value)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made.reached.append(Reached(self.command, self.path, headers, body))
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"ran")

        do_GET = do_POST = do_DELETE = answer  # noqa: N815  # names of the library

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        made = Upstream(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def ask(
    url: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """A request with a target that is sent as it is, and headers that may come twice."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if tls is None:
        connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=tls)
    given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    try:
        connection.putrequest(
            method, target, skip_host=any(name.lower() == "host" for name, _ in given),
            skip_accept_encoding=True,
        )  # fmt: skip
        for name, value in given:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.headers), answer.read())
    finally:
        connection.close()


def made(deployment: Deployment, folder: Path, tables: str, name: str) -> Service:
    """The folder of a gateway with policies for the proxies of tests."""
    service = gateway_service.made(deployment, folder, name=f"{gateway_service.NAME}/{name}")
    (folder / "authz.cedar").write_text(POLICIES)
    service.config.write_text(f"{service.config.read_text()}\n{tables}")
    return service


def grpc_port(service: Service) -> int:
    """Where a running gateway answers its Envoy, which the system has chosen."""
    process = service.process
    told = re.compile(r"Envoy is answered .*port=(\d+)")
    eventually(lambda: told.search(process.stderr) is not None, lambda: process.stderr)
    found = told.search(process.stderr)
    return int(found[1])


@contextlib.contextmanager
def running(
    argv: Sequence[str | Path],
    port: int,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Runs a proxy that listens at a port; its URL."""
    told = folder / f"{Path(argv[0]).name}.log"
    with told.open("wb") as log:
        process = subprocess.Popen(
            argv, stdout=log, stderr=log, cwd=folder, env={**os.environ, **(environment or {})}
        )
    try:
        eventually(lambda: listens(port) or process.poll() is not None, told.read_text)
        assert process.poll() is None, told.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(SECONDS)


NGINX = """\
daemon off; master_process off; pid nginx.pid; error_log stderr warn;
events {{ }}
http {{
  access_log off;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
  uwsgi_temp_path temp; scgi_temp_path temp;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      set $who $arg_as;
      auth_request /_decide;
      auth_request_set $permit $upstream_http_muniment_permit;
      auth_request_set $evaluation $upstream_http_muniment_evaluation;
      proxy_set_header Muniment-Permit $permit;
      proxy_set_header Muniment-Evaluation $evaluation;
      proxy_set_header Muniment-Client "";
      proxy_set_header X-User "";
      proxy_pass http://127.0.0.1:{upstream};
    }}
    location = /_decide {{
      internal;
      proxy_pass {gateway}/proxy/nginx;
      proxy_pass_request_body off;
      proxy_buffer_size 32k; proxy_buffers 4 32k; proxy_busy_buffers_size 64k;
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-URI $request_uri;
      proxy_set_header X-Original-Host $host;
      proxy_set_header X-User $who;
      proxy_set_header Muniment-Client "";
    }}
  }}
}}
"""
"""That of docs/gateway.md; whom nginx has authenticated is what the query says."""


@contextlib.contextmanager
def nginx(service: Service, behind: Upstream, folder: Path) -> Iterator[str]:
    """Runs the real nginx before an upstream; its URL. Skips the test when there is none."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("nginx is not installed")
    (folder / "temp").mkdir(parents=True)
    port = free_port()
    told = NGINX.format(port=port, upstream=behind.port, gateway=service.url)
    (folder / "nginx.conf").write_text(told)
    argv = [found, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"]
    with running(argv, port, folder) as url:
        yield url


CADDY = """\
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  forward_auth {gateway} {{
    uri /proxy/traefik
    header_up X-User {{http.request.uri.query.as}}
    header_up Muniment-Client "Bearer {token}"
    copy_headers Muniment-Permit Muniment-Evaluation
  }}
  request_header -Muniment-Client
  reverse_proxy 127.0.0.1:{upstream}
}}
"""
"""Its forward_auth asks as Traefik's ForwardAuth does."""


@contextlib.contextmanager
def caddy(service: Service, token: str, behind: Upstream, folder: Path) -> Iterator[str]:
    """Runs the real Caddy before an upstream; its URL. Skips the test when there is none."""
    found = shutil.which("caddy")
    if found is None:
        pytest.skip("Caddy is not installed")
    folder.mkdir(parents=True)
    port = free_port()
    told = CADDY.format(
        port=port, gateway=urlsplit(service.url).netloc, token=token, upstream=behind.port
    )
    (folder / "Caddyfile").write_text(told)
    argv = [found, "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with running(argv, port, folder, home) as url:
        yield url


ENVOY = Path(__file__).parent.parent / ".venv" / "envoy" / "bin" / "envoy"
_KIND = "type.googleapis.com/envoy.extensions"


def _cluster(
    name: str, port: int, *, http2: bool = False, tls: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    made: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "30s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if http2:
        options = f"{_KIND}.upstreams.http.v3.HttpProtocolOptions"
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    if tls is not None:
        made["transport_socket"] = _transport("UpstreamTlsContext", tls)
    return made


def _transport(kind: str, tls: Mapping[str, Any]) -> dict[str, Any]:
    context = {"@type": f"{_KIND}.transport_sockets.tls.v3.{kind}", **tls}
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


@contextlib.contextmanager
def envoy(
    asks: Mapping[str, Any],
    gateway: int,
    behind: Upstream,
    folder: Path,
    *,
    tls: Mapping[str, Any] | None = None,
    gateway_tls: Mapping[str, Any] | None = None,
    http2: bool = True,
    before: Sequence[Mapping[str, Any]] = (),
    of_route: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Runs the real Envoy before an upstream; its URL. Skips the test when there is none.

    Args:
        asks: Its ext_authz filter, whose service is the cluster `gateway`.
        gateway: That one's port.
        behind: The upstream.
        folder: For its configuration and log.
        tls: The TLS of its listener, as a DownstreamTlsContext.
        gateway_tls: How it connects to the gateway, as an UpstreamTlsContext.
        http2: Whether the service speaks HTTP/2.
        before: Filters that come before ext_authz.
        of_route: What the route says of the filter, as an ExtAuthzPerRoute.
    """
    if not ENVOY.exists():
        pytest.skip("Envoy is not installed: scripts/envoy does it")
    folder.mkdir(parents=True)
    port = free_port()
    authz = {"@type": f"{_KIND}.filters.http.ext_authz.v3.ExtAuthz", **asks}
    router = {"@type": f"{_KIND}.filters.http.router.v3.Router"}
    manager = f"{_KIND}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    route: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    if of_route is not None:
        kind = f"{_KIND}.filters.http.ext_authz.v3.ExtAuthzPerRoute"
        route["typed_per_filter_config"] = {
            "envoy.filters.http.ext_authz": {"@type": kind, **of_route}
        }
    chain: dict[str, Any] = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": manager,
                    "stat_prefix": "tests",
                    "route_config": {
                        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]
                    },
                    "http_filters": [
                        *before,
                        {"name": "envoy.filters.http.ext_authz", "typed_config": authz},
                        {"name": "envoy.filters.http.router", "typed_config": router},
                    ],
                },
            }
        ]
    }
    if tls is not None:
        chain["transport_socket"] = _transport("DownstreamTlsContext", tls)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    configuration = {
        "static_resources": {
            "listeners": [{"name": "tests", "address": address, "filter_chains": [chain]}],
            "clusters": [
                _cluster("gateway", gateway, http2=http2, tls=gateway_tls),
                _cluster("upstream", behind.port),
            ],
        }
    }
    (folder / "envoy.json").write_text(json.dumps(configuration))
    argv = [ENVOY, "-c", folder / "envoy.json", "--log-level", "warning", "--use-dynamic-base-id",
            "--concurrency", "1"]  # fmt: skip
    with running(argv, port, folder) as url:
        yield url
