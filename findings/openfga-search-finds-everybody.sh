#!/usr/bin/env bash
# Who may see this record? OpenFGA answers with a subject named `*`, and does not say who may not.
#
# Packages: github.com/openfga/openfga/cmd/openfga v1.22.1 (Go module), with `--experimentals=authzen`.
# Seen: a record that everybody may see but Carol, who is banned. AuthZEN's subject search has one result,
#   `{"type": "user", "id": "*"}`. An evaluation for Dora, who is in no tuple, is true, and for Carol false. A
#   search for what Carol may see does not have the record.
# Not expected because: AuthZEN's results are subjects, each of which may, and an id is any string without a meaning
#   of its own. What OpenFGA's own answer marks as a wildcard is an ordinary subject here, and its exclusions are gone.
# For users: an access review lists one account, `*`, that the directory does not have; whoever takes the star
#   for everybody counts Carol in. Read it as "some, perhaps all", and evaluate each person whom you report.
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
    everybody = {"directly_related_user_types": [{"type": "user"}, {"type": "user", "wildcard": {}}]}
    but = {"base": {"computedUserset": {"relation": "read"}}, "subtract": {"computedUserset": {"relation": "banned"}}}
    record = {
        "type": "record",
        "relations": {"read": {"this": {}}, "banned": {"this": {}}, "see": {"difference": but}},
        "metadata": {"relations": {"read": everybody, "banned": everybody}},
    }
    store = make_store([record])
    write(store, [("user:*", "read", "record:open"), ("user:carol", "banned", "record:open")])
    api = f"{store}/access/v1"
    request = {"action": {"name": "see"}, "resource": {"type": "record", "id": "open"}}
    found = ask(f"{api}/search/subject", {"subject": {"type": "user"}, **request})
    print("who may see it:", *found)
    if found != (200, {"results": [{"type": "user", "id": "*"}]}):
        sys.exit("changed: other results")
    for person, wanted in (("dora", True), ("carol", False)):
        seen = ask(f"{api}/evaluation", {"subject": {"type": "user", "id": person}, **request})
        print(f"whether {person} may:", *seen)
        if seen != (200, {"decision": wanted}):
            sys.exit(f"changed: expected {wanted}")
    search = {"subject": {"type": "user", "id": "carol"}, "action": {"name": "see"}, "resource": {"type": "record"}}
    found = ask(f"{api}/search/resource", search)
    print("what carol may see:", *found)
    if found != (200, {"results": []}):
        sys.exit("changed: other results")
finally:
    server.terminate()
    server.wait(30)
PY
