#!/usr/bin/env bash
# The text "5" is sent as a CloudEvent, and the number 5 arrives; `true` arrives as the text "True".
#
# Packages: cloudevents 2.2.0 (PyPI).
# Seen: an event with `datacontenttype: application/json`, the data "5" (a text) and the extension
#   `replayed: True`. Written and read as structured JSON it comes back as it was. In HTTP's binary mode
#   the body is 5, not "5", and the header `ce-replayed: True`; read by the same library the data is the
#   number 5 and the extension the text "True". The data "allow" has a body that is no JSON at all, and
#   the empty text comes back as None.
# Not expected because: the two modes are two forms of one event; the body of an event of type
#   application/json is JSON, and CloudEvents writes its booleans `true` and `false`.
# For users: whoever signs, hashes or compares an event's data finds another value behind a broker that changes
#   the mode, and a reader in another language gets a syntax error or the text "True". Use structured mode
#   for events that are evidence, have an object for data, and texts for extensions.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check cloudevents==2.2.0
"$folder/venv/bin/python" - <<'PY'
import sys

from cloudevents.core.bindings.http import from_binary, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

form = JSONFormat()
attributes = {"id": "1", "source": "//log.example", "type": "decision", "specversion": "1.0"}
for data, body, back in (
    ({"decision": "allow"}, b'{"decision": "allow"}', {"decision": "allow"}),
    ("5", b"5", 5),
    ("true", b"true", True),
    ("allow", b"allow", "allow"),
    ("", b"", None),
):
    event = CloudEvent({**attributes, "datacontenttype": "application/json", "replayed": True}, data)
    structured = from_structured(to_structured(event, form), form, CloudEvent)
    binary = to_binary(event, form)
    read = from_binary(binary, form, CloudEvent)
    seen = (structured.get_data(), structured.get_attributes()["replayed"])
    other = (read.get_data(), read.get_attributes()["replayed"])
    print(f"{data!r} and True: structured {seen}; binary {other}, the body is {binary.body!r}")
    if seen != (data, True) or binary.headers["ce-replayed"] != "True":
        sys.exit("changed: another structured form, or another header")
    if binary.body != body or other != (back, "True") or type(read.get_data()) is not type(back):
        sys.exit("changed: another binary form")
PY
