"""An upload of an OPA as records: one of each event, or one of all when no event can be told apart.

Whatever an upload is, there are records of it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from muniment.records.api import RecordError
from muniment.records.forms import Forms
from muniment.records.quick import read_plain
from muniment.tlog.contentcoding import decode_content
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.opaevents import (
    MAX_INFLATED,
    OpaEvent,
    read_event,
    split_events,
    unreadable_event,
    unreadable_upload,
)
from muniment_gateway.core.opaquick import compose_record, put_in_order


class TakenEvent(NamedTuple):
    """What is taken of an event.

    Attributes:
        name: What it is recognised by when it comes again: 32 bytes.
        record: Its record, canonical and valid.
        original: The event's bytes as they came, when the record does not have all of it.
    """

    name: bytes
    record: bytes
    original: bytes | None = None


class OpaUploadReader:
    """Reads uploads, in any thread."""

    def __init__(
        self,
        producer: str,
        rules: Mapping[str, str],
        prepare: Callable[[Mapping[str, Any]], bytes],
    ) -> None:
        """Makes records of a producer.

        Args:
            producer: Its name.
            rules: As `opaevents.read_event` takes them.
            prepare: Makes the bytes of a record; ``RecordError`` if it cannot be one as it is.
        """
        self._producer = producer
        self._rules = rules
        self._prepare = prepare
        self._forms = Forms()

    def read(self, body: bytes, coding: str, client: str) -> list[TakenEvent]:
        """Reads an upload.

        Args:
            body: It as it was sent.
            coding: Its content coding.
            client: Who has sent it, by its token.
        """
        try:
            texts = split_events(decode_content(body, coding, MAX_INFLATED))
        except FormatError as error:
            return [self._of_event(unreadable_upload(body, client, str(error)))]
        composed = [compose_record(text, self._producer, client, self._rules) for text in texts]
        usual = iter(self._forms.read([one[1] for one in composed if one is not None]))
        taken: list[TakenEvent] = []
        for text, one in zip(texts, composed, strict=True):
            if one is not None and next(usual) is not None:
                taken.append(TakenEvent(*one))
            elif one is not None and read_plain([record := put_in_order(one[1])], self._forms):
                taken.append(TakenEvent(one[0], record))
            else:
                taken.append(self._carefully(text, client))
        return taken

    def _carefully(self, text: bytes, client: str) -> TakenEvent:
        try:
            return self._of_event(read_event(text, client, self._rules))
        except RecordError as error:
            return self._of_event(unreadable_event(text, client, str(error)))

    def _of_event(self, event: OpaEvent) -> TakenEvent:
        return TakenEvent(event.name, self._prepare(event.members), event.original)
