// Command mirrorclient is a log that pushes to a mirror, made of torchwood's parts.
//
//	mirrorclient SUBMISSION MONITORING KEY SIZE VKEY...
//
// It makes a log of SIZE entries, signed by KEY, a private note key; adds its checkpoint at the
// submission prefix, uploads its entries, at most 32 packages a request and compressed, and follows
// what the mirror answers. Each VKEY must have cosigned. Then it reads all entries back from the
// monitoring prefix of the log, and authenticates them by the checkpoint that is served there.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		found[i] = h[index]
	}
	return found, nil
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func post(url, kind string, body []byte, coded bool) (int, string, []byte) {
	if coded {
		var packed bytes.Buffer
		writer := gzip.NewWriter(&packed)
		must(writer.Write(body))
		if err := writer.Close(); err != nil {
			log.Fatal(err)
		}
		body = packed.Bytes()
	}
	request := must(http.NewRequest("POST", url, bytes.NewReader(body)))
	request.Header.Set("Content-Type", kind)
	if coded {
		request.Header.Set("Content-Encoding", "gzip")
	}
	response := must(http.DefaultClient.Do(request))
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("Content-Type"), must(io.ReadAll(response.Body))
}

func upload(origin string, entries [][]byte, stored hashes, start, end int64, ticket []byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(origin)))
	body = append(body, origin...)
	body = binary.BigEndian.AppendUint64(body, uint64(start))
	body = binary.BigEndian.AppendUint64(body, uint64(end))
	body = binary.BigEndian.AppendUint16(body, uint16(len(ticket)))
	body = append(body, ticket...)
	base := start - start%256
	for packages := 0; base < end && packages < 32; packages++ {
		last := min(base+256, end)
		for _, entry := range entries[max(base, start):last] {
			body = must(torchwood.AppendTileEntry(body, entry))
		}
		proof := must(torchwood.ProveSubtree(end, base, last, stored))
		body = append(body, byte(len(proof)))
		for _, hash := range proof {
			body = append(body, hash[:]...)
		}
		base = last
	}
	return body
}

func main() {
	submission, monitoring := os.Args[1], os.Args[2]
	signer := must(note.NewSigner(os.Args[3]))
	size := must(strconv.ParseInt(os.Args[4], 10, 64))
	var mirrors []note.Verifier
	for _, vkey := range os.Args[5:] {
		mirrors = append(mirrors, must(torchwood.NewCosignatureVerifier(vkey)))
	}
	origin := signer.Name()
	var stored hashes
	var entries [][]byte
	for n := range size {
		entry := fmt.Appendf(nil, `{"entry":%d,"action":"read"}`, n)
		entries = append(entries, entry)
		stored = append(stored, must(tlog.StoredHashes(n, entry, stored))...)
	}
	tree := tlog.Tree{N: size, Hash: must(tlog.TreeHash(size, stored))}
	text := torchwood.Checkpoint{Origin: origin, Tree: tree}.String()
	signed := must(note.Sign(&note.Note{Text: text}, signer))

	status, _, answer := post(submission+"/add-checkpoint", "text/plain", append([]byte("old 0\n\n"), signed...), false)
	if status != 200 {
		log.Fatalf("add-checkpoint: %d %s", status, answer)
	}
	var start int64
	var ticket []byte
	for requests := int64(1); ; requests++ {
		body := upload(origin, entries, stored, start, size, ticket)
		status, kind, answer := post(submission+"/add-entries", "application/octet-stream", body, true)
		if status == 200 {
			verified := must(note.Open(append(signed, answer...), note.VerifierList(mirrors...)))
			if len(verified.Sigs) != len(mirrors) {
				log.Fatalf("%d cosignatures of %d", len(verified.Sigs), len(mirrors))
			}
			fmt.Printf("cosigned after %d requests\n", requests)
			break
		}
		if (status != 202 && status != 409) || kind != "text/x.tlog.mirror-info" || requests > size {
			log.Fatalf("add-entries: %d %s", status, answer)
		}
		lines := strings.Split(string(answer), "\n")
		if lines[0] != strconv.FormatInt(size, 10) {
			log.Fatalf("another pending checkpoint: %s", answer)
		}
		start = must(strconv.ParseInt(lines[1], 10, 64))
		ticket = must(base64.StdEncoding.DecodeString(lines[2]))
	}

	ctx := context.Background()
	fetcher := must(torchwood.NewTileFetcher(monitoring, torchwood.WithUserAgent("mirrorclient test@example.com")))
	served := must(fetcher.ReadEndpoint(ctx, "checkpoint"))
	verifiers := append(mirrors, must(torchwood.NewVerifierFromSigner(os.Args[3])))
	opened := must(note.Open(served, note.VerifierList(verifiers...)))
	if len(opened.Sigs) != len(verifiers) {
		log.Fatalf("the served checkpoint has %d known signatures", len(opened.Sigs))
	}
	checkpoint := must(torchwood.ParseCheckpoint(opened.Text))
	client := must(torchwood.NewClient(fetcher))
	var read int64
	for index, entry := range client.AllEntries(ctx, checkpoint.Tree, 0) {
		if !bytes.Equal(entry, entries[index]) {
			log.Fatalf("entry %d is another one", index)
		}
		read++
	}
	if err := client.Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("read back %d entries\n", read)
}
