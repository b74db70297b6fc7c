#!/usr/bin/env bash
# "Internal server error" is what a witness says of a log that it does not know, and of a wrong key.
#
# Packages: github.com/transparency-dev/witness/cmd/omniwitness v0.0.0-20260720115447-2e1c6971d19e,
#   golang.org/x/mod v0.43.0 (Go modules).
# Seen: a checkpoint of a log that is in the witness's list, signed with its key, is 200, with a cosignature.
#   The checkpoint of a log that is in no list is 500. So is the next one of the listed log when it is
#   signed with that log's new key only. Both answers have an empty body.
# Not expected because: tlog-witness, which it implements, has "MUST respond with a 404" for an unknown origin and
#   "MUST respond with a 403" where no trusted signature is there, and the code has both cases: they
#   are not reached.
# For users: a log takes 500 for a fault of the witness that passes, tries again for ever, and nobody is told
#   that the witness has to be given the log, or its new key. Treat a lasting 500 of a witness as "not
#   configured there", and look whether it has ever cosigned.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without Go.
set -euo pipefail
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder"
go install github.com/transparency-dev/witness/cmd/omniwitness@v0.0.0-20260720115447-2e1c6971d19e 2>/dev/null
mkdir "$folder/asking" && cd "$folder/asking"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"time"

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

func findAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	return listener.Addr().String()
}

// addCheckpoint asks for a cosignature of a log's first entry; the status, and how long the body is.
func addCheckpoint(address, origin, secret string) (int, int) {
	signer, err := note.NewSigner(secret)
	must(err)
	text := origin + "\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	checkpoint, err := note.Sign(&note.Note{Text: text}, signer)
	must(err)
	body := append([]byte("old 0\n\n"), checkpoint...)
	for range 600 {
		answer, err := http.Post("http://"+address+"/add-checkpoint", "text/plain", bytes.NewReader(body))
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		read, err := io.ReadAll(answer.Body)
		must(err)
		answer.Body.Close()
		return answer.StatusCode, len(read)
	}
	panic("the witness does not answer")
}

func main() {
	folder := os.Args[1]
	secret, public := newKey("log.example/listed")
	next, _ := newKey("log.example/listed")
	unknown, _ := newKey("log.example/unknown")
	own, _ := newKey("witness.example")
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "logs/v0\n\nvkey %s\nqpd 86400\ncontact ops@log.example\n", public)
	}))
	defer list.Close()
	key := filepath.Join(folder, "key")
	must(os.WriteFile(key, []byte(own), 0o600))
	address := findAddress()
	witness := exec.Command(filepath.Join(folder, "omniwitness"), "-private_key_path", key,
		"-db_file", filepath.Join(folder, "witness.db"), "-listen", address, "-metrics_listen", findAddress(),
		"-public_witness_config_url", list.URL, "-public_witness_config_poll_interval", "1s")
	must(witness.Start())
	defer func() {
		witness.Process.Kill()
		witness.Wait()
	}()
	status, size := 0, 0
	for range 100 { // The list is read a moment after the start.
		if status, size = addCheckpoint(address, "log.example/listed", secret); status == 200 {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	fmt.Printf("a listed log: %d, %d bytes\n", status, size)
	changed := status != 200
	for _, try := range []struct{ what, origin, secret string }{
		{"a log that is not listed", "log.example/unknown", unknown},
		{"the listed log, signed with its next key only", "log.example/listed", next},
	} {
		status, size := addCheckpoint(address, try.origin, try.secret)
		fmt.Printf("%s: %d, %d bytes\n", try.what, status, size)
		changed = changed || status != 500 || size != 0
	}
	if changed {
		fmt.Println("changed: other answers")
		witness.Process.Kill()
		os.Exit(1)
	}
}
GO
go mod init example/asking 2>/dev/null
go get golang.org/x/mod@v0.43.0 2>/dev/null
go build -o ask .
./ask "$folder"
