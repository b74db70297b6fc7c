#!/usr/bin/env bash
# What torchwood's command `spicy` writes, torchwood's function for spicy signatures does not read.
#
# Packages: filippo.io/torchwood, with cmd/spicy, v0.10.0 (Go modules).
# Seen: `spicy` logs a file and writes file.spicy, and `spicy -verify` is content with it. `torchwood.VerifyProof` of the
#   same version ends with "missing header, this may not be a tlog proof". With the line c2sp.org/tlog-proof@v1
#   put before it, it verifies; that file, which is a tlog-proof in every respect, is "malformed
#   spicy signature" for `spicy -verify`.
# Not expected because: torchwood's documentation calls what VerifyProof takes "a spicy signature encoded according to
#   c2sp.org/tlog-proof@v1", and command and package come from one module at one version.
# For users: artifacts that were signed with the command fail in a program with the package, and the tlog-proofs of
#   every other log fail with the command. Add the header, or take it off, before you hand one on.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without Go (fetches Go 1.27 by itself).
set -euo pipefail
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
cat >main.go <<'GO'
// Verifies a proof for a file with a log's key, as torchwood's package does, and says what it said.
package main

import (
	"fmt"
	"os"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	key := must(note.NewVerifier(os.Args[1]))
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(key.Name()), torchwood.SingleVerifierPolicy(key))
	hash := tlog.RecordHash(must(os.ReadFile(os.Args[2])))
	if err := torchwood.VerifyProof(policy, hash, must(os.ReadFile(os.Args[3]))); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("verified")
}
GO
go mod init example/proof 2>/dev/null
go get filippo.io/torchwood@v0.10.0 filippo.io/torchwood/cmd/spicy@v0.10.0 2>/dev/null
go mod tidy 2>/dev/null
GOBIN="$folder" go install filippo.io/torchwood/cmd/spicy@v0.10.0 2>/dev/null
go build -o package .
mkdir log
key=$(./spicy -init example.com/log -assets log -key secret 2>&1 | sed -n 's/.*Public key: //p')
echo "a decision" >file
cp file copy
./spicy -assets log -key secret file 2>/dev/null
{ echo c2sp.org/tlog-proof@v1; cat file.spicy; } >copy.spicy
check() { # what, wanted, command
  local seen
  seen=$("${@:3}" 2>&1 | tail -n 1 || true)
  echo "$1: $seen"
  grep -q "$2" <<<"$seen" || { echo "changed: expected $2"; exit 1; }
}
echo "written by spicy: $(head -n 1 file.spicy) ..."
check "as written, the command" "verified!" ./spicy -verify "$key" file
check "as written, the package" "missing header, this may not be a tlog proof" ./package "$key" file file.spicy
check "with the header, the package" "^verified$" ./package "$key" copy copy.spicy
check "with the header, the command" "malformed spicy signature" ./spicy -verify "$key" copy
