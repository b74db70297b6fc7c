// Command gosum serves a checksum database as Go has it, from memory, on a port of loopback.
//
//	gosum KEY
//
// KEY is the private note key that signs it. Its URL is the one line that it prints; each lookup
// of a new module adds a record.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"golang.org/x/mod/sumdb"
)

func main() {
	database := sumdb.NewTestServer(os.Args[1], func(path, version string) ([]byte, error) {
		return []byte(fmt.Sprintf("%s %s h1:none=\n%s %s/go.mod h1:none=\n", path, version, path, version)), nil
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, sumdb.NewServer(database)))
}
