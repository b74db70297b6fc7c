#!/usr/bin/env bash
# A second `log` line in a policy makes torchwood refuse every checkpoint that it accepted before.
#
# Packages: filippo.io/torchwood v0.10.0, golang.org/x/mod v0.43.0 (Go modules).
# Seen: a checkpoint that is signed with a log's key verifies under a policy of that one `log` line. With
#   a second `log` line (the log's next key, same name) it fails: "only 1/2 policy components
#   satisfied". It verifies again once both keys have signed it. So does a policy of two logs: it never
#   holds for a checkpoint of either.
# Not expected because: in the policy format (Sigsum's, C2SP's tlog-policy) the `log` lines list whose
#   checkpoints may be verified; what all has to sign is what `quorum` says.
# For users: the usual way to change a key, first hand out policies with the old and the new line, then
#   sign with the new key, locks out every verifier built on torchwood on the day of the first step.
#   Sign with both keys first, then hand out the policy with both lines.
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
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

func newKey(name string) (note.Signer, string) {
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		panic(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		panic(err)
	}
	return signer, public
}

func main() {
	now, nowKey := newKey("log.example/one")
	next, nextKey := newKey("log.example/one")
	_, otherKey := newKey("log.example/two")
	text := "log.example/one\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	for _, try := range []struct {
		what    string
		signers []note.Signer
		keys    []string
		holds   bool
	}{
		{"its key, policy of that key", []note.Signer{now}, []string{nowKey}, true},
		{"its key, policy of that key and the next", []note.Signer{now}, []string{nowKey, nextKey}, false},
		{"both keys, policy of both", []note.Signer{now, next}, []string{nowKey, nextKey}, true},
		{"its key, policy of two logs", []note.Signer{now}, []string{nowKey, otherKey}, false},
	} {
		checkpoint, err := note.Sign(&note.Note{Text: text}, try.signers...)
		if err != nil {
			panic(err)
		}
		policy, err := torchwood.ParsePolicy([]byte("log " + strings.Join(try.keys, "\nlog ") + "\nquorum none\n"))
		if err != nil {
			panic(err)
		}
		_, _, err = torchwood.VerifyCheckpoint(checkpoint, policy)
		fmt.Printf("signed with %s: error %v\n", try.what, err)
		if (err == nil) != try.holds {
			fmt.Println("changed: the `log` lines are read otherwise")
			os.Exit(1)
		}
	}
}
GO
go mod init example/policy 2>/dev/null
go get filippo.io/torchwood@v0.10.0 golang.org/x/mod@v0.43.0 2>/dev/null
go run .
