package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func key(args []string) (any, error) {
	if len(args) != 1 {
		return nil, errors.New("whose?")
	}
	private, public, err := note.GenerateKey(rand.Reader, args[0])
	return map[string]string{"private": private, "public": public}, err
}

// A tree is what opens a Tessera log: how it batches and publishes is told by flags.
type tree struct {
	folder, private, policy *string
	batch                   *uint
	age, interval           *time.Duration
}

func treeFlags(flags *flag.FlagSet) tree {
	return tree{
		folder:   flags.String("folder", "", "where the log is"),
		private:  flags.String("private", "", "the log's key, as key makes it"),
		policy:   flags.String("policy", "", "file of the witnesses; none otherwise"),
		batch:    flags.Uint("batch", 256, "entries that are integrated together"),
		age:      flags.Duration("age", 250*time.Millisecond, "how long an entry waits for others"),
		interval: flags.Duration("interval", time.Second, "between checkpoints"),
	}
}

func (t tree) open(ctx context.Context) (*tessera.Appender, func(context.Context) error, tessera.LogReader, error) {
	signer, err := note.NewSigner(*t.private)
	if err != nil {
		return nil, nil, nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: *t.folder})
	if err != nil {
		return nil, nil, nil, err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(*t.interval).
		WithBatching(*t.batch, *t.age)
	if *t.policy != "" {
		text, err := os.ReadFile(*t.policy)
		if err != nil {
			return nil, nil, nil, err
		}
		group, err := tessera.NewWitnessGroupFromPolicy(text)
		if err != nil {
			return nil, nil, nil, err
		}
		options.WithWitnesses(group, &tessera.WitnessOptions{Timeout: 5 * time.Second})
	}
	return tessera.NewAppender(ctx, driver, options)
}

// serve answers POST /add with the index once the entry is integrated, and POST /publish once a
// checkpoint that covers it is published, with that checkpoint behind the index.
func serve(args []string) (any, error) {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	of := treeFlags(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	ctx := context.Background()
	appender, _, reader, err := of.open(ctx)
	if err != nil {
		return nil, err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 2*time.Millisecond)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			var index tessera.Index
			if index, err = appender.Add(r.Context(), tessera.NewEntry(body))(); err == nil {
				fmt.Fprintf(w, "%d", index.Index)
				return
			}
		}
		http.Error(w, err.Error(), http.StatusInternalServerError)
	})
	mux.HandleFunc("POST /publish", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			future := appender.Add(r.Context(), tessera.NewEntry(body))
			index, checkpoint, failed := awaiter.Await(r.Context(), future)
			if err = failed; err == nil {
				fmt.Fprintf(w, "%d\n%s", index.Index, checkpoint)
				return
			}
		}
		http.Error(w, err.Error(), http.StatusInternalServerError)
	})
	mux.Handle("GET /", http.FileServer(http.Dir(*of.folder)))
	return nil, listening(mux)
}

func fill(args []string) (any, error) {
	flags := flag.NewFlagSet("fill", flag.ContinueOnError)
	of := treeFlags(flags)
	file := flags.String("records", "", "what to add")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	entries, err := records(*file)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	appender, shutdown, _, err := of.open(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var group sync.WaitGroup
	failed := make(chan error, len(entries))
	slots := make(chan struct{}, 8*int(*of.batch))
	for _, entry := range entries {
		slots <- struct{}{}
		future := appender.Add(ctx, tessera.NewEntry(entry))
		group.Go(func() {
			if _, err := future(); err != nil {
				failed <- err
			}
			<-slots
		})
	}
	group.Wait()
	took := time.Since(began)
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	if err := shutdown(ctx); err != nil {
		return nil, err
	}
	return map[string]any{"count": len(entries), "seconds": took.Seconds()}, nil
}

// lone asks for each record's publication, verifies the log's signature and as many cosignatures as
// the quorum needs, makes the inclusion proof from tiles, and verifies it.
func lone(args []string) (any, error) {
	flags := flag.NewFlagSet("lone", flag.ContinueOnError)
	base := flags.String("url", "", "of the log")
	file := flags.String("records", "", "what to add")
	public := flags.String("public", "", "the log's vkey")
	witnesses := flags.String("policy", "", "the witnesses")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	entries, err := records(*file)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(*public)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(*witnesses)
	if err != nil {
		return nil, err
	}
	group, err := tessera.NewWitnessGroupFromPolicy(text)
	if err != nil {
		return nil, err
	}
	root, err := url.Parse(*base + "/")
	if err != nil {
		return nil, err
	}
	fetcher, err := client.NewHTTPFetcher(root, http.DefaultClient)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	var latencies []time.Duration
	began := time.Now()
	for _, entry := range entries {
		sent := time.Now()
		answer, err := http.Post(*base+"/publish", "application/octet-stream", bytes.NewReader(entry))
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("status %d: %s", answer.StatusCode, body)
		}
		line, signed, _ := strings.Cut(string(body), "\n")
		index, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			return nil, err
		}
		checkpoint, _, _, err := log.ParseCheckpoint([]byte(signed), verifier.Name(), verifier)
		if err != nil {
			return nil, err
		}
		if !group.Satisfied([]byte(signed)) {
			return nil, errors.New("no quorum")
		}
		builder, err := client.NewProofBuilder(ctx, checkpoint.Size, fetcher.ReadTile)
		if err != nil {
			return nil, err
		}
		path, err := builder.InclusionProof(ctx, index)
		if err != nil {
			return nil, err
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(entry)
		err = proof.VerifyInclusion(rfc6962.DefaultHasher, index, checkpoint.Size, leaf, path, checkpoint.Hash)
		if err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(sent))
	}
	return timed(time.Since(began), latencies), nil
}
