# pyright: reportMissingImports=false, reportMissingModuleSource=false
"""Reads exported events by the libraries of those who made the forms: read.py FORM FILE

It runs in the environment of `scripts/forms`. Whatever a library refuses ends it with its words;
what it understood is printed, one JSON object an event.
"""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def otlp(line: str) -> Iterator[dict[str, Any]]:
    """A line is an ExportLogsServiceRequest: parsed by protobuf, unknown members refused."""
    from google.protobuf.json_format import Parse
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = json.loads(line)
    for resource in request["resourceLogs"]:
        for scope in resource["scopeLogs"]:
            for record in scope["logRecords"]:
                for name in ("traceId", "spanId"):  # OTLP's one other rule for bytes than protobuf
                    if name in record:
                        raw = bytes.fromhex(record[name])
                        record[name] = base64.b64encode(raw).decode()
    message = Parse(json.dumps(request), ExportLogsServiceRequest())
    for resource in message.resource_logs:
        service = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_logs:
            for record in scope.log_records:
                attributes = {}
                for one in record.attributes:
                    kind = one.value.WhichOneof("value")
                    value = getattr(one.value, kind)
                    if kind == "array_value":
                        value = [part.string_value for part in value.values]
                    attributes[one.key] = value
                yield {
                    "service": service,
                    "scope": scope.scope.name,
                    "time": record.time_unix_nano,
                    "observed": record.observed_time_unix_nano,
                    "severity": record.severity_number,
                    "severity_text": record.severity_text,
                    "event": record.event_name,
                    "body": record.body.string_value,
                    "attributes": attributes,
                    "trace": record.trace_id.hex(),
                    "span": record.span_id.hex(),
                    "flags": record.flags,
                }


def cloudevents(line: str) -> Iterator[dict[str, Any]]:
    """A line is an event in the JSON format: read, checked and written back by the SDK."""
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    event = JSONFormat().read(CloudEvent, line.encode())
    again = json.loads(JSONFormat().write(event))
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    data = event.get_data()
    yield {"attributes": attributes, "data": data, "again": again}


class _Ocsf:
    def __init__(self) -> None:
        self.validators: dict[tuple[int, tuple[str, ...]], Any] = {}

    def __call__(self, line: str) -> Iterator[dict[str, Any]]:
        """A line is an event: held against the JSON schema of its class, version and profiles."""
        event = json.loads(line)
        key = event["class_uid"], tuple(event["metadata"]["profiles"])
        if key not in self.validators:
            self.validators[key] = self._validator(event["metadata"]["version"], *key)
        errors = [
            f"{'/'.join(map(str, error.path))}: {error.message[:200]}"
            for error in self.validators[key].iter_errors(event)
        ]
        if errors:
            raise ValueError(errors)
        yield {"class": key[0], "sequence": event["metadata"]["sequence"]}

    @staticmethod
    def _validator(version: str, class_uid: int, profiles: tuple[str, ...]) -> Any:
        from jsonschema import Draft202012Validator
        from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

        schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
        name = schemas.lookup_class_name_from_uid(class_uid=class_uid)
        schema = schemas.get_class_schema(class_name=name, profiles=list(profiles))
        Draft202012Validator.check_schema(schema)
        return Draft202012Validator(schema)


READERS: dict[str, Callable[[str], Iterator[dict[str, Any]]]] = {
    "otlp": otlp,
    "cloudevents": cloudevents,
    "ocsf": _Ocsf(),
}

if __name__ == "__main__":
    read = READERS[sys.argv[1]]
    for line in Path(sys.argv[2]).read_text().split("\n")[:-1]:
        for found in read(line):
            sys.stdout.write(json.dumps(found) + "\n")
