"""Where OPAs upload their decision logs: any path that is configured.

No content is refused, for OPA would send it for ever. What cannot be written now is 503, and OPA
comes again. Never a redirect: OPA follows one without the body, and counts it as delivered.
"""

from collections.abc import Sequence
from typing import Final

from muniment.tlog.encoding import MunimentError
from muniment_gateway.deciding.opasink import OpaSink
from muniment_gateway.http.access import Clients
from muniment_service.http import Request, Response, json_response, overloaded
from muniment_service.routing import App

MAX_UPLOAD: Final = 64 << 20
"""Largest upload, in bytes as it is sent; `upload_size_limit_bytes` of an OPA stays below."""


class OpaSinkHttp:
    """The handler of uploads."""

    def __init__(self, sink: OpaSink, paths: Sequence[str], clients: Clients) -> None:
        """Serves the sink at these paths."""
        self._sink = sink
        self._paths = paths
        self._clients = clients

    def add_routes(self, app: App) -> None:
        """Adds the routes."""
        for path in self._paths:
            app.route("POST", path, self._take)

    async def _take(self, request: Request) -> Response:
        client = self._clients.name(request)
        body = await request.coded_body(MAX_UPLOAD)
        coding = request.headers.get("Content-Encoding", "").strip().lower()
        try:
            await self._sink.take(body, coding, client)
        except MunimentError as error:
            raise overloaded("not-kept", f"the upload cannot be kept now: {error}") from error
        return json_response({})
