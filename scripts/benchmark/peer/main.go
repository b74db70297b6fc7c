// Command peer is what `scripts/bench peers` measures Muniment beside: Tessera's POSIX log, and one
// client for both. Each subcommand prints one JSON object.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"time"
)

var commands = map[string]func([]string) (any, error){
	"key":    key,    // makes the key of a log
	"serve":  serve,  // a Tessera log over HTTP, until it is ended
	"fill":   fill,   // a Tessera log in this process, as fast as it goes
	"post":   post,   // one record a request, over some connections
	"get":    get,    // the same paths again and again, over some connections
	"files":  files,  // a folder over HTTP, until it is ended
	"lone":   lone,   // one record at a time to its verified proof, from a Tessera log
	"verify": verify, // one tlog-proof again and again, under a policy
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "peer: no such subcommand")
		os.Exit(2)
	}
	found, err := commands[os.Args[1]](os.Args[2:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "peer %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		os.Exit(1)
	}
}

// records reads records, each after its length of two bytes, big-endian.
func records(path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found [][]byte
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, fmt.Errorf("%s ends within a length", path)
		}
		size := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+size {
			return nil, fmt.Errorf("%s ends within a record", path)
		}
		found = append(found, data[2:2+size])
		data = data[2+size:]
	}
	return found, nil
}

// timed is what a run of requests gives: count, seconds, and latencies in milliseconds.
func timed(took time.Duration, latencies []time.Duration) map[string]any {
	sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
	at := func(share float64) float64 {
		return latencies[int(share*float64(len(latencies)-1))].Seconds() * 1e3
	}
	return map[string]any{
		"count": len(latencies), "seconds": took.Seconds(),
		"p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99),
	}
}
