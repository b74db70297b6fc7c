#!/usr/bin/env bash
# The canonical form of jsonld for a document with 1e-7 has the integer 0, where two other libraries have 1.0E-7.
#
# Packages: jsonld 9.0.0 (npm), PyLD 3.3.0 (PyPI), github.com/piprate/json-gold v0.9.1 (Go module, where Go is).
# Seen: a document whose one property is a number, made canonical by RDFC-1.0 (URDNA2015). For 1e-7, also if it is
#   written 0.0000001, jsonld has "0"^^xsd:integer, and for 1e-6 and 1.5e-7 a double, "1.0E-6" and "1.5E-7". PyLD
#   and json-gold have a double for each of them. So it is for numbers below 1e-6 with one digit that is not 0, which
#   JavaScript prints without a point.
# Not expected because: JSON-LD has a number with a fraction as xsd:double (its known troubles are at the other end,
#   from 1e21 on), the digits of the number should not decide its type, and these are the bytes that the Data Integrity suites of W3C (eddsa-rdfc-2022) hash and sign.
# For users: a credential with such a rate, limit or tolerance, signed in Python or Go, does not verify in JavaScript,
#   nor the other way round, and as RDF the value is lost. Write these numbers as texts, give them the type
#   xsd:double, or sign by a suite with JCS (RFC 8785).
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3, npm or Node.
set -euo pipefail
for program in python3 npm node; do
  command -v $program >/dev/null || { echo "skipped: $program is not installed"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check PyLD==3.3.0
npm init -y >/dev/null
npm install --silent --no-audit --no-fund jsonld@9.0.0
for number in 1e-7 0.0000001 1e-6 1.5e-7; do
  echo "{\"@context\": {\"@vocab\": \"https://terms.example/\"}, \"@id\": \"urn:example:1\", \"limit\": $number}"
done >documents
cat >main.mjs <<'JS'
import { readFileSync } from 'node:fs'
import jsonld from 'jsonld'

const options = { algorithm: 'RDFC-1.0', format: 'application/n-quads' }
for (const line of readFileSync('documents', 'utf8').trim().split('\n'))
  process.stdout.write(await jsonld.canonize(JSON.parse(line), options))
const typed = JSON.parse(readFileSync('documents', 'utf8').split('\n')[0])
typed.limit = { '@value': typed.limit, '@type': 'http://www.w3.org/2001/XMLSchema#double' }
if (!(await jsonld.canonize(typed, options)).includes('"1.0E-7"')) throw new Error('changed: a type does not help')
JS
cat >main.py <<'PY'
import json

from pyld import jsonld

for line in open("documents"):
    options = {"algorithm": "URDNA2015", "format": "application/n-quads"}
    print(jsonld.normalize(json.loads(line), options), end="")
PY
cat >main.go <<'GO'
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/piprate/json-gold/ld"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var document any
		if err := json.Unmarshal(lines.Bytes(), &document); err != nil {
			panic(err)
		}
		options := ld.NewJsonLdOptions("")
		options.Algorithm, options.Format = "URDNA2015", "application/n-quads"
		canonical, err := ld.NewJsonLdProcessor().Normalize(document, options)
		if err != nil {
			panic(err)
		}
		fmt.Print(canonical)
	}
}
GO
doubles='"1.0E-7"^^double "1.0E-7"^^double "1.0E-6"^^double "1.5E-7"^^double '
check() { # package, what is expected, command
  local seen
  seen=$("${@:3}" | sed -E 's|.* (".*"\^\^)<.*#(.*)> \.|\1\2|' | tr '\n' ' ')
  echo "$1: $seen"
  [ "$seen" = "$2" ] || { echo "changed: expected $2"; exit 1; }
}
zero='"0"^^integer '
check jsonld "$zero$zero"'"1.0E-6"^^double "1.5E-7"^^double ' node main.mjs
check PyLD "$doubles" venv/bin/python main.py
if command -v go >/dev/null; then
  go mod init example/canonical 2>/dev/null
  go get github.com/piprate/json-gold@v0.9.1 2>/dev/null
  go mod tidy 2>/dev/null
  go build -o canonical .
  ask() { ./canonical <documents; }
  check json-gold "$doubles" ask
fi
