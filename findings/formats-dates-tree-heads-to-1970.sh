#!/usr/bin/env bash
# The time of every certificate transparency checkpoint is in January 1970.
#
# Packages: github.com/transparency-dev/formats v0.1.1, golang.org/x/mod v0.43.0 (Go modules).
# Seen: a tree head of a CT log, signed at 2026-11-30 12:00:00 UTC, is made a checkpoint and its signature verifies.
#   `note.RFC6962STHTimestamp` of that signature is 1970-01-21 18:54:00 UTC. The signature holds the right
#   milliseconds; the function takes them for microseconds. `note.CoSigV1Timestamp`, of a witness's
#   signature with that time in it, has 2026-11-30 12:00:00 UTC.
# Not expected because: it is the one thing that the function is there for, its own comment says "millis-since-epoch",
#   and no call of it fails.
# For users: a monitor that asks "is this checkpoint newer than a day?" finds each log dead for half a century, and one
#   that sorts heads by time has them right, so that nothing is noticed. Read the eight bytes behind the key hash.
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
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"time"

	timed "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// signHead is a log's answer to get-sth: a tree of this size and root, at this time in milliseconds.
func signHead(key *ecdsa.PrivateKey, size, milliseconds uint64, root [32]byte) []byte {
	signed := []byte{0, 1} // version 1, a tree hash
	signed = binary.BigEndian.AppendUint64(signed, milliseconds)
	signed = binary.BigEndian.AppendUint64(signed, size)
	signed = append(signed, root[:]...)
	digest := sha256.Sum256(signed)
	signature := must(ecdsa.SignASN1(rand.Reader, key, digest[:]))
	algorithm := binary.BigEndian.AppendUint16([]byte{4, 3}, uint16(len(signature))) // SHA-256, ECDSA
	return must(json.Marshal(map[string]any{
		"tree_size": size, "timestamp": milliseconds, "sha256_root_hash": root[:],
		"tree_head_signature": append(algorithm, signature...),
	}))
}

// withTime is a signature of a witness, made at a time of our choice.
func withTime(signature note.Signature, seconds uint64) note.Signature {
	raw := must(base64.StdEncoding.DecodeString(signature.Base64))
	binary.BigEndian.PutUint64(raw[4:], seconds)
	signature.Base64 = base64.StdEncoding.EncodeToString(raw)
	return signature
}

func main() {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	verifier := must(timed.NewRFC6962Verifier(must(timed.RFC6962VerifierString("https://ct.example.com/2026h2", key.Public()))))
	head := signHead(key, 5, uint64(at.UnixMilli()), sha256.Sum256(nil))
	opened := must(note.Open(must(timed.RFC6962STHToCheckpoint(head, verifier)), note.VerifierList(verifier)))
	seen := must(timed.RFC6962STHTimestamp(opened.Sigs[0])).UTC()
	fmt.Println("the log's signature verifies; its time:", seen)

	secret, _, err := note.GenerateKey(rand.Reader, "witness.example")
	if err != nil {
		panic(err)
	}
	witness := must(timed.NewSignerForCosignatureV1(secret))
	cosigned := must(note.Sign(&note.Note{Text: opened.Text}, witness))
	opened = must(note.Open(cosigned, note.VerifierList(witness.Verifier())))
	other := must(timed.CoSigV1Timestamp(withTime(opened.Sigs[0], uint64(at.Unix())))).UTC()
	fmt.Println("the time of a witness's signature:", other)
	if !seen.Equal(time.Unix(0, at.UnixMilli()*1000)) || seen.Year() != 1970 || !other.Equal(at) {
		fmt.Println("changed: other times")
		os.Exit(1)
	}
}
GO
go mod init example/times 2>/dev/null
go get github.com/transparency-dev/formats@v0.1.1 golang.org/x/mod@v0.43.0 2>/dev/null
go mod tidy 2>/dev/null
go run .
