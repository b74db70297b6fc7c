"""An application that echoes, raises, tags, and takes parameters."""

from muniment.tlog.encoding import FormatError, MunimentError
from muniment_service.http import Request, Response, json_response, overloaded
from muniment_service.metrics import Metrics
from muniment_service.routing import App


class SpecialError(MunimentError):
    pass


class MoreSpecialError(SpecialError):
    pass


def make_app() -> App:
    app = App(Metrics("test"), {SpecialError: (409, "special")})
    app.operations(lambda: {"size": 3})

    async def echo(request: Request) -> Response:
        return Response(200, await request.body(1000), "application/octet-stream")

    async def raising(request: Request) -> Response:
        raise {
            "format": FormatError("line 3"),
            "special": MoreSpecialError("why"),
            "busy": overloaded("busy", "later", seconds=7),
            "bug": KeyError("secret"),
        }[request.rest]

    async def tagged(_: Request) -> Response:
        return Response(200, b"data", "text/plain", {"ETag": '"t1"', "Cache-Control": "max-age=5"})

    async def lists(request: Request) -> Response:
        return json_response(request.parameters_and("a", repeated="k", most=4))

    async def parameters(request: Request) -> Response:
        return json_response(request.parameters("a", "b"))

    async def big(_: Request) -> Response:
        return Response(200, b"x" * 3_000_000)

    app.route("POST", "/echo", echo)
    app.route("GET", "/echo", tagged)
    app.prefix("GET", "/raise/", raising)
    app.route("GET", "/tagged", tagged)
    app.route("GET", "/parameters", parameters)
    app.route("GET", "/lists", lists)
    app.route("GET", "/big", big)
    return app
