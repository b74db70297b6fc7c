#!/usr/bin/env bash
# OpenFGA knows alice@example.com, and answers 400 when AuthZEN asks about her.
#
# Packages: github.com/openfga/openfga/cmd/openfga v1.22.1 (Go module), with `--experimentals=authzen`.
# Seen: a tuple of `user:alice@example.com` is written, and OpenFGA's own check says that it is allowed. The
#   same question to /access/v1/evaluation is 400, "value does not match regex pattern": neither `@`, `:`,
#   `#` nor a space may be in the `id` of a subject or resource. So e-mail addresses, SPIFFE ids
#   (spiffe://example.com/agent), URLs and names like "Triage agent" are all refused; "alice" is answered.
# Not expected because: AuthZEN's `id` is any string, and its specification asks about alice@acmecorp.com
#   and alice@example.com in its examples.
# For users: an enforcement point that puts in what it has (the token's e-mail, the workload's SPIFFE id, an
#   MCP resource's URI) gets no decision at all, as if its request were malformed, and nothing was wrong when
#   the tuples were written. Give people, agents and resources ids without these characters.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder" go install github.com/openfga/openfga/cmd/openfga@v1.22.1 2>/dev/null
python3 - "$folder/openfga" <<'PY'
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


port = find_port()
flags = ["--experimentals=authzen", "--playground-enabled=false", "--metrics-enabled=false", "--log-level=none"]
addresses = [f"--http-addr=127.0.0.1:{port}", f"--grpc-addr=127.0.0.1:{find_port()}"]
server = subprocess.Popen([sys.argv[1], "run", *flags, *addresses], stdout=subprocess.DEVNULL)


def ask(path, value=None):
    body = None if value is None else json.dumps(value).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


try:
    for _ in range(300):
        try:
            if ask("/healthz")[0] == 200:
                break
        except OSError:
            pass
        time.sleep(0.2)
    store = "/stores/" + ask("/stores", {"name": "records"})[1]["id"]
    read = {"relations": {"read": {"directly_related_user_types": [{"type": "user"}]}}}
    types = [{"type": "user"}, {"type": "record", "relations": {"read": {"this": {}}}, "metadata": read}]
    ask(f"{store}/authorization-models", {"schema_version": "1.1", "type_definitions": types})
    keys = [
        {"user": f"user:{name}", "relation": "read", "object": "record:1"} for name in ("alice", "alice@example.com")
    ]
    if ask(f"{store}/write", {"writes": {"tuple_keys": keys}})[0] != 200:
        sys.exit("changed: the tuples are not written")
    for key in keys:
        print("native check of", key["user"], *ask(f"{store}/check", {"tuple_key": key}))
        if ask(f"{store}/check", {"tuple_key": key})[1].get("allowed") is not True:
            sys.exit("changed: it is not allowed")
    for person, record, wanted in (
        ("alice", "1", 200),
        ("alice@example.com", "1", 400),
        ("spiffe://example.com/agent", "1", 400),
        ("Triage agent", "1", 400),
        ("alice", "https://example.com/1", 400),
    ):
        subject, resource = {"type": "user", "id": person}, {"type": "record", "id": record}
        request = {"subject": subject, "action": {"name": "read"}, "resource": resource}
        status, answer = ask(f"{store}/access/v1/evaluation", request)
        print(f"AuthZEN, {person} and {record}: {status} {answer}")
        if status != wanted or (status == 200 and answer != {"decision": True}):
            sys.exit(f"changed: expected {wanted}")
finally:
    server.terminate()
    server.wait(30)
PY
