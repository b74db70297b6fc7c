"""The messages of Envoy's ext_authz v3, on the wire, as far as we read and write them.

`FIELDS` is a part of Envoy's own .proto files, with their numbers: what is not in it is skipped.
The whole API is a thousand files, and a module generated from a part is one more that nobody reads,
so the descriptors are made from the table when the service starts. Parsing is protobuf's, which
bounds depth and checks UTF-8.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from muniment.tlog.encoding import FormatError, MunimentError
from muniment_gateway.core.proxied import Proxied
from muniment_gateway.deciding.proxied import ProxyAnswer

METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"

OK: Final = 0
"""The status of an allow, in google.rpc.Code."""

PERMISSION_DENIED: Final = 7
"""That of a denial."""

FIELDS: Final[dict[str, dict[str, tuple[int, str]]]] = {
    # envoy/service/auth/v3/external_auth.proto
    "CheckRequest": {"attributes": (1, "AttributeContext")},
    "CheckResponse": {
        "status": (1, "Status"),
        "denied_response": (2, "DeniedHttpResponse"),
        "ok_response": (3, "OkHttpResponse"),
    },
    "DeniedHttpResponse": {
        "status": (1, "HttpStatus"),
        "headers": (2, "repeated HeaderValueOption"),
        "body": (3, "string"),
    },
    "OkHttpResponse": {
        "headers": (2, "repeated HeaderValueOption"),
        "headers_to_remove": (5, "repeated string"),
    },
    # envoy/service/auth/v3/attribute_context.proto
    "AttributeContext": {
        "source": (1, "Peer"),
        "request": (4, "Request"),
        "context_extensions": (10, "map string"),
        "metadata_context": (11, "Metadata"),
        "tls_session": (12, "TlsSession"),
    },
    "Peer": {"address": (1, "Address"), "principal": (4, "string")},
    "Request": {"http": (2, "HttpRequest")},
    "HttpRequest": {
        "method": (2, "string"),
        "headers": (3, "map string"),
        "path": (4, "string"),
        "host": (5, "string"),
        "body": (11, "string"),
        "raw_body": (12, "bytes"),
        "header_map": (13, "HeaderMap"),
    },
    "TlsSession": {"sni": (1, "string")},
    # envoy/config/core/v3/address.proto and base.proto
    "Address": {"socket_address": (1, "SocketAddress")},
    "SocketAddress": {"address": (2, "string")},
    "Metadata": {"filter_metadata": (1, "map google.protobuf.Struct")},
    "HeaderMap": {"headers": (1, "repeated HeaderValue")},
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "HeaderValueOption": {"header": (1, "HeaderValue"), "append_action": (3, "int32")},
    # envoy/type/v3/http_status.proto and google/rpc/status.proto
    "HttpStatus": {"code": (1, "int32")},
    "Status": {"code": (1, "int32"), "message": (2, "string")},
}
"""By message: the number and type of each field."""

_PACKAGE: Final = "muniment.envoy"
_OVERWRITE: Final = 2
"""HeaderValueOption's OVERWRITE_IF_EXISTS_OR_ADD: what a client has sent is replaced."""


class Messages:
    """The two messages of the service, read and written."""

    def __init__(self) -> None:
        """Makes their classes; MunimentError without protobuf."""
        try:
            descriptor_pb2 = import_module("google.protobuf.descriptor_pb2")
            struct_pb2 = import_module("google.protobuf.struct_pb2")
            pools = import_module("google.protobuf.descriptor_pool")
            factory = import_module("google.protobuf.message_factory")
            self._decode_error: Any = import_module("google.protobuf.message").DecodeError
            self._as_dict: Any = import_module("google.protobuf.json_format").MessageToDict
        except ImportError as error:
            raise MunimentError(f"needs the extra `envoy`: {error}") from error
        pool = pools.DescriptorPool()
        # A pool of our own, so that whoever has Envoy's API in this process keeps it.
        pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
        pool.Add(_file(descriptor_pb2))
        classes = {
            name: factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
            for name in ("CheckRequest", "CheckResponse")
        }
        self.request: Any = classes["CheckRequest"]
        self.response: Any = classes["CheckResponse"]

    def read(self, data: bytes) -> Proxied:
        """Reads a CheckRequest; FormatError if it is none."""
        message = self.request()
        try:
            message.ParseFromString(data)
            attributes = message.attributes
            metadata = {
                name: self._as_dict(value)
                for name, value in attributes.metadata_context.filter_metadata.items()
            }
        except (self._decode_error, ValueError, RecursionError) as error:
            raise FormatError(f"no CheckRequest of Envoy: {error}") from None
        http = attributes.request.http
        listed = [
            (one.key, one.value or one.raw_value.decode("latin-1"))
            for one in http.header_map.headers
        ]
        headers: dict[str, str] = {}
        for key, value in (*http.headers.items(), *listed):
            name = key.lower()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        return Proxied(
            http.method,
            http.path,
            http.host,
            headers,
            principal=attributes.source.principal,
            sni=attributes.tls_session.sni,
            source=attributes.source.address.socket_address.address,
            extensions=dict(attributes.context_extensions),
            metadata=metadata,
            body=http.raw_body or http.body.encode("utf-8"),
        )

    def write(self, answer: ProxyAnswer) -> bytes:
        """Writes a CheckResponse."""
        message = self.response()
        if answer.allows:
            message.status.code = OK
            _add(message.ok_response.headers, answer.headers)
            message.ok_response.headers_to_remove.extend([name.lower() for name in answer.removed])
        else:
            message.status.code = PERMISSION_DENIED
            message.denied_response.status.code = 403
            _add(message.denied_response.headers, answer.headers)
            message.denied_response.body = answer.body.decode("utf-8")
        data: bytes = message.SerializeToString()
        return data


def _add(options: Any, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        options.add(header={"key": name.lower(), "value": value}, append_action=_OVERWRITE)


def _file(descriptor_pb2: Any) -> Any:
    """The table as protobuf has it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="muniment/envoy.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=["google/protobuf/struct.proto"],
    )
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {
        "string": field.TYPE_STRING,
        "bytes": field.TYPE_BYTES,
        "int32": field.TYPE_INT32,
    }

    def add(message: Any, name: str, number: int, of: str, *, repeated: bool = False) -> None:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        made = message.field.add(name=name, number=number, label=label)
        if of in kinds:
            made.type = kinds[of]
        else:
            made.type = field.TYPE_MESSAGE
            made.type_name = f".{of}" if "." in of else f".{_PACKAGE}.{of}"

    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for member, (number, text) in fields.items():
            how, _, of = text.rpartition(" ")
            if how == "map":
                # On the wire a map is a list of entries with a key and a value.
                entry = f"{member.title().replace('_', '')}Entry"
                nested = message.nested_type.add(name=entry)
                nested.options.map_entry = True
                add(nested, "key", 1, "string")
                add(nested, "value", 2, of)
                of = f"{_PACKAGE}.{name}.{entry}"
            add(message, member, number, of, repeated=bool(how))
    return file
