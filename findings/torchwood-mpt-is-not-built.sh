#!/usr/bin/env bash
# The Merkle Patricia tree of torchwood v0.10.0 is in the module, documented, and cannot be imported.
#
# Packages: filippo.io/torchwood v0.10.0 (Go module).
# Seen: a program that imports filippo.io/torchwood/mpt fails: "build constraints exclude all Go files",
#   because each of its files has the tag `ignore`. `-tags ignore` does not help: the folder then holds
#   the packages mpt and main, which is an error.
# Not expected because: the release has the package with a design document, a comment that says how
#   to use it, test vectors and tests.
# For users: copy the folder without mptload.go and the tags, and change the path of its internal
#   packages, as scripts/benchmark/complete.py does; the tree and proof formats are as documented.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without Go (fetches Go 1.27 by itself).
set -euo pipefail
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
cat >main.go <<'GO'
package main

import (
	"fmt"

	"filippo.io/torchwood/mpt"
)

func main() { fmt.Println(mpt.EmptyTreeHash()) }
GO
go mod init example/map 2>/dev/null
go get filippo.io/torchwood@v0.10.0 2>/dev/null
try() { # TAGS WHAT-IT-SAYS
  local said
  if said=$(go run -tags "$1" . 2>&1); then
    echo "changed: with the tags '$1' it is built: $said"
    exit 1
  fi
  grep -oE "$2" <<<"$said" || { echo "changed: with the tags '$1' it says: $said"; exit 1; }
}
try "" "filippo.io/torchwood/mpt: build constraints exclude all Go files"
try ignore "found packages mpt \(disk.go\) and main \(mptload.go\)"
