#!/usr/bin/env bash
# A witness's next key in the policy, ahead of its use, and Tessera's log cannot publish any more.
#
# Packages: github.com/transparency-dev/tessera v1.0.4, github.com/transparency-dev/formats
#   v0.0.0-20251017110053-404c0d5b696c, golang.org/x/mod v0.43.0 (Go modules).
# Seen: a policy with one witness line is satisfied. With a second line for that witness's next key, the same
#   URL, and `group operator any now next`, the witness answers as before and Tessera says "replied with
#   invalid signature" and "witness policy was not satisfied". With the two lines' order in the group
#   changed (`any next now`) it is satisfied. With `all` and a witness that signs with both keys it is not,
#   in either order: of all keys at one URL only the last one of the group is looked for.
# Not expected because: "any of these two" holds wherever one of them holds; C2SP's policy format has no order,
#   and a witness may answer with a line for each of its keys (tlog-witness).
# For users: the usual way to change a witness's key, both keys in the policy for a while, stops a Tessera log
#   at the first step. Give each key of a witness a URL of its own (a path or a host name that leads to the
#   same server), or put the key that signs today last.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without Go.
set -euo pipefail
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
cat >main.go <<'GO'
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	cosignature "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func newKey(name string) (string, string) {
	secret, public, err := note.GenerateKey(rand.Reader, name)
	must(err)
	return secret, public
}

// answerWith is a witness that accepts each checkpoint and signs with these keys.
func answerWith(secrets ...string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		must(err)
		_, checkpoint, _ := strings.Cut(string(body), "\n\n")
		text, _, _ := strings.Cut(checkpoint, "\n\n")
		for _, secret := range secrets {
			signer, err := cosignature.NewSignerForCosignatureV1(secret)
			must(err)
			signed, err := note.Sign(&note.Note{Text: text + "\n"}, signer)
			must(err)
			_, lines, _ := strings.Cut(string(signed), "\n\n")
			fmt.Fprint(w, lines)
		}
	}))
}

// emptyLog is a log that has published nothing yet.
type emptyLog struct{ tessera.LogReader }

func (emptyLog) ReadCheckpoint(context.Context) ([]byte, error) { return nil, os.ErrNotExist }
func (emptyLog) ReadTile(context.Context, uint64, uint64, uint8) ([]byte, error) {
	return make([]byte, 32), nil
}

func main() {
	secret, _ := newKey("log.example/one")
	logSigner, err := note.NewSigner(secret)
	must(err)
	now, nowKey := newKey("witness.example")
	next, nextKey := newKey("witness.example")
	for _, try := range []struct {
		what    string
		secrets []string
		group   string
		holds   bool
	}{
		{"signs with its key", []string{now}, "any now", true},
		{"signs with its key", []string{now}, "any now next", false},
		{"signs with its key", []string{now}, "any next now", true},
		{"signs with both keys", []string{now, next}, "any now next", true},
		{"signs with both keys", []string{now, next}, "all now next", false},
		{"signs with both keys", []string{now, next}, "all next now", false},
	} {
		server := answerWith(try.secrets...)
		policy := fmt.Sprintf("witness now %s %s\nwitness next %s %s\ngroup operator %s\nquorum operator\n",
			nowKey, server.URL, nextKey, server.URL, try.group)
		group, err := tessera.NewWitnessGroupFromPolicy([]byte(policy))
		must(err)
		options := tessera.NewAppendOptions().WithCheckpointSigner(logSigner).WithWitnesses(group, nil)
		publish := options.CheckpointPublisher(emptyLog{}, server.Client())
		_, err = publish(context.Background(), 1, make([]byte, 32))
		server.Close()
		why := "satisfied"
		if err != nil {
			why = strings.Split(err.Error(), "\n")[0]
			if strings.Contains(err.Error(), "replied with invalid signature") {
				why += ", and the witness replied with invalid signature"
			}
		}
		fmt.Printf("the witness %s, group operator %s: %s\n", try.what, try.group, why)
		if (err == nil) != try.holds {
			fmt.Println("changed: the policy is read otherwise")
			os.Exit(1)
		}
	}
}
GO
go mod init example/keys 2>/dev/null
go get github.com/transparency-dev/tessera@v1.0.4 golang.org/x/mod@v0.43.0 \
  github.com/transparency-dev/formats@v0.0.0-20251017110053-404c0d5b696c 2>/dev/null
go build -o publish .
./publish 2>/dev/null
