#!/usr/bin/env bash
# Ten roles up, Go's and Node.js' Casbin allow what Python's denies.
#
# Packages: github.com/casbin/casbin/v3 v3.10.0 (Go module), casbin 1.43.0 (PyPI), casbin 5.51.1 (npm, where
#   node is installed).
# Seen: one model and one policy, in which each group is in the next one (`g, ann, g1`, `g, g1, g2`, …). The last
#   group may read /plan. With that group 9 steps above ann all three allow it. With 10 steps Go and Node.js do so
#   still, and Python denies it, without an error. In the same Python process get_implicit_permissions_for_user
#   lists the rule for ann.
# Not expected because: models and policies are made to be shared between the languages, the enforcers of all three
#   give their role manager a limit of 10, and its parameter, the maximum hierarchy level, has one name in
#   them. That a limit can be set is documented; that one number is two limits is not, and upstream's issues
#   (1404, 1507) know only of listings that go beyond it. Where groups come from a directory, nobody reviews a
#   policy because there is one group more.
# For users: a reorganisation gives one service other decisions than another, by one policy with one digest. A
#   review by implicit permissions does not show it. Give the role manager a limit that no hierarchy of yours
#   reaches (with 100 Python decides as the two others do), and log which engine has decided.
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
p = sub, obj, act

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
CONF
for steps in 9 10; do
  {
    echo "p, g$steps, /plan, read"
    echo "g, ann, g1"
    for ((step = 1; step < steps; step++)); do echo "g, g$step, g$((step + 1))"; done
  } >"$steps.csv"
done
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
	allowed, err := enforcer.Enforce("ann", "/plan", "read")
	if err != nil {
		panic(err)
	}
	fmt.Println(allowed)
}
GO
cat >ask.py <<'PY'
import sys

import casbin
from casbin.rbac.default_role_manager import RoleManager

enforcer = casbin.Enforcer("model.conf", sys.argv[1])
print(str(enforcer.enforce("ann", "/plan", "read")).lower())
rule = ["g" + sys.argv[1].partition(".")[0], "/plan", "read"]
if rule not in enforcer.get_implicit_permissions_for_user("ann"):
    sys.exit(f"changed: {rule} is not listed for ann")
enforcer.set_role_manager(RoleManager(100))
enforcer.build_role_links()
if not enforcer.enforce("ann", "/plan", "read"):
    sys.exit("changed: a higher limit does not help")
PY
cat >ask.mjs <<'JS'
import { newEnforcer } from 'casbin'
const enforcer = await newEnforcer('model.conf', process.argv[2])
console.log(await enforcer.enforce('ann', '/plan', 'read'))
JS
go mod init example/casbin 2>/dev/null
go get github.com/casbin/casbin/v3@v3.10.0 2>/dev/null
go build -o ask .
check() { # engine, steps, what is expected, command
  local seen
  seen=$("${@:4}" "$2.csv")
  echo "$1, $2 steps: $seen"
  [ "$seen" = "$3" ] || { echo "changed: expected $3"; exit 1; }
}
check Go 9 true ./ask
check Go 10 true ./ask
check Python 9 true venv/bin/python ask.py
check Python 10 false venv/bin/python ask.py
if command -v npm >/dev/null; then
  npm init -y >/dev/null && npm install --silent --no-fund --no-audit casbin@5.51.1
  check Node.js 9 true node ask.mjs
  check Node.js 10 true node ask.mjs
fi
