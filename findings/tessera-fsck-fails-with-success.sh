#!/usr/bin/env bash
# Tessera's checker of a log's files ends with status 0 when the check fails.
#
# Packages: github.com/transparency-dev/tessera/cmd/fsck v1.0.4, golang.org/x/mod v0.43.0 (Go modules).
# Seen: on a copy of a log of two entries, with `-ui=false`: status 0 and "Successfully fsck'd" when all
#   files are there. With the entry bundle not copied yet, and with the public key of another log:
#   "fsck failed: ..." on stderr, and status 0 again.
# Not expected because: fsck(8) and every checker in a pipeline tell the result by their status, and
#   this one prints its failure at level E.
# For users: `fsck ... && publish`, a cron job or a CI step passes for ever on a mirror that is not
#   complete, or that was never compared with the right key. Look for the line "Successfully fsck'd
#   log with size" and compare its size with the checkpoint's.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without Go.
set -euo pipefail
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder/bin"
go install github.com/transparency-dev/tessera/cmd/fsck@v1.0.4
mkdir "$folder/maker" && cd "$folder/maker"
cat >main.go <<'GO'
// Writes a log of two entries in the form of tlog-tiles, and its public key, into the folder named.
package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func write(data []byte, parts ...string) {
	name := filepath.Join(parts...)
	must(os.MkdirAll(filepath.Dir(name), 0o755))
	must(os.WriteFile(name, data, 0o644))
}

func main() {
	folder := os.Args[1]
	secret, public, err := note.GenerateKey(rand.Reader, "log.example/one")
	must(err)
	signer, err := note.NewSigner(secret)
	must(err)
	one, two := tlog.RecordHash([]byte("one")), tlog.RecordHash([]byte("two"))
	root := tlog.NodeHash(one, two)
	text := "log.example/one\n2\n" + base64.StdEncoding.EncodeToString(root[:]) + "\n"
	checkpoint, err := note.Sign(&note.Note{Text: text}, signer)
	must(err)
	write(checkpoint, folder, "log/checkpoint")
	write(append(one[:], two[:]...), folder, "log/tile/0/000.p/2")
	write([]byte(fmt.Sprintf("%c%cone%c%ctwo", 0, 3, 0, 3)), folder, "log/tile/entries/000.p/2")
	write([]byte(public), folder, "key")
}
GO
go mod init example/maker 2>/dev/null
go get golang.org/x/mod@v0.43.0 2>/dev/null
go run . "$folder/a"
go run . "$folder/b"
check() { # what, folder, key, the line that tells the result
  local status=0
  "$folder/bin/fsck" -storage_url "file://$2/log/" -public_key "$3" -ui=false >"$folder/output" 2>&1 || status=$?
  echo "$1: status $status, $(grep -oE "Successfully fsck'd log with size [0-9]+|fsck failed: .{0,60}" "$folder/output")"
  grep -q "$4" "$folder/output" && [ "$status" = 0 ] || { echo "changed: $1 ends otherwise"; exit 1; }
}
check "complete" "$folder/a" "$folder/a/key" "Successfully fsck'd log with size 2"
check "another log's key" "$folder/a" "$folder/b/key" "fsck failed"
rm "$folder/a/log/tile/entries/000.p/2"
check "entry bundle missing" "$folder/a" "$folder/a/key" "fsck failed"
