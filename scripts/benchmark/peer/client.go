package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// run spreads count requests over some connections, each kept open; the first failure ends it.
func run(connections, count int, request func(number int) (*http.Request, error)) (any, error) {
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true,
	}}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	latencies := make([]time.Duration, count)
	began := time.Now()
	for range connections {
		group.Go(func() {
			for failed.Load() == nil {
				number := int(next.Add(1)) - 1
				if number >= count {
					return
				}
				sent := time.Now()
				if err := once(client, number, request); err != nil {
					failed.Store(&err)
					return
				}
				latencies[number] = time.Since(sent)
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return timed(time.Since(began), latencies), nil
}

func once(client *http.Client, number int, request func(int) (*http.Request, error)) error {
	asked, err := request(number)
	if err != nil {
		return err
	}
	answer, err := client.Do(asked)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("status %d: %.200s", answer.StatusCode, body)
	}
	return err
}

func post(args []string) (any, error) {
	flags := flag.NewFlagSet("post", flag.ContinueOnError)
	url := flags.String("url", "", "where to")
	file := flags.String("records", "", "what to send, one a request")
	token := flags.String("token", "", "bearer token")
	kind := flags.String("type", "application/octet-stream", "content type")
	connections := flags.Int("connections", 64, "at once")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	bodies, err := records(*file)
	if err != nil {
		return nil, err
	}
	return run(*connections, len(bodies), func(number int) (*http.Request, error) {
		asked, err := http.NewRequest("POST", *url, bytes.NewReader(bodies[number]))
		if err == nil {
			asked.Header.Set("Content-Type", *kind)
			if *token != "" {
				asked.Header.Set("Authorization", "Bearer "+*token)
			}
		}
		return asked, err
	})
}

func get(args []string) (any, error) {
	flags := flag.NewFlagSet("get", flag.ContinueOnError)
	connections := flags.Int("connections", 8, "at once")
	count := flags.Int("count", 1000, "requests")
	encoding := flags.String("encoding", "", "Accept-Encoding")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() == 0 {
		return nil, errors.New("no URL")
	}
	return run(*connections, *count, func(number int) (*http.Request, error) {
		asked, err := http.NewRequest("GET", flags.Arg(number%flags.NArg()), nil)
		if err == nil && *encoding != "" {
			asked.Header.Set("Accept-Encoding", *encoding)
		}
		return asked, err
	})
}

// listening tells where a server listens, as Muniment's servers do, and serves until it is ended.
func listening(handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("{\"url\":\"http://%s\"}\n", listener.Addr())
	return http.Serve(listener, handler)
}

func files(args []string) (any, error) {
	if len(args) != 1 {
		return nil, errors.New("which folder?")
	}
	return nil, listening(http.FileServer(http.Dir(args[0])))
}

func verify(args []string) (any, error) {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	count := flags.Int("count", 1000, "how often")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() != 3 {
		return nil, errors.New("policy, record and proof, please")
	}
	var read [3][]byte
	for number := range read {
		data, err := os.ReadFile(flags.Arg(number))
		if err != nil {
			return nil, err
		}
		read[number] = data
	}
	policy, err := torchwood.ParsePolicy(read[0])
	if err != nil {
		return nil, err
	}
	leaf := tlog.RecordHash(read[1])
	began := time.Now()
	for range *count {
		if err := torchwood.VerifyProof(policy, leaf, read[2]); err != nil {
			return nil, err
		}
	}
	if torchwood.VerifyProof(policy, tlog.RecordHash([]byte(strings.ToUpper(string(read[1])))), read[2]) == nil {
		return nil, errors.New("another record passed")
	}
	return map[string]any{"count": *count, "seconds": time.Since(began).Seconds()}, nil
}
