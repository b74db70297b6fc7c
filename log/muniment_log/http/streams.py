"""``GET /v1/streams``: where a gateway's stream continues."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from muniment.records.manifest import check_stream_label
from muniment.tlog.encoding import FormatError, format_base64
from muniment_log.core.ports import StreamKey
from muniment_log.http import bodies
from muniment_service.http import Problem, Request, Response, json_response

if TYPE_CHECKING:
    from muniment_log.core.ports import SequencerPort
    from muniment_log.http.access import AccessControl


class StreamEnds:
    """Handler of the call."""

    def __init__(self, access: AccessControl, sequencer: SequencerPort) -> None:
        self._access = access
        self._sequencer = sequencer

    async def stream(self, request: Request) -> Response:
        """``GET /v1/streams/{key name}/{label}``; the key name may contain slashes."""
        request.parameters()
        name, slash, label = request.rest.rpartition("/")
        try:
            key = StreamKey(unquote(name, errors="strict"), unquote(label, errors="strict"))
            check_stream_label(key.label)
        except (UnicodeDecodeError, FormatError) as error:
            raise Problem(400, "malformed", f"stream: {error}") from error
        if not slash or not self._access.admission.knows(key.gateway):
            raise Problem(404, "unknown-gateway", "no gateway of this log has this key name")
        state = await self._sequencer.stream(key)
        return json_response(
            bodies.Stream(
                gateway=key.gateway,
                stream=key.label,
                next=state.next,
                manifest=format_base64(state.manifest),
                origin=self._access.admission.origin,
            )
        )
