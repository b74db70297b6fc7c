// Command makelogs writes two logs of Tessera as static files, for the auditor to read.
//
//	makelogs FOLDER SIZE KEY [POLICY]
//
// FOLDER/plain gets SIZE leaves in the layout of tlog-tiles, FOLDER/ct as many in that of
// static-ct-api. KEY is a private note key; both checkpoints are signed by it. With POLICY, a file
// whose quorum of witnesses has to cosign each checkpoint, only FOLDER/plain is written.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/ctonly"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func appender(ctx context.Context, folder string, options *tessera.AppendOptions) (*tessera.Appender, func(context.Context) error, tessera.LogReader) {
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		log.Fatal(err)
	}
	made, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		log.Fatal(err)
	}
	return made, shutdown, reader
}

func main() {
	ctx := context.Background()
	size, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	signer, err := note.NewSigner(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	options := func() *tessera.AppendOptions {
		return tessera.NewAppendOptions().WithCheckpointSigner(signer).
			WithBatching(256, 100*time.Millisecond).WithCheckpointInterval(100 * time.Millisecond)
	}
	witnessed := options()
	if len(os.Args) > 4 {
		policy, err := os.ReadFile(os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		witnesses, err := tessera.NewWitnessGroupFromPolicy(policy)
		if err != nil {
			log.Fatal(err)
		}
		witnessed = witnessed.WithWitnesses(witnesses, nil)
	}
	plain, stop, reader := appender(ctx, filepath.Join(os.Args[1], "plain"), witnessed)
	var futures []tessera.IndexFuture
	for n := range size {
		leaf := fmt.Sprintf(`{"entry":%d,"action":"read"}`, n)
		futures = append(futures, plain.Add(ctx, tessera.NewEntry([]byte(leaf))))
	}
	finish(ctx, futures, reader, stop)
	if len(os.Args) > 4 {
		return
	}

	inner, stop, reader := appender(ctx, filepath.Join(os.Args[1], "ct"), options().WithCTLayout())
	add := tessera.NewCertificateTransparencyAppender(inner)
	futures = nil
	for n := range size {
		entry := &ctonly.Entry{
			Timestamp:         uint64(1_790_000_000_000 + n),
			IsPrecert:         n%2 == 1,
			Certificate:       []byte(fmt.Sprintf("certificate %d", n)),
			FingerprintsChain: [][32]byte{{byte(n)}},
		}
		if entry.IsPrecert {
			entry.Precertificate = []byte(fmt.Sprintf("precertificate %d", n))
			entry.IssuerKeyHash = make([]byte, 32)
		}
		futures = append(futures, add(ctx, entry))
	}
	finish(ctx, futures, reader, stop)
}

func finish(ctx context.Context, futures []tessera.IndexFuture, reader tessera.LogReader, stop func(context.Context) error) {
	waiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 50*time.Millisecond)
	for _, future := range futures {
		if _, _, err := waiter.Await(ctx, future); err != nil {
			log.Fatal(err)
		}
	}
	if err := stop(ctx); err != nil {
		log.Fatal(err)
	}
}
