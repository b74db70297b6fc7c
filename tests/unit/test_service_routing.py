"""HTTP: which handler answers a request, and what its errors and parameters become."""

import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echo_app import make_app
from muniment_service.http import Handler, Problem, Request, Response, json_response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from rawhttp import Body


async def ask(
    app: App, method: str, target: str, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    response = await app.respond(Request(method, target, headers or {}, Body()))
    body: Any = response.body
    if response.content_type.endswith("json"):
        body = json.loads(response.body)
    return response.status, body, dict(response.headers)


async def test_paths_and_methods() -> None:
    app = make_app()
    assert (await ask(app, "GET", "/healthz"))[:2] == (200, {"status": "ok"})
    assert (await ask(app, "GET", "/readyz?x"))[:2] == (200, {"status": "ready", "size": 3})
    assert (await ask(app, "GET", "http://host.example/healthz"))[0] == 200
    assert (await ask(app, "GET", "http://host.example"))[0] == 404
    for path in ("/", "/healthz/", "/HEALTHZ", "//healthz", "/%68ealthz", "*", "", "/echo2"):
        assert (await ask(app, "GET", path))[0] == 404
    status, body, headers = await ask(app, "DELETE", "/echo")
    assert (status, headers["Allow"]) == (405, "GET, POST, HEAD")
    assert body["type"] == "urn:muniment:problem:method-not-allowed"
    assert (await ask(app, "POST", "/healthz"))[2] == {"Allow": "GET, HEAD"}
    with pytest.raises(ValueError, match="twice"):
        app.operations(dict)


async def test_of_several_prefixes_the_longest_is_meant() -> None:
    app = App(Metrics("service"))

    def named(name: str) -> Handler:
        async def answer(request: Request) -> Response:
            return json_response([name, request.rest])

        return answer

    prefixes = ["/a", "/a/", "/a/b/", "/ab", f"/{'c' * 40}/"]
    for prefix in prefixes:
        app.prefix("GET", prefix, named(prefix), label="all")
    app.route("GET", "/a/b/exact", named("exact"))
    for path in ("/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/abc", f"/{'c' * 40}/d"):
        meant = max((one for one in prefixes if path.startswith(one)), key=len)
        assert (await ask(app, "GET", path))[:2] == (200, [meant, path.removeprefix(meant)])
    assert (await ask(app, "GET", "/a/b/exact"))[1] == ["exact", ""]
    for path in ("/", "/b", f"/{'c' * 40}"):
        assert (await ask(app, "GET", path))[0] == 404
    assert app.routes == [("GET", "/a/b/exact"), *(("GET", f"{one}*") for one in prefixes)]
    assert 'route="all"' in app.metrics.render().decode()


async def test_errors_become_problems(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    assert (await ask(app, "GET", "/raise/format"))[:2] == (
        400,
        {
            "type": "urn:muniment:problem:malformed",
            "title": "Malformed",
            "status": 400,
            "detail": "line 3",
        },
    )
    assert (await ask(app, "GET", "/raise/special"))[1]["type"].endswith(":special")
    status, _, headers = await ask(app, "GET", "/raise/busy")
    assert (status, headers) == (503, {"Retry-After": "7"})
    assert not caplog.records
    status, body, _ = await ask(app, "GET", "/raise/bug")
    assert status == 500
    assert "secret" not in json.dumps(body)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info


async def test_conditional_requests() -> None:
    app = make_app()
    known = {'"t1"', '"t0", W/"t1"', "*"}
    for wanted in (*known, '"t2"', ""):
        answer = await ask(app, "GET", "/tagged", {"If-None-Match": wanted})
        assert answer[0] == (304 if wanted in known else 200)
        assert answer[2]["ETag"] == '"t1"'


async def test_one_parameter_may_be_repeated() -> None:
    app = make_app()
    assert (await ask(app, "GET", "/lists?k=2&a=1&k=1&k=2"))[1] == [{"a": "1"}, ["2", "1", "2"]]
    assert (await ask(app, "GET", "/lists"))[1] == [{}, []]
    for query in ("k=1&a=1&a=2", "k=1&b=2", "k=1&k=2&k=3&k=4&k=5", "k=%ff"):
        assert (await ask(app, "GET", f"/lists?{query}"))[0] == 400


async def test_parameters_are_strict() -> None:
    app = make_app()
    assert (await ask(app, "GET", "/parameters?a=1&b=%20"))[1] == {"a": "1", "b": " "}
    assert (await ask(app, "GET", "/parameters"))[1] == {}
    for query in ("c=1", "a=1&a=1", "a=%ff", "&".join(f"a{n}=" for n in range(50))):
        assert (await ask(app, "GET", f"/parameters?{query}"))[0] == 400


APP = make_app()


@settings(max_examples=200)
@given(method=st.text(max_size=8), target=st.text(max_size=30))
async def test_any_request_is_answered(method: str, target: str) -> None:
    response = await APP.respond(Request(method, target, {}, Body()))
    assert response.status in {200, 304, 400, 404, 405}


async def test_metrics_have_few_labels() -> None:
    app = make_app()
    for number in range(5):
        await ask(app, "GET", f"/raise/special?{number}")
        await ask(app, f"M{number}", f"/x{number}")
    text = (await ask(app, "GET", "/metrics"))[1].decode()
    assert 'test_http_request_seconds_count{method="GET",route="/raise/*",status="409"} 5.0' in text
    assert 'test_http_request_seconds_count{method="other",route="other",status="404"} 5.0' in text


def test_problem_members() -> None:
    response = Problem(409, "stream-gap", "next is 5", members={"expected": 5}).response()
    assert response.content_type == "application/problem+json"
    assert json.loads(response.body)["expected"] == 5
    assert json.loads(response.body)["title"] == "Stream gap"
