#!/usr/bin/env bash
# Fifty-one questions are an error in one order of evaluation and are answered in the two others.
#
# Packages: github.com/openfga/openfga/cmd/openfga v1.22.1 (Go module), with `--experimentals=authzen`.
# Seen: AuthZEN's evaluations with 50 items are answered. With 51 they are 400 ("the maximum allowed is 50") under
#   `execute_all`, which is the default, and 51 decisions under `deny_on_first_deny` and `permit_on_first_permit`. An
#   item without a resource is 400 for the whole batch under `execute_all`, and a denial of its own
#   under `deny_on_first_deny`.
# Not expected because: the semantic says when to stop, not what a batch may hold, and OpenFGA's notes on AuthZEN
#   have the error of an item in that item's place. Only `execute_all` goes by way of its BatchCheck.
# For users: a page that shows 60 buttons works with one option and shows nothing with the other, which reads as
#   "not allowed" for all of them. Ask in pieces of 50 (`--max-checks-per-batch-check`).
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


def make_store(types):
    """The path of a new store with this model, once the server answers."""
    for _ in range(300):
        try:
            if ask("/healthz")[0] == 200:
                break
        except OSError:
            pass
        time.sleep(0.2)
    store = "/stores/" + ask("/stores", {"name": "records"})[1]["id"]
    ask(f"{store}/authorization-models", {"schema_version": "1.1", "type_definitions": [{"type": "user"}, *types]})
    return store


def write(store, tuples):
    keys = [{"user": user, "relation": relation, "object": record} for user, relation, record in tuples]
    if ask(f"{store}/write", {"writes": {"tuple_keys": keys}})[0] != 200:
        sys.exit("changed: the tuples are not written")


try:
    reader = {"relations": {"read": {"directly_related_user_types": [{"type": "user"}]}}}
    store = make_store([{"type": "record", "relations": {"read": {"this": {}}}, "metadata": reader}])
    write(store, [("user:alice", "read", "record:1")])
    may = {"resource": {"type": "record", "id": "1"}}
    may_not = {"resource": {"type": "record", "id": "2"}}

    def evaluate(semantic, items):
        """The decisions, or the status and message of the error."""
        options = {"options": {"evaluations_semantic": semantic}} if semantic else {}
        asked = {"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, **options, "evaluations": items}
        status, answer = ask(f"{store}/access/v1/evaluations", asked)
        return [one["decision"] for one in answer["evaluations"]] if status == 200 else (status, answer["message"])

    limit = (400, "batchCheck received 51 checks, the maximum allowed is 50")
    for semantic, item, decision, more in (
        (None, may, True, limit),
        ("execute_all", may, True, limit),
        ("deny_on_first_deny", may, True, [True] * 51),
        ("permit_on_first_permit", may_not, False, [False] * 51),
    ):
        fifty, beyond = evaluate(semantic, [item] * 50), evaluate(semantic, [item] * 51)
        told = f"{len(beyond)} decisions" if isinstance(beyond, list) else beyond
        print(f"{semantic}: of 50: {len(fifty)} decisions; of 51: {told}")
        if fifty != [decision] * 50 or beyond != more:
            sys.exit("changed: batches are limited otherwise")
    for semantic, wanted in (
        ("execute_all", (400, "evaluation 1: missing resource")),
        ("deny_on_first_deny", [True, False]),
    ):
        seen = evaluate(semantic, [may, {}])
        print(f"{semantic}, the second item without a resource: {seen}")
        if seen != wanted:
            sys.exit(f"changed: expected {wanted}")
finally:
    server.terminate()
    server.wait(30)
PY
