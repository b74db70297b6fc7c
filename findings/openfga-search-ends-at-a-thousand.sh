#!/usr/bin/env bash
# A subject search answers 1,000 of 1,200 people, and nothing in the answer says that there are more.
#
# Packages: github.com/openfga/openfga/cmd/openfga v1.22.1 (Go module), with `--experimentals=authzen`.
# Seen: 1,200 people may read one record, each is allowed when asked about, and AuthZEN's subject search for it
#   has 1,000 results, status 200 and no `page`. The resource search of somebody who may read 1,200 records has
#   all of them.
# Not expected because: in AuthZEN results without a `page` are the whole, and OpenFGA's notes on AuthZEN say that
#   there are no pages because all results are in one answer. The limit is the one of its ListUsers
#   (`--listUsers-max-results`), which StreamedListObjects, behind the resource search, does not have.
# For users: an access review ("who may read this?") that was complete in every test is short of people in
#   production. Count a subject search of 1,000 results as incomplete, or raise that limit above all you have.
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
    for first in range(0, 1200, 100):
        write(store, [(f"user:{index}", "read", "record:shared") for index in range(first, first + 100)])
        write(store, [("user:archivist", "read", f"record:{index}") for index in range(first, first + 100)])
    api = f"{store}/access/v1"
    shared = {"action": {"name": "read"}, "resource": {"type": "record", "id": "shared"}}
    allowed = 0
    for first in range(0, 1200, 50):
        people = [{"subject": {"type": "user", "id": str(index)}} for index in range(first, first + 50)]
        status, answer = ask(f"{api}/evaluations", {**shared, "evaluations": people})
        allowed += sum(one["decision"] for one in answer["evaluations"])
    status, answer = ask(f"{api}/search/subject", {"subject": {"type": "user"}, **shared})
    found = len(answer["results"])
    print(f"{allowed} people are allowed; subject search: {status}, {found} results, page: {answer.get('page')}")
    if (allowed, status, found, "page" in answer) != (1200, 200, 1000, False):
        sys.exit("changed: other results, or a page")
    search = {"subject": {"type": "user", "id": "archivist"}, "action": {"name": "read"}, "resource": {"type": "record"}}
    status, answer = ask(f"{api}/search/resource", search)
    print(f"resource search: {status}, {len(answer['results'])} results, page: {answer.get('page')}")
    if (status, len(answer["results"]), "page" in answer) != (200, 1200, False):
        sys.exit("changed: other results, or a page")
finally:
    server.terminate()
    server.wait(30)
PY
