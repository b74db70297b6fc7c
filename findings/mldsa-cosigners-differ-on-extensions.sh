#!/usr/bin/env bash
# A witness's valid ML-DSA-44 cosignature turns a checkpoint with an extension line into one that cannot be opened.
#
# Packages: filippo.io/torchwood v0.10.0, github.com/transparency-dev/formats v0.1.1, golang.org/x/mod v0.43.0 (Go
#   modules).
# Seen: a checkpoint is signed by its log (Ed25519) and cosigned with ML-DSA-44 by formats, which omniwitness signs
#   with. Opened with the keys of both, it holds in formats and in torchwood. With one extension line in it, formats
#   cosigns it and opens it as before; torchwood, with the same keys, ends with "invalid signature for key
#   witness.example" and has no signature of the log either. Without the witness's key torchwood opens it. An
#   Ed25519 cosignature holds with the line as without it.
# Not expected because: C2SP advises against extension lines and has them left out of the ML-DSA message, but lets
#   a log have them; both packages read each other's keys and signatures; and torchwood says of its cosigners
#   that they refuse such a checkpoint, of its verifiers nothing: what one of them does not support is
#   expected to count as absent.
# For users: a log that has an extension line (a shard's end, a version) loses, with the first ML-DSA witness, every
#   verifier built on torchwood that was told its key, however many other signatures there are. Keep extension lines
#   out of a log's checkpoints, or give such verifiers the witnesses' Ed25519 keys only.
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
	"crypto/ed25519"
	"crypto/mldsa"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"

	"filippo.io/torchwood"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// open says which of the keys have signed, or what was wrong.
func open(signed []byte, keys ...note.Verifier) string {
	opened, err := note.Open(signed, note.VerifierList(keys...))
	if err != nil {
		return err.Error()[:min(len(err.Error()), 41)]
	}
	return fmt.Sprint("good, ", len(opened.Sigs), " signatures")
}

func main() {
	secret, public, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		panic(err)
	}
	log, logKey := must(note.NewSigner(secret)), must(note.NewVerifier(public))
	key := must(mldsa.GenerateKey(mldsa.MLDSA44()))
	theirs := must(torchwood.NewCosignatureSigner("witness.example", key))
	name := fmt.Sprintf("PRIVATE+KEY+witness.example+%08x+", theirs.Verifier().KeyHash())
	witness := must(formats.NewMLDSASigner(name + base64.StdEncoding.EncodeToString(append([]byte{6}, key.Bytes()...))))
	inFormats := must(formats.NewVerifierForCosignatureV1(theirs.Verifier().String()))
	inTorchwood := must(torchwood.NewCosignatureVerifier(theirs.Verifier().String()))
	_, old, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	ed25519Witness := must(torchwood.NewCosignatureSigner("old.example", old))
	for _, try := range []struct{ extension, torchwood string }{
		{"", "good, 2 signatures"},
		{"ends 2027-01-01\n", "invalid signature for key witness.example"},
	} {
		text := "log.example\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n" + try.extension
		signed := must(note.Sign(&note.Note{Text: text}, log, witness))
		both, other, without := open(signed, logKey, inFormats), open(signed, logKey, inTorchwood), open(signed, logKey)
		_, refused := note.Sign(&note.Note{Text: text}, theirs)
		earlier := open(must(note.Sign(&note.Note{Text: text}, log, ed25519Witness)), logKey, ed25519Witness.Verifier())
		fmt.Printf("extension %q: formats: %s; torchwood: %s; without the witness's key: %s; Ed25519: %s\n",
			try.extension, both, other, without, earlier)
		fmt.Println("  torchwood cosigns it: error", refused)
		if both != "good, 2 signatures" || other != try.torchwood || without != "good, 1 signatures" ||
			earlier != "good, 2 signatures" || (refused != nil) != (try.extension != "") {
			fmt.Println("changed: other results")
			os.Exit(1)
		}
	}
}
GO
go mod init example/cosigned 2>/dev/null
go get filippo.io/torchwood@v0.10.0 github.com/transparency-dev/formats@v0.1.1 golang.org/x/mod@v0.43.0 2>/dev/null
go mod tidy 2>/dev/null
go run .
