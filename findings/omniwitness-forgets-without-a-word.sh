#!/usr/bin/env bash
# An omniwitness that has lost its database cosigns a log's next checkpoint, and the log hears nothing of the loss.
#
# Packages: github.com/transparency-dev/witness/cmd/omniwitness v0.0.0-20260720115447-2e1c6971d19e,
#   golang.org/x/mod v0.43.0 (Go modules).
# Seen: a log grows from 2 entries to 3, and the witness cosigns both. "old 1" is then 409, with the size that it
#   knows, as it should be. It is stopped, and started again with an empty database. The log's next request, with
#   "old 3" and the proof from 3 to 4, is 200, with a cosignature, though the witness knows of no 3.
# Not expected because: tlog-witness has the witness check that the old size is that of what it last cosigned, or 0 where
#   it has cosigned nothing, and answer 409 with its size. The code quotes that rule, behind the place where a
#   log that it has nothing of is answered. That the first checkpoint is trusted is documented; that a log which
#   names an old size, and so is no new one, is answered in the same way is not.
# For users: a witness that lost its disk, or was set up anew with its old key, is not noticed by the log, whose
#   protection from a rollback is gone at it, and its cosignatures count in every quorum. Ask its operator how the
#   database is kept; a log that watches for it sends "old 0" to each witness now and then, and expects 409.
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
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "log.example/one"

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func findAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	return listener.Addr().String()
}

func leaf(text string) tlog.Hash { return tlog.RecordHash([]byte(text)) }

var (
	three = leaf("c")
	four  = leaf("d")
	left  = tlog.NodeHash(leaf("a"), leaf("b"))
	roots = map[int]tlog.Hash{2: left, 3: tlog.NodeHash(left, three), 4: tlog.NodeHash(left, tlog.NodeHash(three, four))}
)

// addCheckpoint asks for a cosignature; the status, and the body of a refusal.
func addCheckpoint(address, secret string, old, size int, root tlog.Hash, proof ...tlog.Hash) string {
	signer, err := note.NewSigner(secret)
	must(err)
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, root)
	checkpoint, err := note.Sign(&note.Note{Text: text}, signer)
	must(err)
	body := fmt.Sprintf("old %d\n", old)
	for _, hash := range proof {
		body += base64.StdEncoding.EncodeToString(hash[:]) + "\n"
	}
	body += "\n" + string(checkpoint)
	for range 600 {
		answer, err := http.Post("http://"+address+"/add-checkpoint", "text/plain", strings.NewReader(body))
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		read, err := io.ReadAll(answer.Body)
		must(err)
		answer.Body.Close()
		if answer.StatusCode == 500 { // It reads its list of logs a moment after the start.
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if answer.StatusCode == 200 && bytes.HasPrefix(read, []byte("— witness.example ")) {
			return "200, a cosignature"
		}
		return fmt.Sprintf("%d %q", answer.StatusCode, read)
	}
	panic("the witness does not answer")
}

func main() {
	folder := os.Args[1]
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	must(err)
	own, _, err := note.GenerateKey(rand.Reader, "witness.example")
	must(err)
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "logs/v0\n\nvkey %s\nqpd 86400\ncontact ops@log.example\n", public)
	}))
	defer list.Close()
	key := filepath.Join(folder, "key")
	must(os.WriteFile(key, []byte(own), 0o600))
	start := func(database string) (string, func()) {
		address := findAddress()
		witness := exec.Command(filepath.Join(folder, "omniwitness"), "-private_key_path", key,
			"-db_file", filepath.Join(folder, database), "-listen", address, "-metrics_listen", findAddress(),
			"-public_witness_config_url", list.URL, "-public_witness_config_poll_interval", "1s")
		must(witness.Start())
		return address, func() {
			witness.Process.Kill()
			witness.Wait()
		}
	}
	status := 0
	check := func(what, seen, wanted string) {
		fmt.Printf("%s: %s\n", what, seen)
		if seen != wanted {
			fmt.Println("changed: expected", wanted)
			status = 1
		}
	}
	const cosigned = "200, a cosignature"
	address, stop := start("first.db")
	check("2 entries, old 0", addCheckpoint(address, secret, 0, 2, roots[2]), cosigned)
	check("3 entries, old 2", addCheckpoint(address, secret, 2, 3, roots[3], three), cosigned)
	check("4 entries, old 1", addCheckpoint(address, secret, 1, 4, roots[4]), `409 "3\n"`)
	stop()
	address, stop = start("second.db")
	proof := []tlog.Hash{three, four, left}
	check("an empty database, 4 entries, old 3", addCheckpoint(address, secret, 3, 4, roots[4], proof...), cosigned)
	check("and the same again", addCheckpoint(address, secret, 3, 4, roots[4], proof...), `409 "4\n"`)
	stop()
	os.Exit(status)
}
GO
go mod init example/asking 2>/dev/null
go get golang.org/x/mod@v0.43.0 2>/dev/null
go build -o ask .
./ask "$folder"
