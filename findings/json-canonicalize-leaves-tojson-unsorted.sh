#!/usr/bin/env bash
# An object that has a member named "toJSON" is not made canonical, and there is no error.
#
# Packages: json-canonicalize 3.0.1, canonicalize 4.0.0 (npm), rfc8785 0.1.4 (PyPI).
# Seen: JSON text is parsed and made canonical. json-canonicalize writes the members of
#   {"toJSON":{"z":1,"y":2},"b":3,"a":4} in the order in which they came, those of the object inside as well;
#   in another order they come out in that other one: one object has two canonical forms. canonicalize and
#   rfc8785 write {"a":4,"b":3,"toJSON":{"y":2,"z":1}} for both. Next to it, an object without such
#   a member is the same in all three.
# Not expected because: in JavaScript toJSON means something where it is a function, and parsed JSON has
#   none; RFC 8785 knows no names that are special.
# For users: whoever chooses a member's name (a tool call's arguments, a document's fields) chooses whether two
#   programs agree on its digest; what was signed in the browser is refused on the server, or by a
#   reader who got the members from a database that sorts them. Use canonicalize in JavaScript.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3, npm or Node.
set -euo pipefail
for program in python3 npm; do
  command -v $program >/dev/null || { echo "skipped: $program is not installed"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check rfc8785==0.1.4
npm init -y >/dev/null
npm install --silent --no-audit --no-fund json-canonicalize@3.0.1 canonicalize@4.0.0
cat >main.mjs <<'JS'
import one from "canonicalize";
import { canonicalize as two } from "json-canonicalize";

const value = JSON.parse(process.argv[3]);
console.log(process.argv[2] === "canonicalize" ? one(value) : two(value));
JS
cat >main.py <<'PY'
import json
import sys

import rfc8785

print(rfc8785.dumps(json.loads(sys.argv[1])).decode())
PY
status=0
see() {
  local seen=$1 wanted=$2 what=$3
  echo "  $what: $seen"
  [ "$seen" = "$wanted" ] || { echo "changed: expected $wanted"; status=1; }
}
special='{"a":4,"b":3,"toJSON":{"y":2,"z":1}}'
for text in '{"toJSON":{"z":1,"y":2},"b":3,"a":4}' '{"b":3,"toJSON":{"y":2,"z":1},"a":4}' '{"toJson":{"z":1,"y":2},"b":3,"a":4}'; do
  echo "$text"
  case $text in *toJSON*) right=$special two=$text ;; *) right=${special/toJSON/toJson} two=${special/toJSON/toJson} ;; esac
  see "$(node main.mjs json-canonicalize "$text")" "$two" json-canonicalize
  see "$(node main.mjs canonicalize "$text")" "$right" canonicalize
  see "$(venv/bin/python main.py "$text")" "$right" rfc8785
done
exit $status
