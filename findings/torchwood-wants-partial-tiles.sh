#!/usr/bin/env bash
# A checkpoint of a few minutes ago, and torchwood cannot read the log's first entry any more.
#
# Packages: filippo.io/torchwood v0.10.0, github.com/transparency-dev/tessera v1.0.4, golang.org/x/mod v0.43.0 (Go
#   modules).
# Seen: a log had 200 entries, and has 300 now; its tiles of before are replaced by the full ones, and gone. With the
#   head of 300 torchwood's client reads entry 5 and proves it. With the head of 200 the same call, and
#   AllEntries for all 200, end with "tile/entries/000.p/200: unexpected status code 404": it asks for the partial
#   tile only. Tessera's client gets entry 5 and its proof in the head of 200 from the same server.
# Not expected because: a log may delete a partial tile once the full one is there (tlog-tiles), Tessera does so each
#   minute, and the full tile has all that the partial one had, hashed into the head that was verified.
# For users: what verifies against a head that it kept, or one that witnesses take a while to cosign, fails as soon as
#   the log has grown past the next multiple of 256, which no test with a small log shows. Fetch the newest
#   checkpoint and ask again, or give TileFetcher a client that asks for the full tile when the partial one is 404.
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
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/tlog"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

var hashes []tlog.Hash

func read(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for at, index := range indexes {
		found[at] = hashes[index]
	}
	return found, nil
}

func entry(index int64) []byte { return fmt.Appendf(nil, "entry %d", index) }

func head(size int64) tlog.Tree {
	return tlog.Tree{N: size, Hash: must(tlog.TreeHash(size, tlog.HashReaderFunc(read)))}
}

func write(path string, data []byte) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		panic(err)
	}
}

func main() {
	const size = 300
	for index := range int64(size) {
		hashes = append(hashes, must(tlog.StoredHashes(index, entry(index), tlog.HashReaderFunc(read)))...)
	}
	for _, tile := range tlog.NewTiles(torchwood.TileHeight, 0, size) {
		write(filepath.Join("log", torchwood.TilePath(tile)), must(tlog.ReadTileData(tile, tlog.HashReaderFunc(read))))
		if tile.L > 0 {
			continue
		}
		var bundle []byte
		for index := range int64(tile.W) {
			bundle = must(torchwood.AppendTileEntry(bundle, entry(tile.N*torchwood.TileWidth+index)))
		}
		tile.L = -1
		write(filepath.Join("log", torchwood.TilePath(tile)), bundle)
	}
	server := httptest.NewServer(http.FileServer(http.Dir("log")))
	defer server.Close()
	ctx := context.Background()
	ours := must(torchwood.NewClient(must(torchwood.NewTileFetcher(server.URL))))
	theirs := must(client.NewHTTPFetcher(must(url.Parse(server.URL)), nil))
	for _, try := range []struct {
		size  int64
		holds bool
	}{{size, true}, {200, false}} {
		tree := head(try.size)
		found, _, err := ours.Entry(ctx, tree, 5)
		fmt.Printf("head of %d: torchwood's Entry(5): %q, error %v\n", try.size, found, err)
		count := 0
		for range ours.AllEntries(ctx, tree, 0) {
			count++
		}
		fmt.Printf("  torchwood's AllEntries: %d, error %v\n", count, ours.Err())
		bundle := must(client.GetEntryBundle(ctx, theirs.ReadEntryBundle, 0, uint64(try.size)))
		path := must(must(client.NewProofBuilder(ctx, uint64(try.size), theirs.ReadTile)).InclusionProof(ctx, 5))
		proof := make(tlog.RecordProof, len(path))
		for at, hash := range path {
			proof[at] = tlog.Hash(hash)
		}
		other := tlog.CheckRecord(proof, tree.N, tree.Hash, 5, tlog.RecordHash(bundle.Entries[5]))
		fmt.Printf("  Tessera's client: %q, its proof: error %v\n", bundle.Entries[5], other)
		missing := err != nil && strings.Contains(err.Error(), "tile/entries/000.p/200: unexpected status code 404")
		if other != nil || (err == nil) != try.holds || missing == try.holds || (count == int(try.size)) != try.holds {
			fmt.Println("changed: the entry is found otherwise")
			os.Exit(1)
		}
	}
}
GO
go mod init example/tiles 2>/dev/null
go get filippo.io/torchwood@v0.10.0 github.com/transparency-dev/tessera@v1.0.4 golang.org/x/mod@v0.43.0 2>/dev/null
go mod tidy 2>/dev/null
go run .
