#!/usr/bin/env bash
# A tlog-proof with 48 KiB of extra data is written, and by the same package read as one without an index.
#
# Packages: github.com/transparency-dev/formats v0.1.1, filippo.io/torchwood v0.10.0 (Go modules).
# Seen: `proof.TLogProof` writes a proof with 49,146 bytes of extra data and reads it again. With 49,147 it writes
#   one too, and reading it is "tlog proof missing required index". torchwood reads the extra data of both.
#   The line of the extra data then has 64 KiB, which is more than Go's bufio.Scanner takes in one piece, and
#   the index line is looked for before its error is.
# Not expected because: C2SP's tlog-proof sets no limit to the extra data and names what a verifier needs to
#   compute the entry's hash as a use of it, and an entry of tlog-tiles may have 65,535 bytes.
# For users: proofs of small entries all pass, and the first large one is "malformed" at whoever verifies with this
#   package, though nothing is wrong with it. Read such proofs with torchwood, or hand on the entry beside the proof.
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
	"os"

	"filippo.io/torchwood"
	"github.com/transparency-dev/formats/proof"
)

func main() {
	checkpoint := []byte("log.example/one\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— log.example/one AAAAAAAA\n")
	for _, try := range []struct {
		length int
		wanted string
	}{
		{1_000, "<nil>"},
		{49_146, "<nil>"},
		{49_147, "tlog proof missing required index"},
		{65_535, "tlog proof missing required index"},
	} {
		written := proof.TLogProof{Index: 0, ExtraData: make([]byte, try.length), Checkpoint: checkpoint}.Marshal()
		var read proof.TLogProof
		seen := fmt.Sprint(read.Unmarshal(written))
		extra, err := torchwood.ProofExtraData(written)
		fmt.Printf("%6d bytes of extra data: formats: error %s; torchwood: %d bytes\n", try.length, seen, len(extra))
		if seen != try.wanted || err != nil || len(extra) != try.length {
			fmt.Println("changed: expected", try.wanted)
			os.Exit(1)
		}
	}
}
GO
go mod init example/proof 2>/dev/null
go get github.com/transparency-dev/formats@v0.1.1 filippo.io/torchwood@v0.10.0 2>/dev/null
go mod tidy 2>/dev/null
go run .
