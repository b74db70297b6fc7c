// Measures torchwood's Merkle Patricia tree on disk: sets a second in batches, and proofs.
//
// Its package is not built by default; scripts/benchmark/complete.py copies it beside this file.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"muniment.example/bench/mpt"
)

// pair is what the map of a log has for an outcome of run N at leaf N, see muniment.records.touched.
func pair(number int) ([]byte, []byte) {
	key := sha256.Sum256([]byte("muniment map v1\nexecution\nrun-" + strconv.Itoa(number)))
	leaf := make([]byte, 9)
	binary.BigEndian.PutUint64(leaf[1:], uint64(number))
	root := sha256.Sum256(leaf)
	return append([]byte{2}, key[:31]...), append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, root[:]...)
}

func seconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		log.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func number(at int) int {
	found, err := strconv.Atoi(os.Args[at])
	if err != nil {
		log.Fatal(err)
	}
	return found
}

// main takes a folder, the number of keys, of a batch, and of proofs.
func main() {
	folder, keys, batch, proofs := os.Args[1], number(2), number(3), number(4)
	path := func(name string) string { return filepath.Join(folder, name) }
	tree, err := mpt.Create(path("1"), path("2"), path("leaves"))
	if err != nil {
		log.Fatal(err)
	}
	var version int64
	began, used := time.Now(), seconds()
	for at := 0; at < keys; at++ {
		key, value := pair(at)
		if err := tree.Set(key, value); err != nil {
			log.Fatal(err)
		}
		if (at+1)%batch == 0 || at+1 == keys {
			version++
			if _, err := tree.Snap(version); err != nil {
				log.Fatal(err)
			}
			if err := tree.Sync(); err != nil {
				log.Fatal(err)
			}
		}
	}
	took, cpu := time.Since(began).Seconds(), seconds()-used
	snap, err := tree.Snap(version + 1)
	if err != nil {
		log.Fatal(err)
	}
	asked, proof := time.Now(), 0
	for at := 0; at < proofs; at++ {
		key, _ := pair(at * (keys / proofs))
		found, err := tree.Path(key)
		if err != nil {
			log.Fatal(err)
		}
		proof = len(found)
	}
	proving := time.Since(asked).Seconds() / float64(proofs)
	verified := time.Now()
	key, value := pair((proofs - 1) * (keys / proofs))
	path1, err := tree.Path(key)
	if err != nil {
		log.Fatal(err)
	}
	_, ok, last, err := mpt.ProveLookup(key, path1)
	if err != nil || !ok {
		log.Fatal("not found: ", err)
	}
	for at := 0; at < proofs; at++ {
		if err := mpt.VerifyLookup(snap, key, value, true, last); err != nil {
			log.Fatal(err)
		}
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"sets_per_s":  float64(keys) / took,
		"cpu_us":      cpu / float64(keys) * 1e6,
		"prove_us":    proving * 1e6,
		"proof_bytes": proof,
		"verify_us":   time.Since(verified).Seconds() / float64(proofs) * 1e6,
		"root":        snap.Hash.String(),
	})
}
