#!/usr/bin/env bash
# One Casbin model, one policy, one request: allowed in Go and Node.js, denied in Python.
#
# Packages: github.com/casbin/casbin/v3 v3.10.0 (Go module), casbin 1.43.0 (PyPI), casbin 5.51.1 (npm, where
#   node is installed).
# Seen: the policy lets an agent read `^/open/`, and what has `report` in its path, with `regexMatch`.
#   /open/1 is allowed by all three. /files/report/1 is allowed by Go and by Node.js and denied by Python:
#   its regexMatch looks at the beginning of the text only, as `re.match` does, and finds no `report` there.
#   With `.*report` all three allow.
# Not expected because: Casbin's models and policies are made to be shared between its languages, and the
#   function has one name in all of them.
# For users: a policy that was tested with one of them says something else in a service of the other language,
#   and a decision log that names the policy's digest has both decisions for it. Anchor every expression
#   (`^…$`, with `.*` where you mean it), and log which engine has decided.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check casbin==1.43.0
cat >model.conf <<'CONF'
[request_definition]
r = sub, obj, act

[policy_definition]
p = sub, obj, act, eft

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = r.sub == p.sub && regexMatch(r.obj, p.obj) && r.act == p.act
CONF
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/casbin/casbin/v3"
)

func main() {
	enforcer, err := casbin.NewEnforcer("model.conf", os.Args[1])
	if err != nil {
		panic(err)
	}
	for _, path := range []string{"/open/1", "/files/report/1"} {
		allowed, err := enforcer.Enforce("helper", path, "read")
		if err != nil {
			panic(err)
		}
		fmt.Print(path, " ", allowed, " ")
	}
	fmt.Println()
}
GO
cat >ask.py <<'PY'
import sys

import casbin

enforcer = casbin.Enforcer("model.conf", sys.argv[1])
for path in ("/open/1", "/files/report/1"):
    print(path, str(enforcer.enforce("helper", path, "read")).lower(), end=" ")
print()
PY
cat >ask.mjs <<'JS'
import { newEnforcer } from 'casbin'
const enforcer = await newEnforcer('model.conf', process.argv[2])
let line = ''
for (const path of ['/open/1', '/files/report/1'])
  line += `${path} ${await enforcer.enforce('helper', path, 'read')} `
console.log(line)
JS
printf 'p, helper, ^/open/, read, allow\np, helper, report, read, allow\n' >plain.csv
printf 'p, helper, ^/open/.*, read, allow\np, helper, .*report, read, allow\n' >anchored.csv
go mod init example/casbin 2>/dev/null
go get github.com/casbin/casbin/v3@v3.10.0 2>/dev/null
go build -o ask .
check() { # engine, policy, whether /files/report/1 is allowed, command
  local seen
  seen=$("${@:4}" "$2.csv")
  echo "$1, $2 expressions: $seen"
  [ "$seen" = "/open/1 true /files/report/1 $3 " ] || { echo "changed: expected $3"; exit 1; }
}
check Go plain true ./ask
check Python plain false venv/bin/python ask.py
check Go anchored true ./ask
check Python anchored true venv/bin/python ask.py
if command -v npm >/dev/null; then
  npm init -y >/dev/null && npm install --silent --no-fund --no-audit casbin@5.51.1
  check Node.js plain true node ask.mjs
  check Node.js anchored true node ask.mjs
fi
